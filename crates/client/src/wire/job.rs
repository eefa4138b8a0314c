//! Jobs, their attempts, and what they made.

use std::path::PathBuf;

use ftl_core::job::{Artifact, Attempt, Exit, Job, Parent, Phase, Progress, State};

use super::error::{id, optional};
use super::numbered::number_or_unspecified;
use super::time::{optional_unix_ms, timestamp, unix_ms};
use super::{Numbered as _, WireError, each, required, text, v1};
use v1::attempt_exit::Class;

impl From<Job> for v1::Job {
    fn from(job: Job) -> Self {
        let Job {
            id,
            name,
            spec,
            state,
            reason,
            problems,
            waiting,
            queue_place,
            parent,
            phase,
            progress,
            n_attempts,
            seq,
            directory,
            created_unix_ms,
            started_unix_ms,
            ended_unix_ms,
        } = job;
        Self {
            id: id.into(),
            name,
            spec: Some(spec.into()),
            state: state.number(),
            reason,
            problems: problems.into_iter().map(v1::Problem::from).collect(),
            phase: number_or_unspecified(phase),
            progress: Some(progress.into()),
            attempt_count: n_attempts,
            seq,
            directory: text(directory),
            create_time: Some(timestamp(created_unix_ms)),
            start_time: started_unix_ms.map(timestamp),
            end_time: ended_unix_ms.map(timestamp),
            waiting: waiting.map(v1::Waiting::from),
            queue_place,
            parent: parent.map(v1::JobParent::from),
        }
    }
}

impl TryFrom<v1::Job> for Job {
    type Error = WireError;

    fn try_from(job: v1::Job) -> Result<Self, WireError> {
        const NAME: &str = "Job";
        let v1::Job {
            id: text,
            name,
            spec,
            state,
            reason,
            problems,
            phase,
            progress,
            attempt_count,
            seq,
            directory,
            create_time,
            start_time,
            end_time,
            waiting,
            queue_place,
            parent,
        } = job;
        Ok(Self {
            id: id(NAME, "id", text)?,
            name,
            spec: required(NAME, "spec", spec)?,
            state: State::required(NAME, "state", state)?,
            reason,
            problems: each(NAME, "problems", problems)?,
            waiting: optional(NAME, "waiting", waiting)?,
            queue_place,
            parent: optional::<_, Parent>(NAME, "parent", parent)?,
            phase: Phase::optional(NAME, "phase", phase)?,
            progress: progress.map(Progress::from).unwrap_or_default(),
            n_attempts: attempt_count,
            seq,
            directory: PathBuf::from(directory),
            created_unix_ms: unix_ms(NAME, "create_time", create_time)?,
            started_unix_ms: optional_unix_ms(NAME, "start_time", start_time)?,
            ended_unix_ms: optional_unix_ms(NAME, "end_time", end_time)?,
        })
    }
}

impl From<Progress> for v1::JobProgress {
    fn from(progress: Progress) -> Self {
        let Progress { step, total_steps, loss_nats, eval_loss_before_nats, eval_loss_nats } = progress;
        Self { step, total_steps, loss_nats, eval_loss_before_nats, eval_loss_nats }
    }
}

impl From<v1::JobProgress> for Progress {
    fn from(progress: v1::JobProgress) -> Self {
        let v1::JobProgress { step, total_steps, loss_nats, eval_loss_before_nats, eval_loss_nats } =
            progress;
        Self { step, total_steps, loss_nats, eval_loss_before_nats, eval_loss_nats }
    }
}

impl From<Attempt> for v1::Attempt {
    fn from(attempt: Attempt) -> Self {
        let Attempt { number, started_unix_ms, ended_unix_ms, exit, log_tail } = attempt;
        Self {
            number,
            start_time: Some(timestamp(started_unix_ms)),
            end_time: ended_unix_ms.map(timestamp),
            exit: exit.map(v1::AttemptExit::from),
            log_tail,
        }
    }
}

impl TryFrom<v1::Attempt> for Attempt {
    type Error = WireError;

    fn try_from(attempt: v1::Attempt) -> Result<Self, WireError> {
        const NAME: &str = "Attempt";
        let v1::Attempt { number, start_time, end_time, exit, log_tail } = attempt;
        Ok(Self {
            number,
            started_unix_ms: unix_ms(NAME, "start_time", start_time)?,
            ended_unix_ms: optional_unix_ms(NAME, "end_time", end_time)?,
            exit: optional(NAME, "exit", exit)?,
            log_tail,
        })
    }
}

impl From<Exit> for v1::AttemptExit {
    fn from(exit: Exit) -> Self {
        let (class, signal, code) = match exit {
            Exit::Ok => (Class::Ok, None, None),
            Exit::Stopped => (Class::Stopped, None, None),
            Exit::Data => (Class::Data, None, None),
            Exit::Nan => (Class::Nan, None, None),
            Exit::OomGpu => (Class::OomGpu, None, None),
            Exit::OomHost => (Class::OomHost, None, None),
            Exit::Crashed { signal, code } => (Class::Crashed, signal, code),
            Exit::SpawnFailed => (Class::SpawnFailed, None, None),
            Exit::Lost => (Class::Lost, None, None),
            Exit::Cancelled => (Class::Cancelled, None, None),
        };
        Self { exit_class: class.into(), signal, code }
    }
}

impl TryFrom<v1::AttemptExit> for Exit {
    type Error = WireError;

    fn try_from(exit: v1::AttemptExit) -> Result<Self, WireError> {
        const NAME: &str = "AttemptExit";
        let v1::AttemptExit { exit_class, signal, code } = exit;
        let known = Class::try_from(exit_class).map_err(|_| {
            let highest = Class::Cancelled as i32;
            let what = format!("`AttemptExit.Class` has no value {exit_class}, expected 1 to {highest}");
            WireError::new(NAME, "exit_class", what)
        })?;
        let exit = match known {
            Class::Unspecified => return Err(WireError::missing(NAME, "exit_class")),
            Class::Ok => Self::Ok,
            Class::Stopped => Self::Stopped,
            Class::Data => Self::Data,
            Class::Nan => Self::Nan,
            Class::OomGpu => Self::OomGpu,
            Class::OomHost => Self::OomHost,
            Class::Crashed => return Ok(Self::Crashed { signal, code }),
            Class::SpawnFailed => Self::SpawnFailed,
            Class::Lost => Self::Lost,
            Class::Cancelled => Self::Cancelled,
        };
        // Only a crash has them; elsewhere they would be lost on the way in.
        for (field, value) in [("signal", signal), ("code", code)] {
            if let Some(value) = value {
                let class = known.as_str_name();
                return Err(WireError::new(
                    NAME,
                    field,
                    format!("{value} stands beside {class}, only CLASS_CRASHED has it"),
                ));
            }
        }
        Ok(exit)
    }
}

impl From<Artifact> for v1::Artifact {
    fn from(artifact: Artifact) -> Self {
        let Artifact { kind, path, bytes, created_unix_ms } = artifact;
        Self { kind, path: text(path), bytes, create_time: Some(timestamp(created_unix_ms)) }
    }
}

impl TryFrom<v1::Artifact> for Artifact {
    type Error = WireError;

    fn try_from(artifact: v1::Artifact) -> Result<Self, WireError> {
        let v1::Artifact { kind, path, bytes, create_time } = artifact;
        let created_unix_ms = unix_ms("Artifact", "create_time", create_time)?;
        Ok(Self { kind, path: PathBuf::from(path), bytes, created_unix_ms })
    }
}
