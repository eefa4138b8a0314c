//! A run: from a checked spec to the trained weights on disk. [`train`] and [`Run::all_steps`] read top to bottom.

pub mod best;
pub mod digests;
pub mod eval;
pub mod event_log;
mod expectation;
pub mod finish;
mod memory_limit;
pub mod memory_plan;
pub mod meter;
pub mod moments_file;
pub mod optimizer;
pub mod output;
pub mod predict;
pub mod preflight;
pub mod progress;
mod reference;
pub mod report;
pub mod run;
pub mod snapshot;
pub mod start;

use std::path::{Path, PathBuf};

use ftl_core::job::State;
use ftl_core::metrics::Evaluated;
use ftl_core::{CheckedSpec, Event, Observer, Signals};

use crate::checkpoint::layout::step_of;
use crate::error::TrainError;
use crate::model::fingerprint::fingerprint;
use eval::Scores;
use output::Found;
use preflight::{Weights, ready};
use report::Reporter;
use run::Run;
use snapshot::Identity;

/// Where a run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At step 0, in a directory that holds no run.
    New,
    /// After the newest valid checkpoint in the directory. Where there is none at all, at the checkpoint of another run
    /// that this one started from, or at step 0.
    Resume,
    /// At this checkpoint of another run, in a directory that holds no run. Weights, optimizer moments, loss scale and
    /// the count of steps are the checkpoint's; what [`start`] lists may be set anew. Order of data and learning rate
    /// are those that the spec has at that step, and held-out scores count from there.
    From(PathBuf),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a run has one outcome, and a box would be in every caller's way"
)]
pub enum Outcome {
    /// All steps were taken and the result is on disk.
    Finished(Summary),
    /// It was asked to stop; the steps taken are saved.
    Stopped {
        /// Steps taken.
        step: u64,
        /// The checkpoint to go on from; `None`: no step was taken.
        checkpoint: Option<PathBuf>,
    },
}

/// What a finished run came to.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Steps taken, those of earlier attempts included.
    pub steps: u64,
    /// Loss of the last step; `None` where this attempt took none.
    pub loss_nats: Option<f64>,
    /// Held-out scores before the first step.
    pub eval_before: Option<Evaluated>,
    /// Held-out scores of the result.
    pub eval_after: Option<Evaluated>,
    /// The lowest held-out loss after a step.
    pub best: Option<Evaluated>,
    /// Whether it ended before its last step, because held-out data no longer got better.
    pub stopped_early: bool,
    /// The memory that this attempt took; `None` where it took no step.
    pub memory: Option<MemoryUse>,
    /// The result: a PEFT adapter, or a model directory.
    pub path: PathBuf,
}

/// The memory that a run took at most, beyond what the process had taken before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryUse {
    /// As planned.
    pub planned_bytes: u64,
    /// As measured, on a GPU in CubeCL's pools, with what the plan counts beside them; `None` where the system does not
    /// tell.
    pub peak_bytes: Option<u64>,
}

impl Summary {
    fn new(spec: &CheckedSpec, state: snapshot::State, loss_nats: Option<f64>, path: PathBuf) -> Self {
        let eval_after = best::of_result(spec, &state).cloned();
        let snapshot::State { step, stopped_early, scores: Scores { first, best, .. }, .. } = state;
        Self {
            steps: step,
            loss_nats,
            eval_before: first,
            eval_after,
            best,
            stopped_early,
            memory: None,
            path,
        }
    }
}

/// Trains as `spec` says, in the directory `out`. `signals` are [`Signals`], or a
/// [`StopSignal`](ftl_core::StopSignal) where nobody asks for more checkpoints than the spec.
///
/// # Errors
/// [`TrainError::Refused`] before anything is written; [`TrainError::Diverged`], [`TrainError::OutOfMemory`] and
/// [`TrainError::File`] later, with all checkpoints so far in place.
pub fn train(
    spec: &CheckedSpec,
    (out, begin): (&Path, Begin),
    observer: &mut dyn Observer,
    signals: impl Into<Signals>,
) -> Result<Outcome, TrainError> {
    let signals = signals.into();
    let mut reporter = Reporter::new(observer);
    let (weights, damaged) = match output::inspect(out, begin, spec, &mut reporter)? {
        Found::Nothing => (Weights::Spec, Vec::new()),
        Found::Checkpoint { path, damaged } => (Weights::Checkpoint(path), damaged),
        Found::Start(start) => (Weights::Start(start), Vec::new()),
        Found::Result { path, state } => {
            return Ok(Outcome::Finished(Summary::new(spec, *state, None, path)));
        }
    };
    let Some(ready) = ready(spec, &weights, &mut reporter, &signals.stop)? else {
        return Ok(unbegun(weights));
    };
    let identity = Identity::of(spec, &ready.data, fingerprint(&spec.model.path)?);
    let mut run = Run::new((spec, out), ready, identity, &mut reporter)?;
    match &weights {
        Weights::Spec => {}
        Weights::Checkpoint(checkpoint) => run.restore(checkpoint)?,
        Weights::Start(start) => run.start_from(start)?,
    }
    run.verify_memory()?;
    output::begin((out, spec), (&weights, &damaged), &run.data.report, run.reporter)?;
    run.open_log()?;
    run.observe(Event::State { state: State::Running, reason: None });
    let outcome = run.all_steps(&signals);
    let (state, reason) = match &outcome {
        Ok(Outcome::Finished(_)) => (State::Succeeded, None),
        Ok(Outcome::Stopped { .. }) => (State::Stopped, None),
        Err(error) => (State::Failed, Some(error.to_string())),
    };
    run.observe(Event::State { state, reason });
    outcome
}

/// It was asked to stop before its first step; what an earlier attempt saved stays.
fn unbegun(weights: Weights) -> Outcome {
    match weights {
        Weights::Spec => Outcome::Stopped { step: 0, checkpoint: None },
        Weights::Start(start) => Outcome::Stopped { step: start.step, checkpoint: None },
        Weights::Checkpoint(path) => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let step = name.as_deref().and_then(step_of).unwrap_or(0);
            Outcome::Stopped { step, checkpoint: Some(path) }
        }
    }
}
