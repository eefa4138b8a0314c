//! States and phases.

use ftl_core::job::{Phase, State};

use super::numbered::numbered;
use super::v1;

numbered!(
    State, v1::JobState, "JobState":
    Queued, Starting, Running, Stopping, Stopped, Interrupted, Succeeded, Failed, Cancelled,
);

numbered!(
    Phase, v1::JobPhase, "JobPhase":
    Validating, Planning, Downloading, Loading, Tokenizing, Training, Evaluating, Sampling, Saving, Exporting,
);
