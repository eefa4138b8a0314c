//! All of a job's data: from files to samples for training and evaluation.
//!
//! One [pass](super::pass) judges the rows and makes the samples; a job whose data have errors is refused with all of
//! them, so that a user mends a file once and not line by line.

use std::collections::HashSet;

use ftl_core::dataset::DatasetReport;
use ftl_core::job::Phase;
use ftl_core::spec::resolved::{Data, Eval, ExcessLength};
use ftl_core::{Observer, Problem, ProblemKind, StopSignal};

use super::cache::{About, Cache, tokenized};
use super::encode::Encoder;
use super::holdout::ContentHash;
use super::judge::Spellings;
use super::notes::notes;
use super::pass::{Broken, Consumer, Ended, Input, Judged, Model, Opened, Part, Pass, Wanted};
use super::prompts::{Chosen, HeldOutPrompt};
use super::report::{Conclusion, Fate, Kept, Remember, Tally, conclude, problems};
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
    /// What was found; without steps, which are the run's to plan.
    pub report: DatasetReport,
}

/// Reads and tokenizes everything. `None`: it was asked to stop before all was read.
///
/// # Errors
/// What is wrong with the rows and files, at most [20](super::report::LISTED_PROBLEMS) of them one by one.
pub fn prepare(
    request: &Request<'_>,
    observer: &mut dyn Observer,
    stop: &StopSignal,
) -> Result<Option<Prepared>, Vec<Problem>> {
    let Request { data, encoder, seed, .. } = *request;
    let made = tokenized(request, observer, |writer, observer| read_all(request, writer, (observer, stop)))?;
    let Some((all, About { gathered, prompts })) = made else { return Ok(None) };
    // Those for evaluation, where they have a file of their own, are behind all others.
    let n_train_files = data.train.len();
    let n_train = (0..all.len()).take_while(|index| file_of(&all, *index) < n_train_files).count();
    let (mut train, mut eval) = (all.part(0..n_train), all.part(n_train..all.len()));
    let kept = (0..n_train).map(|index| kept_of(&train, index)).collect();
    let Conclusion { report, kept: _, held } = conclude(gathered, kept, data, seed);
    let problems = problems(&report);
    if !problems.is_empty() {
        return Err(problems);
    }
    if let Some(held) = held {
        (train, eval) = (train.filter(|index| !held[index]), train.filter(|index| held[index]));
    }
    if train.is_empty() {
        return Err(vec![none_left("data.train", request)]);
    }
    if eval.is_empty() && matches!(data.eval, Eval::File(_)) {
        return Err(vec![none_left("data.eval", request)]);
    }
    let mut per_file = vec![0; n_train_files];
    (0..train.len()).for_each(|index| per_file[file_of(&train, index)] += 1);
    let eval_rows: HashSet<ContentHash> = (0..eval.len()).map(|index| eval.origin(index).row).collect();
    let prompts = prompts.into_iter().filter(|candidate| eval_rows.contains(&candidate.row));
    let prompts = prompts.map(|candidate| candidate.prompt).collect();
    let notes = notes(&report, encoder);
    Ok(Some(Prepared { train, per_file, eval, prompts, notes, report }))
}

/// Reads and tokenizes all files. `None`: it was asked to stop before all was read.
fn read_all(
    request: &Request<'_>,
    writer: &mut Writer,
    (observer, stop): (&mut dyn Observer, &StopSignal),
) -> Result<Option<About>, Vec<Problem>> {
    let Request { data, encoder, max_length, vocab_size, seed, n_prompts, cache: _ } = *request;
    let model = Model {
        encoder,
        max_length,
        strategy: data.excess_length_strategy,
        loss_on: data.loss_on,
        vocab_size,
    };
    let pass = Pass {
        spellings: Spellings::none(),
        model: Some(model),
        wanted: if n_prompts > 0 { Wanted::Examples } else { Wanted::Samples },
        phase: Phase::Tokenizing,
    };
    let mut keeper = Keeper {
        tally: Tally::new(Some(&model), Remember::Nothing),
        encoder,
        writer,
        part: Part::Train,
        entry: 0,
        chosen: Chosen::new(n_prompts, seed, max_length),
        choose_from: match data.eval {
            // What is held out comes first by the same hash, so what is chosen of all is chosen of it.
            Eval::Fraction(_) | Eval::Never => Part::Train,
            Eval::File(_) => Part::Eval,
        },
    };
    match pass.all(data, &mut keeper, (observer, stop)) {
        Ended::Complete | Ended::Hopeless => {}
        Ended::Stopped => return Ok(None),
    }
    let Keeper { tally, chosen, .. } = keeper;
    let (gathered, _) = tally.gathered();
    let problems = problems(&gathered.report);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Some(About { gathered, prompts: chosen.into_candidates() }))
}

fn file_of(samples: &Samples, index: usize) -> usize {
    samples.origin(index).file_index as usize
}

/// What a report wants to know of a sample.
fn kept_of(samples: &Samples, index: usize) -> Kept {
    let Origin { row, piece, n_supervised, file_index, begins_row } = samples.origin(index);
    // It was a number of this size when it was written.
    let n_tokens = u32::try_from(samples.n_tokens(index)).unwrap_or(u32::MAX);
    Kept { row, piece, n_tokens, n_supervised, file: file_index, begins_row }
}

/// Writes samples, and counts them.
struct Keeper<'a> {
    tally: Tally,
    encoder: &'a Encoder,
    writer: &'a mut Writer,
    part: Part,
    /// The place of the file, or of its folder, among what the job names.
    entry: u32,
    chosen: Chosen,
    /// Where prompts are from.
    choose_from: Part,
}

impl Consumer for Keeper<'_> {
    fn begin(&mut self, input: &Input<'_>) {
        self.part = input.part;
        self.entry = u32::try_from(input.entry).unwrap_or(u32::MAX);
        self.tally.begin(input);
    }

    fn opened(&mut self, opened: &Opened) {
        self.tally.opened(opened);
    }

    fn broken(&mut self, broken: Broken) {
        self.tally.broken(broken);
    }

    fn closed(&mut self, notes: Vec<String>) {
        self.tally.closed(notes);
    }

    fn row(&mut self, mut row: Judged) {
        match self.tally.take(&mut row) {
            Fate::Accepted => {}
            Fate::Rejected | Fate::Dropped => return,
        }
        let (Some(facts), Some(learned)) = (row.facts, row.learned) else { return };
        let content = facts.content.near;
        if let Some(example) = row.example.filter(|_| self.part == self.choose_from) {
            self.chosen.offer(content, &example, self.encoder);
        }
        for (place, (sample, piece)) in learned.samples.iter().zip(&learned.pieces).enumerate() {
            let origin = Origin {
                row: content,
                piece: piece.hash,
                n_supervised: piece.n_supervised,
                file_index: self.entry,
                begins_row: place == 0,
            };
            self.writer.push(sample, origin);
        }
    }

    fn is_hopeless(&self) -> bool {
        self.tally.is_hopeless()
    }
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
