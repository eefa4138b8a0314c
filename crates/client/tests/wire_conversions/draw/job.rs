//! Jobs, their attempts and what they report.

use ftl_core::event::{NoteLevel, Sampled};
use ftl_core::job::{
    Artifact, Attempt, Checkpoint, CheckpointState, Exit, Job, JobEvent, Move, MoveTo, Parent, Progress,
    StartFrom, State, Waiting, WaitingReason,
};
use ftl_core::metrics::{Evaluated, Rewards, Stepped};
use ftl_core::{Event, EventRecord, JobId};

use super::{Draw, PHASES};

impl Draw {
    pub fn job(&mut self) -> Job {
        Job {
            id: JobId::from_bits(self.number()),
            name: self.text(),
            spec: self.spec(),
            state: self.one(&State::ALL),
            reason: self.maybe(Self::text),
            problems: self.list(Self::problem),
            waiting: self.maybe(Self::waiting),
            queue_place: self.maybe(Self::number),
            parent: self.maybe(|draw| Parent { job: draw.job_id(), step: draw.number() }),
            phase: self.maybe(|draw| draw.one(&PHASES)),
            progress: Progress {
                step: self.number(),
                total_steps: self.maybe(Self::number),
                loss_nats: self.maybe(Self::float),
                eval_loss_before_nats: self.maybe(Self::float),
                eval_loss_nats: self.maybe(Self::float),
            },
            n_attempts: self.small(),
            seq: self.number(),
            directory: self.path(),
            created_unix_ms: self.time(),
            started_unix_ms: self.maybe(Self::time),
            ended_unix_ms: self.maybe(Self::time),
        }
    }

    pub fn job_id(&mut self) -> JobId {
        JobId::from_bits(self.number())
    }

    pub fn waiting(&mut self) -> Waiting {
        const REASONS: [WaitingReason; 4] = [
            WaitingReason::CpuBusy,
            WaitingReason::GpuBusy,
            WaitingReason::GpuUnavailable,
            WaitingReason::DiskLow,
        ];
        Waiting { reason: self.one(&REASONS), message: self.text() }
    }

    pub fn start_from(&mut self) -> StartFrom {
        StartFrom { job: self.job_id(), step: self.maybe(Self::number) }
    }

    pub fn change_of_order(&mut self) -> Move {
        let to = match self.below(4) {
            0 => MoveTo::First,
            1 => MoveTo::Last,
            2 => MoveTo::Before(self.job_id()),
            _ => MoveTo::After(self.job_id()),
        };
        Move { job: self.job_id(), to, from_place: self.maybe(Self::number) }
    }

    pub fn attempt(&mut self) -> Attempt {
        Attempt {
            number: self.small(),
            started_unix_ms: self.time(),
            ended_unix_ms: self.maybe(Self::time),
            exit: self.maybe(|draw| match draw.below(10) {
                0 => Exit::Crashed {
                    signal: draw.maybe(|draw| draw.small() as i32),
                    code: draw.maybe(|draw| draw.small() as i32),
                },
                1 => Exit::Ok,
                2 => Exit::Stopped,
                3 => Exit::Data,
                4 => Exit::Nan,
                5 => Exit::OomGpu,
                6 => Exit::OomHost,
                7 => Exit::SpawnFailed,
                8 => Exit::Lost,
                _ => Exit::Cancelled,
            }),
            log_tail: self.maybe(Self::text),
        }
    }

    pub fn checkpoint(&mut self) -> Checkpoint {
        Checkpoint {
            step: self.number(),
            attempt: self.small(),
            seq: self.number(),
            path: self.path(),
            bytes: self.number(),
            created_unix_ms: self.time(),
            state: self.one(&[CheckpointState::Complete, CheckpointState::Damaged, CheckpointState::Removed]),
            damage: self.maybe(Self::text),
            verified_unix_ms: self.maybe(Self::time),
            eval_loss_nats: self.maybe(Self::float),
            pinned: self.one(&[true, false]),
            last: self.one(&[true, false]),
            best: self.one(&[true, false]),
        }
    }

    pub fn artifact(&mut self) -> Artifact {
        Artifact { kind: self.text(), path: self.path(), bytes: self.number(), created_unix_ms: self.time() }
    }

    pub fn event(&mut self) -> JobEvent {
        let event = match self.below(10) {
            0 => Event::State { state: self.one(&State::ALL), reason: self.maybe(Self::text) },
            1 => Event::Phase {
                phase: self.one(&PHASES),
                done: self.maybe(Self::number),
                total: self.maybe(Self::number),
                unit: self.maybe(Self::text),
            },
            2 => {
                Event::Note { level: self.one(&[NoteLevel::Info, NoteLevel::Warning]), message: self.text() }
            }
            3 => Event::Stepped(Stepped {
                step: self.number(),
                epoch: self.float(),
                loss_nats: self.float(),
                grad_norm: self.float(),
                learning_rate: self.float(),
                tokens: self.number(),
                supervised_tokens: self.number(),
                samples: self.number(),
                tokens_per_sec: self.float(),
                samples_per_sec: self.float(),
                step_millis: self.float(),
                data_millis: self.float(),
                rewards: self.maybe(Self::rewards),
            }),
            4 => Event::Evaluated(Evaluated {
                step: self.number(),
                loss_nats: self.float(),
                perplexity: self.float(),
                token_accuracy: self.float(),
                tokens: self.number(),
                rewards: self.maybe(Self::rewards),
            }),
            5 => Event::Sampled(Sampled {
                step: self.number(),
                prompt: self.text(),
                text: self.text(),
                reference: self.maybe(Self::text),
            }),
            6 => Event::Saved { step: self.number(), path: self.text(), bytes: self.number() },
            7 => Event::Removed { step: self.number(), path: self.text() },
            8 => Event::Damaged {
                step: self.number(),
                path: self.text(),
                kept_at: self.text(),
                message: self.text(),
            },
            _ => Event::Exported { path: self.text(), kind: self.text() },
        };
        let record = EventRecord { seq: self.number(), time_unix_ms: self.time(), event };
        JobEvent { attempt: self.small(), record }
    }

    pub(super) fn rewards(&mut self) -> Rewards {
        Rewards {
            rewards_chosen: self.float(),
            rewards_rejected: self.float(),
            reward_margin: self.float(),
            reward_accuracy: self.float(),
        }
    }
}
