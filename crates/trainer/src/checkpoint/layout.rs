//! Every name that a run writes.

/// The spec with every default filled in.
pub const SPEC_RESOLVED_JSON: &str = "spec.resolved.json";
/// What was found in the data.
pub const REPORT_JSON: &str = "report.json";
/// One event per line.
pub const EVENTS_JSONL: &str = "events.jsonl";
/// What each step came to, bit by bit.
pub const DIGESTS_JSONL: &str = "digests.jsonl";
/// The checkpoint of another run that this one started from.
pub const START_JSON: &str = "start.json";
/// The result of a run.
pub const FINAL: &str = "final";
/// What DPO's reference model says to the pairs.
pub const REFERENCE: &str = "reference";
/// The log-probabilities in it, and what they follow from.
pub const LOG_PROBS_JSON: &str = "log_probs.json";

/// Size and SHA-256 of every other file of a directory; written last.
pub const MANIFEST_JSON: &str = "MANIFEST.json";
/// Where the run stood: data cursor, spec, hashes, build.
pub const FTL_STATE_JSON: &str = "ftl_state.json";
/// Where the run stood, with transformers' keys.
pub const TRAINER_STATE_JSON: &str = "trainer_state.json";
/// The optimizer's moments.
pub const OPTIMIZER_SAFETENSORS: &str = "optimizer.safetensors";

/// A model's shape.
pub const CONFIG_JSON: &str = crate::model::config::CONFIG_JSON;
/// A model's weights in one file.
pub const MODEL_SAFETENSORS: &str = crate::model::weights::MODEL_SAFETENSORS;
/// An adapter's shape, as PEFT names it.
pub const ADAPTER_CONFIG_JSON: &str = crate::adapter::peft::ADAPTER_CONFIG_JSON;
/// An adapter's weights, as PEFT names them.
pub const ADAPTER_MODEL_SAFETENSORS: &str = crate::adapter::peft::ADAPTER_MODEL_SAFETENSORS;
/// The chat template, as transformers names it.
pub const CHAT_TEMPLATE_JINJA: &str = "chat_template.jinja";
/// The model card.
pub const README_MD: &str = "README.md";

const CHECKPOINT: &str = "checkpoint-";
/// What follows a checkpoint's name in that of the empty file beside it that keeps it.
const PINNED: &str = ".pinned";
/// A checkpoint that is not what was written, out of the way of the one that takes its place.
const DAMAGED: &str = "damaged-";
/// A directory that is being filled.
const TEMPORARY: &str = ".tmp-";
/// A directory that gives way to a new one of its name.
const RETIRED: &str = ".tmp-retired-";
/// A directory that is being deleted.
const REMOVED: &str = ".tmp-removed-";

/// The name of the checkpoint after a step: `checkpoint-500`.
pub fn checkpoint_name(step: u64) -> String {
    format!("{CHECKPOINT}{step}")
}

/// The step in a checkpoint's name; `None` for any other name.
pub fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix(CHECKPOINT)?.parse().ok()?;
    // `checkpoint-007` and `checkpoint-+7` are somebody else's.
    (checkpoint_name(step) == name).then_some(step)
}

/// The name of the file that keeps the checkpoint after a step: `checkpoint-500.pinned`. It lies beside the checkpoint,
/// whose own files are as they were written, and holds nothing.
pub fn pin_name(step: u64) -> String {
    format!("{CHECKPOINT}{step}{PINNED}")
}

/// The step in the name of a pin; `None` for any other name.
pub fn pinned_step(name: &str) -> Option<u64> {
    step_of(name.strip_suffix(PINNED)?)
}

/// A name for a damaged checkpoint: `damaged-checkpoint-500`, then `damaged-checkpoint-500.2`.
pub(super) fn damaged_name(step: u64, number: u32) -> String {
    let name = checkpoint_name(step);
    match number {
        0 | 1 => format!("{DAMAGED}{name}"),
        number => format!("{DAMAGED}{name}.{number}"),
    }
}

/// The step of a checkpoint by its name, that of a damaged one included; `None` for any other name.
pub fn step_of_any(name: &str) -> Option<u64> {
    let Some(damaged) = name.strip_prefix(DAMAGED) else { return step_of(name) };
    let Some((name, number)) = damaged.split_once('.') else { return step_of(damaged) };
    let (step, number) = (step_of(name)?, number.parse().ok()?);
    // Only what `damaged_name` makes.
    (number > 1 && damaged_name(step, number) == format!("{DAMAGED}{damaged}")).then_some(step)
}

/// Where a directory is filled before it appears under its name.
pub fn temporary_name(name: &str) -> String {
    format!("{TEMPORARY}{name}")
}

pub(super) fn retired_name(name: &str) -> String {
    format!("{RETIRED}{name}")
}

pub(super) fn removed_name(name: &str) -> String {
    format!("{REMOVED}{name}")
}

/// What an unfinished act left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftover<'a> {
    /// Half written.
    Rubbish,
    /// The checkpoint of this name, half deleted.
    Removed(&'a str),
    /// The directory that stood under this name before it was to be replaced.
    Retired(&'a str),
}

/// What a name says about an unfinished act; `None` for names that are not ours.
pub(super) fn leftover(name: &str) -> Option<Leftover<'_>> {
    let ours = |name: &str| [FINAL, REFERENCE, START_JSON].contains(&name) || step_of(name).is_some();
    if let Some(retired) = name.strip_prefix(RETIRED) {
        return ours(retired).then_some(Leftover::Retired(retired));
    }
    if let Some(removed) = name.strip_prefix(REMOVED) {
        return step_of_any(removed).map(|_| Leftover::Removed(removed));
    }
    ours(name.strip_prefix(TEMPORARY)?).then_some(Leftover::Rubbish)
}
