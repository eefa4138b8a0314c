//! What is known of a run from the events that came so far. Pure: no clock, no terminal.

use std::collections::VecDeque;

use ftl_core::event::NoteLevel;
use ftl_core::job::{Job, JobEvent, Phase, State};
use ftl_core::metrics::{Evaluated, Stepped};
use ftl_core::{Event, EventRecord, JobId};

use super::figures::{bytes, clean};
use super::{Curve, Pace, Smoothed};

/// Notes that are kept to be shown; the service keeps all.
const MAX_NOTES: usize = 20;

/// A job as its events tell it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: JobId,
    /// What the user calls it.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// Why, where it is not obvious.
    pub reason: Option<String>,
    /// What it is busy with.
    pub work: Option<Work>,
    /// Steps taken.
    pub step: u64,
    /// Steps that it will take.
    pub total_steps: Option<u64>,
    /// Training loss of the first logged step.
    pub first_loss_nats: Option<f64>,
    /// Training loss of the last logged step.
    pub last_loss_nats: Option<f64>,
    /// Training loss over about the last ten logged steps.
    pub smoothed_loss: Smoothed,
    /// Learning rate of the last logged step.
    pub learning_rate: Option<f64>,
    /// Held-out loss of the first evaluation.
    pub held_out_before: Option<HeldOut>,
    /// Held-out loss of the last evaluation, where it is another one.
    pub held_out_after: Option<HeldOut>,
    /// How fast it goes.
    pub pace: Pace,
    /// Training losses.
    pub train_curve: Curve,
    /// Held-out losses.
    pub held_out_curve: Curve,
    /// What the user should know, newest last.
    pub notes: VecDeque<String>,
    /// What it made: kind and path.
    pub exported: Vec<(String, String)>,
    /// The attempt of the last event.
    attempt: u32,
}

/// What a run is busy with, and how far it is with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What it is.
    pub phase: Phase,
    /// How much is done of how much.
    pub amount: Option<(u64, u64)>,
}

/// An evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOut {
    /// The step after which it was taken; 0 before training.
    pub step: u64,
    /// Its loss.
    pub loss_nats: f64,
}

impl Run {
    /// A job of which no event was seen yet.
    pub fn new(job: &Job) -> Self {
        Self {
            id: job.id.clone(),
            name: clean(&job.name),
            state: job.state,
            reason: job.reason.as_deref().map(clean),
            work: job.phase.map(|phase| Work { phase, amount: None }),
            step: 0,
            total_steps: job.progress.total_steps,
            first_loss_nats: None,
            last_loss_nats: None,
            smoothed_loss: Smoothed::default(),
            learning_rate: None,
            held_out_before: None,
            held_out_after: None,
            pace: Pace::default(),
            train_curve: Curve::default(),
            held_out_curve: Curve::default(),
            notes: VecDeque::new(),
            exported: Vec::new(),
            attempt: 0,
        }
    }

    /// Takes an event in.
    pub fn take(&mut self, event: &JobEvent) {
        let JobEvent { attempt, record: EventRecord { seq: _, time_unix_ms, event } } = event;
        self.attempt = *attempt;
        match event {
            Event::State { state, reason } => {
                self.state = *state;
                self.reason = reason.as_deref().map(clean);
                if !matches!(state, State::Starting | State::Running | State::Stopping) {
                    self.work = None;
                }
            }
            Event::Phase { phase, done, total, unit: _ } => self.phase(*phase, *done, *total),
            Event::Note { level: NoteLevel::Info, message } => self.note(clean(message)),
            Event::Note { level: NoteLevel::Warning, message } => {
                self.note(format!("warning: {}", clean(message)));
            }
            Event::Stepped(stepped) => self.stepped(stepped, *time_unix_ms),
            Event::Evaluated(evaluated) => self.evaluated(evaluated),
            // Answers are read in the lines and with `jobs metrics`; the view has no room for them.
            Event::Sampled(_) => {}
            Event::Saved { step, path: _, bytes: size } => {
                self.note(format!("saved after step {step} ({})", bytes(*size)));
            }
            Event::Removed { .. } => {}
            Event::Damaged { step, path: _, kept_at: _, message } => {
                self.note(format!("warning: the checkpoint of step {step} is damaged: {}", clean(message)));
            }
            Event::Exported { path, kind } => self.exported.push((clean(kind), clean(path))),
        }
    }

    fn phase(&mut self, phase: Phase, done: Option<u64>, total: Option<u64>) {
        let amount = done.zip(total).filter(|(_, total)| *total > 0);
        self.work = Some(Work { phase, amount });
        if phase == Phase::Training {
            // Its amount is the steps themselves.
            self.work = Some(Work { phase, amount: None });
            self.total_steps = total.or(self.total_steps);
            self.step = done.unwrap_or(self.step);
        }
    }

    fn stepped(&mut self, stepped: &Stepped, time_unix_ms: u64) {
        let Stepped { step, loss_nats, learning_rate, .. } = *stepped;
        self.step = step;
        self.first_loss_nats.get_or_insert(loss_nats);
        self.last_loss_nats = Some(loss_nats);
        self.smoothed_loss.take(loss_nats);
        self.learning_rate = Some(learning_rate);
        self.pace.take(self.attempt, stepped, time_unix_ms);
        self.train_curve.take(step, loss_nats);
    }

    fn evaluated(&mut self, evaluated: &Evaluated) {
        let Evaluated { step, loss_nats, .. } = *evaluated;
        let held_out = HeldOut { step, loss_nats };
        match self.held_out_before {
            // A run that begins again, after it died before its first checkpoint.
            Some(before) if before.step >= step => self.held_out_before = Some(held_out),
            Some(_) => self.held_out_after = Some(held_out),
            None => self.held_out_before = Some(held_out),
        }
        self.held_out_curve.take(step, loss_nats);
    }

    fn note(&mut self, note: String) {
        self.notes.push_back(note);
        if self.notes.len() > MAX_NOTES {
            self.notes.pop_front();
        }
    }
}
