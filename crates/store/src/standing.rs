//! The part of a job that changes, and the rules by which states and events change it. Pure: no database here.

use ftl_core::job::{IllegalTransition, Phase, Progress, State, Waiting};
use ftl_core::{Event, Problem};

use crate::jobs::Change;

/// The part of a job that changes.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) phase: Option<Phase>,
    pub(crate) progress: Progress,
    pub(crate) n_attempts: u32,
    pub(crate) seq: u64,
    pub(crate) started_unix_ms: Option<u64>,
    pub(crate) ended_unix_ms: Option<u64>,
}

impl Standing {
    /// Of a job that was just made.
    pub(crate) fn queued() -> Self {
        Self {
            state: State::Queued,
            reason: None,
            problems: Vec::new(),
            waiting: None,
            phase: None,
            progress: Progress::default(),
            n_attempts: 0,
            seq: 0,
            started_unix_ms: None,
            ended_unix_ms: None,
        }
    }

    /// Goes to another state. Reason and problems are the new state's, and what it waited for is past.
    pub(crate) fn enter(&mut self, change: &Change, now_unix_ms: u64) -> Result<(), IllegalTransition> {
        let Change { to, reason, problems } = change;
        self.state = self.state.transition(*to)?;
        self.reason.clone_from(reason);
        self.problems.clone_from(problems);
        self.waiting = None;
        if self.state == State::Running {
            self.started_unix_ms.get_or_insert(now_unix_ms);
        }
        self.ended_unix_ms = self.state.is_at_rest().then_some(now_unix_ms);
        if !is_at_work(self.state) {
            self.phase = None;
        }
        Ok(())
    }

    /// Gives the next number.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Takes over what an event says about phase and progress.
    pub(crate) fn follow(&mut self, event: &Event) {
        let progress = &mut self.progress;
        match event {
            Event::Phase { phase, done, total, unit } => {
                if is_at_work(self.state) {
                    self.phase = Some(*phase);
                }
                if *phase == Phase::Training && unit.as_deref() == Some("steps") {
                    progress.step = done.unwrap_or(progress.step);
                    progress.total_steps = total.or(progress.total_steps);
                }
            }
            Event::Stepped(stepped) => {
                progress.step = stepped.step;
                progress.loss_nats = Some(stepped.loss_nats);
            }
            Event::Evaluated(evaluated) => {
                if evaluated.step == 0 {
                    progress.eval_loss_before_nats = Some(evaluated.loss_nats);
                }
                progress.eval_loss_nats = Some(evaluated.loss_nats);
            }
            Event::State { .. }
            | Event::Note { .. }
            | Event::Sampled(_)
            | Event::Saved { .. }
            | Event::Removed { .. }
            | Event::Damaged { .. }
            | Event::Exported { .. } => {}
        }
    }
}

/// Whether a worker is, or may be, at it.
fn is_at_work(state: State) -> bool {
    match state {
        State::Starting | State::Running | State::Stopping => true,
        State::Queued
        | State::Stopped
        | State::Interrupted
        | State::Succeeded
        | State::Failed
        | State::Cancelled => false,
    }
}
