//! `device.max_memory` while a run goes on. Its plan was tested before the first step; what is not in the plan, or lies
//! otherwise in memory than it was foreseen, ends the run here, as it would on a device that has no more.
//!
//! Memory is looked at after each step and after what follows one, since a run can be saved and ended there only. What was
//! taken and given back between two looks is seen all the same: the system keeps the peak of a process, and pools keep
//! the pages of a step for the next one. A limit on the device itself would be sharper and can't be had: CubeCL takes
//! memory from the driver without a pool of CUDA's that could have a largest size (and past one that has, where taking
//! from it fails), and filling the rest of the card would take from other programs what the limit is meant to leave them.

use ftl_core::plan::shown;
use ftl_core::{Problem, ProblemKind};

use crate::device::DeviceName;
use crate::error::TrainError;
use crate::plan::{Memory, Planner};
use crate::train::run::Run;

/// A process grows a little while its tensors do not: by pieces that the allocator keeps (12 MiB were seen after 300 steps,
/// `tests/train_run/memory.rs`), and by pages of its program that it reads later. A GPU's pools have nothing of that.
const PROCESS_SLACK_BYTES: u64 = 16 << 20;

/// Ends a run that took more than it may; the steps that it took are saved first.
///
/// # Errors
/// [`TrainError::OutOfMemory`], or the failure to save.
pub(super) fn hold(run: &mut Run<'_, '_>) -> Result<(), TrainError> {
    let Some(limit) = run.spec.device.max_memory_bytes else { return Ok(()) };
    let (memory, slack) = match run.device.name {
        DeviceName::Cpu => (Memory::Cpu, PROCESS_SLACK_BYTES),
        DeviceName::Cuda(_) | DeviceName::Vulkan(_) => (Memory::Gpu, 0),
    };
    let Some(taken) = run.base.peak_bytes().filter(|taken| *taken > limit.saturating_add(slack)) else {
        return Ok(());
    };
    let problem = exceeded(&run.planner, (taken, limit), run.step);
    run.save_the_rest()?;
    Err(TrainError::OutOfMemory { memory, problem })
}

/// What to tell of a run that took more, and what would fit by what was measured.
fn exceeded(planner: &Planner, (taken, limit): (u64, u64), step: u64) -> Problem {
    let smaller = planner.as_measured(taken).what_would_fit().map_or_else(
        || "choose a smaller model".to_owned(),
        |proposals| format!("start a new run with what would fit: {proposals}"),
    );
    // Of a little more than it may, both amounts can look the same.
    let excess_mib = (taken - limit).div_ceil(1 << 20);
    let (taken, limit) = (shown(taken), shown(limit));
    let message = format!(
        "the run took {taken} of memory by step {step}, {excess_mib} MiB more than the {limit} that it may take"
    );
    Problem::new(ProblemKind::OutOfMemory, message)
        .at("device.max_memory")
        .hint(format!("raise it and resume, since the steps taken are saved, or {smaller}"))
}
