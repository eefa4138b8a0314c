//! Checkpoints.

use std::path::PathBuf;

use ftl_core::job::{Checkpoint, CheckpointState};

use super::numbered::numbered;
use super::time::{optional_unix_ms, timestamp, unix_ms};
use super::{Numbered as _, WireError, text, v1};

numbered!(CheckpointState, v1::CheckpointState, "CheckpointState": Complete, Damaged, Removed);

impl From<Checkpoint> for v1::Checkpoint {
    fn from(checkpoint: Checkpoint) -> Self {
        let name = checkpoint.name();
        let Checkpoint {
            step,
            attempt,
            seq,
            path,
            bytes,
            created_unix_ms,
            state,
            damage,
            verified_unix_ms,
            eval_loss_nats,
            pinned,
            last,
            best,
        } = checkpoint;
        Self {
            name,
            step,
            attempt,
            seq,
            path: text(path),
            bytes,
            create_time: Some(timestamp(created_unix_ms)),
            state: state.number(),
            damage,
            verify_time: verified_unix_ms.map(timestamp),
            eval_loss_nats,
            pinned,
            last,
            best,
        }
    }
}

impl TryFrom<v1::Checkpoint> for Checkpoint {
    type Error = WireError;

    fn try_from(checkpoint: v1::Checkpoint) -> Result<Self, WireError> {
        const NAME: &str = "Checkpoint";
        let v1::Checkpoint {
            // The end of the path.
            name: _,
            step,
            attempt,
            seq,
            path,
            bytes,
            create_time,
            state,
            damage,
            verify_time,
            eval_loss_nats,
            pinned,
            last,
            best,
        } = checkpoint;
        Ok(Self {
            step,
            attempt,
            seq,
            path: PathBuf::from(path),
            bytes,
            created_unix_ms: unix_ms(NAME, "create_time", create_time)?,
            state: CheckpointState::required(NAME, "state", state)?,
            damage,
            verified_unix_ms: optional_unix_ms(NAME, "verify_time", verify_time)?,
            eval_loss_nats,
            pinned,
            last,
            best,
        })
    }
}
