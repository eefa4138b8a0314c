//! Events and the numbers in them.

use ftl_core::event::{NoteLevel, Sampled};
use ftl_core::job::{JobEvent, Phase, State};
use ftl_core::metrics::{Evaluated, Rewards, Stepped};
use ftl_core::{Event, EventRecord};

use super::numbered::numbered;
use super::time::{timestamp, unix_ms};
use super::{Numbered as _, WireError, v1};
use v1::job_event::Event as Kind;

numbered!(NoteLevel, v1::note_event::Level, "NoteEvent.Level": Info, Warning);

impl From<JobEvent> for v1::JobEvent {
    fn from(event: JobEvent) -> Self {
        let JobEvent { attempt, record: EventRecord { seq, time_unix_ms, event } } = event;
        Self { seq, attempt, time: Some(timestamp(time_unix_ms)), event: Some(event.into()) }
    }
}

impl TryFrom<v1::JobEvent> for JobEvent {
    type Error = WireError;

    fn try_from(event: v1::JobEvent) -> Result<Self, WireError> {
        const NAME: &str = "JobEvent";
        let v1::JobEvent { seq, attempt, time, event } = event;
        let time_unix_ms = unix_ms(NAME, "time", time)?;
        let event = event.ok_or_else(|| WireError::missing(NAME, "event"))?.try_into()?;
        Ok(Self { attempt, record: EventRecord { seq, time_unix_ms, event } })
    }
}

impl From<Event> for Kind {
    fn from(event: Event) -> Self {
        match event {
            Event::State { state, reason } => Self::State(v1::StateEvent { state: state.number(), reason }),
            Event::Phase { phase, done, total, unit } => {
                Self::Phase(v1::PhaseEvent { phase: phase.number(), done, total, unit })
            }
            Event::Note { level, message } => Self::Note(v1::NoteEvent { level: level.number(), message }),
            Event::Stepped(stepped) => Self::Stepped(stepped.into()),
            Event::Evaluated(evaluated) => Self::Evaluated(evaluated.into()),
            Event::Sampled(sampled) => Self::Sampled(sampled.into()),
            Event::Saved { step, path, bytes } => Self::Saved(v1::SavedEvent { step, path, bytes }),
            Event::Removed { step, path } => Self::Removed(v1::RemovedEvent { step, path }),
            Event::Damaged { step, path, kept_at, message } => {
                Self::Damaged(v1::DamagedEvent { step, path, kept_at, message })
            }
            Event::Exported { path, kind } => Self::Exported(v1::ExportedEvent { path, kind }),
        }
    }
}

/// Fields of errors are those of `JobEvent`.
impl TryFrom<Kind> for Event {
    type Error = WireError;

    fn try_from(kind: Kind) -> Result<Self, WireError> {
        const NAME: &str = "JobEvent";
        Ok(match kind {
            Kind::State(v1::StateEvent { state, reason }) => {
                Self::State { state: State::required(NAME, "state.state", state)?, reason }
            }
            Kind::Phase(v1::PhaseEvent { phase, done, total, unit }) => {
                Self::Phase { phase: Phase::required(NAME, "phase.phase", phase)?, done, total, unit }
            }
            Kind::Note(v1::NoteEvent { level, message }) => {
                Self::Note { level: NoteLevel::required(NAME, "note.level", level)?, message }
            }
            Kind::Stepped(stepped) => Self::Stepped(stepped.into()),
            Kind::Evaluated(evaluated) => Self::Evaluated(evaluated.into()),
            Kind::Sampled(sampled) => Self::Sampled(sampled.into()),
            Kind::Saved(v1::SavedEvent { step, path, bytes }) => Self::Saved { step, path, bytes },
            Kind::Removed(v1::RemovedEvent { step, path }) => Self::Removed { step, path },
            Kind::Damaged(v1::DamagedEvent { step, path, kept_at, message }) => {
                Self::Damaged { step, path, kept_at, message }
            }
            Kind::Exported(v1::ExportedEvent { path, kind }) => Self::Exported { path, kind },
        })
    }
}

impl From<Stepped> for v1::SteppedEvent {
    fn from(stepped: Stepped) -> Self {
        let Stepped {
            step,
            epoch,
            loss_nats,
            grad_norm,
            learning_rate,
            tokens,
            supervised_tokens,
            samples,
            tokens_per_sec,
            samples_per_sec,
            step_millis,
            data_millis,
            rewards,
        } = stepped;
        Self {
            step,
            epoch,
            loss_nats,
            grad_norm,
            learning_rate,
            tokens,
            supervised_tokens,
            samples,
            tokens_per_sec,
            samples_per_sec,
            step_millis,
            data_millis,
            rewards: rewards.map(Into::into),
        }
    }
}

impl From<v1::SteppedEvent> for Stepped {
    fn from(stepped: v1::SteppedEvent) -> Self {
        let v1::SteppedEvent {
            step,
            epoch,
            loss_nats,
            grad_norm,
            learning_rate,
            tokens,
            supervised_tokens,
            samples,
            tokens_per_sec,
            samples_per_sec,
            step_millis,
            data_millis,
            rewards,
        } = stepped;
        Self {
            step,
            epoch,
            loss_nats,
            grad_norm,
            learning_rate,
            tokens,
            supervised_tokens,
            samples,
            tokens_per_sec,
            samples_per_sec,
            step_millis,
            data_millis,
            rewards: rewards.map(Into::into),
        }
    }
}

impl From<Evaluated> for v1::EvaluatedEvent {
    fn from(evaluated: Evaluated) -> Self {
        let Evaluated { step, loss_nats, perplexity, token_accuracy, tokens, rewards } = evaluated;
        let rewards = rewards.map(Into::into);
        Self { step, loss_nats, perplexity, token_accuracy, tokens, rewards }
    }
}

impl From<v1::EvaluatedEvent> for Evaluated {
    fn from(evaluated: v1::EvaluatedEvent) -> Self {
        let v1::EvaluatedEvent { step, loss_nats, perplexity, token_accuracy, tokens, rewards } = evaluated;
        let rewards = rewards.map(Into::into);
        Self { step, loss_nats, perplexity, token_accuracy, tokens, rewards }
    }
}

impl From<Rewards> for v1::Rewards {
    fn from(rewards: Rewards) -> Self {
        let Rewards { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy } = rewards;
        Self { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy }
    }
}

impl From<v1::Rewards> for Rewards {
    fn from(rewards: v1::Rewards) -> Self {
        let v1::Rewards { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy } = rewards;
        Self { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy }
    }
}

impl From<Sampled> for v1::SampledEvent {
    fn from(sampled: Sampled) -> Self {
        let Sampled { step, prompt, text, reference } = sampled;
        Self { step, prompt, text, reference }
    }
}

impl From<v1::SampledEvent> for Sampled {
    fn from(sampled: v1::SampledEvent) -> Self {
        let v1::SampledEvent { step, prompt, text, reference } = sampled;
        Self { step, prompt, text, reference }
    }
}
