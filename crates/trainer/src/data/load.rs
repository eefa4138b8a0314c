//! All of a job's data: from files to samples for training and evaluation.
//!
//! One [pass](super::pass) judges the rows and makes the samples; a job whose data have errors is refused with all of
//! them, so that a user mends a file once and not line by line.

use std::collections::HashSet;

use ftl_core::dataset::DatasetReport;
use ftl_core::job::Phase;
use ftl_core::spec::resolved::{Data, Eval, ExcessLength};
use ftl_core::{Observer, Problem, ProblemKind, StopSignal};

use super::encode::Encoder;
use super::format::Asked;
use super::holdout::ContentHash;
use super::judge::Spellings;
use super::notes::notes;
use super::pass::{Broken, Consumer, Ended, Input, Judged, Model, Opened, Part, Pass, Wanted};
use super::prompts::{Chosen, HeldOutPrompt};
use super::report::{Conclusion, Fate, Remember, Tally, conclude, problems};
use super::sample::Sample;

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
}

/// A job's data as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What is trained on, in the order of the files; at least one.
    pub train: Vec<Sample>,
    /// How many of them each file gave, in the same order.
    pub per_file: Vec<usize>,
    /// What is held out; empty when nothing is to be.
    pub eval: Vec<Sample>,
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
    let Request { data, encoder, max_length, vocab_size, seed, n_prompts } = *request;
    let model = Model {
        encoder,
        max_length,
        strategy: data.excess_length_strategy,
        loss_on: data.loss_on,
        vocab_size,
    };
    let pass = Pass {
        asked: Asked::of(data.format),
        spellings: Spellings::none(),
        model: Some(model),
        wanted: if n_prompts > 0 { Wanted::Examples } else { Wanted::Samples },
        phase: Phase::Tokenizing,
    };
    let mut samples = Samples {
        tally: Tally::new(Some(&model), Remember::Samples),
        encoder,
        part: Part::Train,
        train: Vec::new(),
        eval: Vec::new(),
        eval_rows: HashSet::new(),
        chosen: Chosen::new(n_prompts, seed, max_length),
        choose_from: match data.eval {
            // What is held out comes first by the same hash, so what is chosen of all is chosen of it.
            Eval::Fraction(_) | Eval::Never => Part::Train,
            Eval::File(_) => Part::Eval,
        },
    };
    match pass.all(data, &mut samples, (observer, stop)) {
        Ended::Complete | Ended::Hopeless => {}
        Ended::Stopped => return Ok(None),
    }
    let Samples { tally, train, mut eval, mut eval_rows, chosen, .. } = samples;
    let Conclusion { report, kept, held } = conclude(tally, data, seed);
    let problems = problems(&report);
    if !problems.is_empty() {
        return Err(problems);
    }
    let train = match &held {
        None => train,
        Some(held) => {
            let rows = kept.iter().zip(held).filter(|(_, held)| **held).map(|(kept, _)| kept.row);
            eval_rows.extend(rows);
            let (held_out, trained): (Vec<_>, Vec<_>) =
                train.into_iter().zip(held).partition(|(_, held)| **held);
            eval.extend(held_out.into_iter().map(|(sample, _)| sample));
            trained.into_iter().map(|(sample, _)| sample).collect()
        }
    };
    if train.is_empty() {
        return Err(vec![none_left("data.train", request)]);
    }
    if eval.is_empty() && matches!(data.eval, Eval::File(_)) {
        return Err(vec![none_left("data.eval", request)]);
    }
    let mut per_file = vec![0; data.train.len()];
    let is_trained = |index: usize| held.as_ref().is_none_or(|held| !held[index]);
    let trained = kept.iter().enumerate().filter(|(index, _)| is_trained(*index));
    trained.for_each(|(_, kept)| per_file[kept.file as usize] += 1);
    let prompts = chosen.into_prompts(|content| eval_rows.contains(&content));
    let notes = notes(&report, encoder);
    Ok(Some(Prepared { train, per_file, eval, prompts, notes, report }))
}

/// Takes in samples, and counts them.
struct Samples<'a> {
    tally: Tally,
    encoder: &'a Encoder,
    part: Part,
    /// As many as the tally remembers, in the same order.
    train: Vec<Sample>,
    eval: Vec<Sample>,
    /// What the rows of the evaluation file say.
    eval_rows: HashSet<ContentHash>,
    chosen: Chosen,
    /// Where prompts are from.
    choose_from: Part,
}

impl Consumer for Samples<'_> {
    fn begin(&mut self, input: &Input<'_>) {
        self.part = input.part;
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
        match self.part {
            Part::Train => self.train.extend(learned.samples),
            Part::Eval => {
                self.eval_rows.insert(content);
                self.eval.extend(learned.samples);
            }
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
