//! The queue: why jobs wait, how they are moved, and where a new one begins.

use ftl_core::job::{Move, MoveTo, Parent, QueueSettings, StartFrom, Waiting, WaitingReason};

use super::error::id;
use super::numbered::numbered;
use super::{Numbered as _, WireError, v1};
use v1::move_job_request::{End, To};

numbered!(WaitingReason, v1::waiting::Reason, "Waiting.Reason": CpuBusy, GpuBusy, GpuUnavailable, DiskLow);

impl From<Waiting> for v1::Waiting {
    fn from(waiting: Waiting) -> Self {
        let Waiting { reason, message } = waiting;
        Self { reason: reason.number(), message }
    }
}

impl TryFrom<v1::Waiting> for Waiting {
    type Error = WireError;

    fn try_from(waiting: v1::Waiting) -> Result<Self, WireError> {
        let v1::Waiting { reason, message } = waiting;
        Ok(Self { reason: WaitingReason::required("Waiting", "reason", reason)?, message })
    }
}

impl From<Parent> for v1::JobParent {
    fn from(parent: Parent) -> Self {
        let Parent { job, step } = parent;
        Self { job_id: job.into(), step }
    }
}

impl TryFrom<v1::JobParent> for Parent {
    type Error = WireError;

    fn try_from(parent: v1::JobParent) -> Result<Self, WireError> {
        let v1::JobParent { job_id, step } = parent;
        Ok(Self { job: id("JobParent", "job_id", job_id)?, step })
    }
}

impl From<StartFrom> for v1::StartFrom {
    fn from(from: StartFrom) -> Self {
        let StartFrom { job, step } = from;
        Self { job_id: job.into(), step }
    }
}

impl TryFrom<v1::StartFrom> for StartFrom {
    type Error = WireError;

    fn try_from(from: v1::StartFrom) -> Result<Self, WireError> {
        let v1::StartFrom { job_id, step } = from;
        Ok(Self { job: id("StartFrom", "job_id", job_id)?, step })
    }
}

impl From<QueueSettings> for v1::QueueSettings {
    fn from(settings: QueueSettings) -> Self {
        let QueueSettings { min_free_disk_bytes } = settings;
        Self { min_free_disk_bytes }
    }
}

impl From<v1::QueueSettings> for QueueSettings {
    fn from(settings: v1::QueueSettings) -> Self {
        let v1::QueueSettings { min_free_disk_bytes } = settings;
        Self { min_free_disk_bytes }
    }
}

impl From<Move> for v1::MoveJobRequest {
    fn from(change: Move) -> Self {
        let Move { job, to, from_place } = change;
        let to = match to {
            MoveTo::First => To::End(End::First.into()),
            MoveTo::Last => To::End(End::Last.into()),
            MoveTo::Before(other) => To::BeforeJobId(other.into()),
            MoveTo::After(other) => To::AfterJobId(other.into()),
        };
        Self { id: job.into(), to: Some(to), from_place }
    }
}

impl TryFrom<v1::MoveJobRequest> for Move {
    type Error = WireError;

    fn try_from(request: v1::MoveJobRequest) -> Result<Self, WireError> {
        const NAME: &str = "MoveJobRequest";
        let v1::MoveJobRequest { id: job, to, from_place } = request;
        let to = match to.ok_or_else(|| WireError::missing(NAME, "to"))? {
            To::BeforeJobId(other) => MoveTo::Before(id(NAME, "before_job_id", other)?),
            To::AfterJobId(other) => MoveTo::After(id(NAME, "after_job_id", other)?),
            To::End(end) => match End::try_from(end) {
                Ok(End::First) => MoveTo::First,
                Ok(End::Last) => MoveTo::Last,
                Ok(End::Unspecified) => return Err(WireError::missing(NAME, "end")),
                Err(_) => {
                    let what = format!("`MoveJobRequest.End` has no value {end}, expected 1 to 2");
                    return Err(WireError::new(NAME, "end", what));
                }
            },
        };
        Ok(Self { job: id(NAME, "id", job)?, to, from_place })
    }
}
