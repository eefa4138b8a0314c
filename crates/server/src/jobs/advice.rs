//! What to do after a job ran out of memory: the plan is asked for specs that take less than this one did.

use std::time::Duration;

use ftl_core::job::Exit;
use ftl_core::plan::shown;
use ftl_core::spec::MaxMemory;
use ftl_core::{JobSpec, Problem};
use tracing::warn;

use crate::worker::Workers;

/// How long a plan may take; the end of the attempt waits for it.
const PLANNED_WITHIN: Duration = Duration::from_secs(60);
/// What the next try may take, of what this one was planned to take. The plan is right within some percent, so what it
/// missed is in somebody else's use of the memory, or in data that it did not know.
const SHARE: f64 = 0.8;

/// The key whose problems say by themselves what would fit: the run knows that better, by what it measured.
const LIMIT_KEY: &str = "device.max_memory";

/// Adds to the problems of an attempt what would take less, where it ended for want of memory.
pub(super) async fn advised(
    workers: &Workers,
    spec: &JobSpec,
    exit: Exit,
    problems: Vec<Problem>,
) -> Vec<Problem> {
    match exit {
        Exit::OomGpu | Exit::OomHost => {}
        Exit::Ok
        | Exit::Stopped
        | Exit::Data
        | Exit::Nan
        | Exit::Crashed { .. }
        | Exit::SpawnFailed
        | Exit::Lost
        | Exit::Cancelled => return problems,
    }
    if problems.iter().any(|problem| problem.field.as_deref() == Some(LIMIT_KEY)) {
        return problems;
    }
    let Ok(Some(advice)) = tokio::time::timeout(PLANNED_WITHIN, less(workers, spec)).await else {
        return problems;
    };
    problems.into_iter().map(|problem| problem.hint(&advice)).collect()
}

async fn less(workers: &Workers, spec: &JobSpec) -> Option<String> {
    let planned = workers.plan_memory(spec.clone()).await;
    let planned =
        planned.inspect_err(|error| warn!(%error, "what would take less memory is not known")).ok()?;
    let most =
        planned.available_bytes.map_or(planned.peak_bytes, |available| available.min(planned.peak_bytes));
    let mut lower = spec.clone();
    lower.device.max_memory = Some(MaxMemory::Bytes((most as f64 * SHARE) as u64));
    let proposals = workers.plan_memory(lower).await.ok()?.proposals;
    if proposals.is_empty() {
        return None;
    }
    let proposals: Vec<String> = proposals.iter().map(ToString::to_string).collect();
    Some(format!(
        "it was planned to take {}; these take less: {}; start a new job with one of them, or end other programs that use \
         this memory and resume the job",
        shown(planned.peak_bytes),
        proposals.join(", or ")
    ))
}
