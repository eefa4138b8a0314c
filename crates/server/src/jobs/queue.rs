//! The queue: while no job is worked on, the oldest queued one is.

use std::time::Duration;

use ftl_core::JobId;
use ftl_core::job::State;
use tracing::error;

use super::{Jobs, supervisor};
use crate::error::ServiceError;

/// How long to wait after the store refused, before it is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Works on queued jobs until the service ends.
pub(super) async fn work(jobs: Jobs) {
    while !jobs.0.ending.is_cancelled() {
        let worked = match next(&jobs).await {
            Ok(Some(id)) => supervisor::attempt(&jobs, &id).await.map(|()| true),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        match worked {
            Ok(true) => {}
            // A permit of `notify_one` stays, so nothing queued since `next` is missed.
            Ok(false) => tokio::select! {
                () = jobs.0.queued.notified() => {}
                () = jobs.0.ending.cancelled() => {}
            },
            Err(cause) => {
                error!(cause = &cause as &dyn std::error::Error, "the queue stands still for a moment");
                tokio::select! {
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                    () = jobs.0.ending.cancelled() => {}
                }
            }
        }
    }
}

async fn next(jobs: &Jobs) -> Result<Option<JobId>, ServiceError> {
    let queued = jobs.0.store.jobs_in(&[State::Queued]).await?;
    Ok(queued.into_iter().next().map(|job| job.id))
}
