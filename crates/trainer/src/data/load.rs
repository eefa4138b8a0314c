//! All of a job's data: from files to samples for training and evaluation.
//!
//! Reads files row by row, tokenizes on all cores, keeps the order of the files. Everything that is wrong is
//! collected, so that a user mends a file once and not line by line.

use std::collections::HashSet;
use std::path::Path;

use ftl_core::job::Phase;
use ftl_core::spec::resolved::{Data, DataFormat, Eval, ExcessLength};
use ftl_core::{Event, Observer, Problem, ProblemKind};
use rayon::prelude::*;

use super::cache::{About, Cache, tokenized};
use super::encode::Encoder;
use super::excess::{Fitted, fit};
use super::format::{self, Example};
use super::holdout::{ContentHash, content_hash, held_out};
use super::notes::Counts;
use super::prompts::{Chosen, HeldOutPrompt};
use super::read::{Place, Row, Rows, file_name};
use super::sample::{IGNORED, Sample};
use super::samples::{Origin, Samples, Writer};

/// What [`prepare`] needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The files and what to do with them.
    pub data: &'a Data,
    /// The model's way from examples to tokens.
    pub encoder: &'a Encoder,
    /// Longest sample in tokens, at least 2.
    pub max_length: usize,
    /// Ids that the model has, from 0.
    pub vocab_size: usize,
    /// Decides what is held out.
    pub seed: u64,
    /// How many held-out prompts are wanted.
    pub n_prompts: usize,
    /// Where samples of earlier runs are.
    pub cache: &'a Cache,
}

/// A job's data as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What is trained on, in the order of the files; at least one.
    pub train: Samples,
    /// How many of them each file gave, in the same order.
    pub per_file: Vec<usize>,
    /// What is held out; empty when nothing is to be.
    pub eval: Samples,
    /// Prompts of what is held out.
    pub prompts: Vec<HeldOutPrompt>,
    /// What the user should know, one sentence each.
    pub notes: Vec<String>,
}

/// How many bad rows are listed.
pub const LISTED_PROBLEMS: usize = 20;
/// Rows that are tokenized at once; between two lots progress is told.
const ROWS_AT_ONCE: usize = 2048;

/// Reads and tokenizes everything.
///
/// # Errors
/// All rows and files that can't be used; at most 20 of them one by one.
pub fn prepare(request: &Request<'_>, observer: &mut dyn Observer) -> Result<Prepared, Vec<Problem>> {
    let data = request.data;
    if let Err(name) = format::availability(data.format) {
        let message = format!("the format `{name}` is not available in this version");
        return Err(vec![Problem::new(ProblemKind::NotAvailable, message).at("data.format")]);
    }
    let (all, About { mut notes, prompts, report: _ }) =
        tokenized(request, observer, |writer, observer| read_all(request, writer, observer))?;
    // Those for evaluation, where they have a file of their own, are behind all others.
    let file_of_eval = data.train.len() as u32;
    let n_train = (0..all.len()).take_while(|index| all.origin(*index).file_index < file_of_eval).count();
    let (mut train, mut eval) = (all.part(0..n_train), all.part(n_train..all.len()));
    if let Eval::Fraction(fraction) = data.eval {
        (train, eval) = hold_out(&train, fraction, request.seed).map_err(|problem| vec![problem])?;
    } else if let Some(note) = overlap(&train, &eval) {
        notes.push(note);
    }
    if train.is_empty() {
        return Err(vec![none_left("data.train", request)]);
    }
    if eval.is_empty() && matches!(data.eval, Eval::File(_)) {
        return Err(vec![none_left("data.eval", request)]);
    }
    let held_out: HashSet<ContentHash> = rows(&eval).collect();
    let prompts = prompts.into_iter().filter(|candidate| held_out.contains(&candidate.row));
    let prompts = prompts.map(|candidate| candidate.prompt).collect();
    let mut per_file = vec![0; data.train.len()];
    (0..train.len()).for_each(|index| per_file[train.origin(index).file_index as usize] += 1);
    Ok(Prepared { train, per_file, eval, prompts, notes })
}

/// Reads and tokenizes all files.
fn read_all(
    request: &Request<'_>,
    writer: &mut Writer,
    observer: &mut dyn Observer,
) -> Result<About, Vec<Problem>> {
    let data = request.data;
    let mut loader = Loader {
        request,
        observer,
        writer,
        problems: Vec::new(),
        n_unlisted: 0,
        n_rows: 0,
        file_index: 0,
        chosen: Chosen::new(0, request.seed, 0),
        counts: Counts::default(),
    };
    let wanted = Chosen::new(request.n_prompts, request.seed, request.max_length);
    let mut wanted = Some(wanted);
    if let Eval::Fraction(_) = data.eval {
        // What is held out comes first by the same hash, so what is chosen of all is chosen of it.
        loader.chosen = wanted.take().expect("nobody took it");
    }
    let mut left = data.max_samples.unwrap_or(u64::MAX);
    for file in &data.train {
        let limit = left.min(file.max_samples.unwrap_or(u64::MAX));
        left -= loader.file(&file.path, limit);
        loader.file_index += 1;
        if loader.is_hopeless() {
            break;
        }
    }
    if let Eval::File(path) = &data.eval
        && !loader.is_hopeless()
    {
        loader.chosen = wanted.take().expect("only a fraction takes it before");
        loader.file(path, u64::MAX);
    }
    let Loader { problems, n_unlisted, counts, chosen, .. } = loader;
    let problems = all_problems(problems, n_unlisted);
    if problems.is_empty() {
        Ok(About { notes: counts.notes(request), prompts: chosen.into_candidates(), report: None })
    } else {
        Err(problems)
    }
}

struct Loader<'a> {
    request: &'a Request<'a>,
    observer: &'a mut dyn Observer,
    writer: &'a mut Writer,
    problems: Vec<Problem>,
    n_unlisted: usize,
    n_rows: u64,
    file_index: u32,
    chosen: Chosen,
    counts: Counts,
}

/// What became of a row.
struct Outcome {
    fitted: Fitted,
    /// Where prompts are chosen.
    example: Option<Example>,
    row: ContentHash,
    is_conversation: bool,
    is_text: bool,
    has_controls: bool,
    has_end: bool,
}

impl Loader<'_> {
    /// Reads at most `limit` rows of a file; says how many it was.
    fn file(&mut self, path: &Path, limit: u64) -> u64 {
        let rows = match Rows::open(path) {
            Ok(rows) => rows,
            Err(problem) => {
                self.problem(problem);
                return 0;
            }
        };
        let controls = self.request.encoder.tokenizer.special_texts();
        let mut format = match self.request.data.format {
            DataFormat::Auto => None,
            given => Some(given),
        };
        let mut rows = rows.take(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut n_read = 0;
        loop {
            let lot: Vec<Result<Row, Problem>> = rows.by_ref().take(ROWS_AT_ONCE).collect();
            if lot.is_empty() {
                return n_read;
            }
            n_read += lot.len() as u64;
            self.n_rows += lot.len() as u64;
            if format.is_none()
                && let Some(first) = lot.iter().flatten().next()
            {
                match found_format(first) {
                    Ok(found) => format = Some(found),
                    Err(problem) => {
                        self.problem(problem);
                        return n_read;
                    }
                }
            }
            let request = self.request;
            // Without a format there is no row in the lot, only problems.
            let known = format.unwrap_or(DataFormat::Auto);
            let outcomes: Vec<Result<Outcome, Problem>> = lot
                .into_par_iter()
                .map(|row| row.and_then(|row| outcome(request, &row, known, &controls)))
                .collect();
            for outcome in outcomes {
                match outcome {
                    Ok(outcome) => self.keep(outcome),
                    Err(problem) => self.problem(problem),
                }
            }
            self.observer.observe(&Event::Phase {
                phase: Phase::Tokenizing,
                done: Some(self.n_rows),
                total: None,
                unit: Some("rows".to_owned()),
            });
            if self.is_hopeless() {
                return n_read;
            }
        }
    }

    fn keep(&mut self, outcome: Outcome) {
        let Outcome { fitted, example, row, is_conversation, is_text, has_controls, has_end } = outcome;
        let (counts, origin) = (&mut self.counts, Origin { row, file_index: self.file_index });
        counts.has_conversations |= is_conversation;
        counts.has_other_text |= is_text;
        counts.n_with_controls += usize::from(has_controls);
        counts.n_without_end += usize::from(!has_end);
        if let (Some(example), Fitted::Whole(_) | Fitted::Cut(_) | Fitted::Pieces { .. }) =
            (&example, &fitted)
        {
            self.chosen.offer(row, example, self.request.encoder);
        }
        match fitted {
            Fitted::Whole(sample) => self.writer.push(&sample, origin),
            Fitted::Cut(sample) => {
                counts.n_cut += 1;
                self.writer.push(&sample, origin);
            }
            Fitted::Pieces { kept, n_left_out } => {
                counts.n_split += 1;
                counts.n_pieces += kept.len();
                counts.n_pieces_left_out += n_left_out;
                kept.iter().for_each(|sample| self.writer.push(sample, origin));
            }
            // A refused one became a problem before.
            Fitted::Dropped | Fitted::Refused => counts.n_dropped += 1,
        }
    }

    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < LISTED_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.n_unlisted += 1;
        }
    }

    /// A missing template is one problem, not one for each row.
    fn is_hopeless(&self) -> bool {
        self.problems.iter().any(is_about_the_job)
    }
}

fn outcome(
    request: &Request<'_>,
    row: &Row,
    format: DataFormat,
    controls: &[String],
) -> Result<Outcome, Problem> {
    let place = &row.place;
    let example = format::example(&row.value, format).map_err(|what| place.problem(what))?;
    let tokenizer = &request.encoder.tokenizer;
    let sample = request
        .encoder
        .sample(&example, request.data.loss_on)
        .map_err(|problem| if is_about_the_job(&problem) { problem } else { in_row(place, problem) })?;
    check_vocabulary(place, &sample, request.vocab_size)?;
    if let Some(empty) = sample.segments().find(|segment| segment.supervised_tokens() == 0) {
        let what = if empty.ids.len() < 2 {
            "is empty, so there is nothing to learn"
        } else {
            "has no token to learn"
        };
        return Err(place.problem(what));
    }
    if sample.rejected.as_deref().is_some_and(|rejected| rejected.ids == sample.ids) {
        return Err(place.problem("has the same tokens as chosen and rejected answer"));
    }
    let row = hash_of(&sample);
    let sides = example.sides();
    let is_conversation =
        sides.iter().any(|side| matches!(side, Example::Conversation(_) | Example::Instruction { .. }));
    let ends = |segment: &Sample| {
        // Two, since white space behind the end token is learned where the template says so.
        let mut last_learned =
            segment.ids.iter().zip(&segment.labels).rev().filter(|(_, label)| **label != IGNORED).take(2);
        last_learned.any(|(id, _)| tokenizer.is_special(*id))
    };
    let has_end = !is_conversation || sample.segments().all(ends);
    let has_controls = sides.iter().any(|side| match side {
        Example::Conversation(conversation) => conversation
            .messages
            .iter()
            .any(|message| controls.iter().any(|control| message.content().contains(control.as_str()))),
        Example::PromptCompletion { .. }
        | Example::Instruction { .. }
        | Example::Text(_)
        | Example::Tokens(_)
        | Example::Pair { .. } => false,
    });
    let (n_tokens, is_pair) = (sample.longest_segment(), sample.rejected.is_some());
    let strategy = request.data.excess_length_strategy;
    let fitted = fit(sample, request.max_length, strategy, tokenizer.bos());
    if fitted == Fitted::Refused {
        return Err(place
            .problem(format_args!(
                "has {n_tokens} tokens, more than the {} of `data.max_length`",
                request.max_length
            ))
            .hint(if is_pair {
                "raise `data.max_length`, or set `data.excess_length_strategy` to drop or truncate"
            } else {
                "raise `data.max_length`, or set `data.excess_length_strategy` to drop, truncate or split"
            }));
    }
    let is_text =
        sides.iter().any(|side| matches!(side, Example::Text(_) | Example::PromptCompletion { .. }));
    let example = (request.n_prompts > 0).then_some(example);
    Ok(Outcome { fitted, example, row, is_conversation, is_text, has_controls, has_end })
}

/// The format that a row shows by its keys; its file is taken to be in it.
///
/// # Errors
/// A row that shows none, and a format that this version does not read.
pub fn found_format(row: &Row) -> Result<DataFormat, Problem> {
    let found = format::detect(&row.value).map_err(|what| row.place.problem(what))?;
    match format::availability(found) {
        Ok(()) => Ok(found),
        Err(name) => {
            let file = file_name(&row.place.path);
            let message = format!("`{file}` is in the format `{name}`, which this version does not read yet");
            Err(Problem::new(ProblemKind::NotAvailable, message).at(row.place.at()).hint(
                "write it as messages, instruction + output, prompt + completion, question + answer or text",
            ))
        }
    }
}

fn is_about_the_job(problem: &Problem) -> bool {
    problem.field.as_deref() == Some("data.chat_template")
}

fn in_row(place: &Place, problem: Problem) -> Problem {
    let Problem { kind, field: _, message, hint } = problem;
    Problem { kind, field: Some(place.at()), message: format!("{place}: {message}"), hint }
}

fn check_vocabulary(place: &Place, sample: &Sample, vocab_size: usize) -> Result<(), Problem> {
    let is_known = |id: i64| usize::try_from(id).is_ok_and(|id| id < vocab_size);
    let refuse = |what: &str, id: i64, index: usize| {
        let problem = place.problem(format_args!(
            "has the {what} {id} at place {index}; the model has {vocab_size} ids from 0"
        ));
        problem.hint(
            "if the tokenizer has added tokens, train them: `adapter.modules_to_save` = [\"embed_tokens\", \
             \"lm_head\"], or `adapter.kind` = `none`",
        )
    };
    let tokens = sample.segments().flat_map(|segment| segment.ids.iter().zip(&segment.labels).enumerate());
    for (index, (id, label)) in tokens {
        if !is_known(i64::from(*id)) {
            return Err(refuse("id", i64::from(*id), index));
        }
        if *label != IGNORED && !is_known(i64::from(*label)) {
            return Err(refuse("label", i64::from(*label), index));
        }
    }
    Ok(())
}

fn hash_of(sample: &Sample) -> ContentHash {
    let mut bytes = Vec::new();
    for Sample { ids, labels, weights, rejected: _ } in sample.segments() {
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        bytes.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
        bytes.extend(weights.iter().flatten().flat_map(|weight| weight.to_le_bytes()));
    }
    content_hash(&bytes)
}

/// Splits off what is held out. Pieces of one row stay together, unless the row is all there is.
fn hold_out(all: &Samples, fraction: f64, seed: u64) -> Result<(Samples, Samples), Problem> {
    let of_rows: Vec<ContentHash> = rows(all).collect();
    let of_pieces = || all.iter().map(|sample| hash_of(&sample)).collect::<Vec<_>>();
    let held = held_out(&of_rows, fraction, seed)
        .or_else(|| held_out(&of_pieces(), fraction, seed))
        .ok_or_else(|| {
            Problem::new(ProblemKind::BadData, "holding out a fraction needs at least two different samples")
                .at("data.eval.fraction")
                .hint("leave `data.eval` out, or give it a file of its own")
        })?;
    Ok((all.filter(|index| !held[index]), all.filter(|index| held[index])))
}

fn overlap(train: &Samples, eval: &Samples) -> Option<String> {
    let trained: HashSet<ContentHash> = if eval.is_empty() { HashSet::new() } else { rows(train).collect() };
    let n_shared = rows(eval).filter(|row| trained.contains(row)).count();
    (n_shared > 0)
        .then(|| format!("{n_shared} of {} evaluation samples are also in the training data", eval.len()))
}

/// The hashes of the rows that samples are from.
fn rows(samples: &Samples) -> impl Iterator<Item = ContentHash> {
    (0..samples.len()).map(|index| samples.origin(index).row)
}

fn none_left(field: &str, request: &Request<'_>) -> Problem {
    let problem = Problem::new(ProblemKind::BadData, "no sample is left to use").at(field);
    match request.data.excess_length_strategy {
        ExcessLength::Error | ExcessLength::Split => problem,
        ExcessLength::Drop | ExcessLength::Truncate => problem.hint(format!(
            "all are longer than {} tokens; raise `data.max_length`, or set `data.excess_length_strategy` to split",
            request.max_length
        )),
    }
}

fn all_problems(mut problems: Vec<Problem>, n_unlisted: usize) -> Vec<Problem> {
    if let Some(index) = problems.iter().position(is_about_the_job) {
        return vec![problems.swap_remove(index)];
    }
    if n_unlisted > 0 {
        problems.push(Problem::new(ProblemKind::BadData, format!("{n_unlisted} more rows can't be used")));
    }
    problems
}
