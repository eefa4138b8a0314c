//! The memory plan of a run under way: what it chooses, when it is put to the test, and what is said of it.

use ftl_core::plan::shown;
use ftl_core::{CheckedSpec, Observer};

use crate::adapter::peft::AdapterConfig;
use crate::data::load::Prepared;
use crate::data::order::Plan;
use crate::device::{DeviceName, OpenDevice};
use crate::error::TrainError;
use crate::model::config::DecoderConfig;
use crate::model::decoder::Keep;
use crate::plan::budget::Budget;
use crate::plan::verify::Base;
use crate::plan::{Lengths, Planner};
use crate::train::report::note;

/// On a CPU a plan that takes less than this share of what is available is not put to the test: the longest microbatch takes
/// as long as any other, and the plan is not wrong by half.
const UNTESTED_SHARE: f64 = 0.5;

/// What is known of memory before anything of the run is in it.
#[derive(Clone, Debug)]
pub struct Before {
    /// What the run may take.
    pub budget: Budget,
    /// What the process had taken.
    pub base: Base,
}

impl Before {
    /// Now, for a run on `device`; refuses one whose weights and optimizer alone would not fit.
    ///
    /// # Errors
    /// The refusal, before a weight is read.
    pub fn loading(spec: &CheckedSpec, device: &OpenDevice) -> Result<Self, TrainError> {
        let budget = Budget::of(&spec.device, device.name);
        // What is wrong with the files is told by those who read them.
        if let Ok(planner) = Planner::of_spec(spec, device.name, budget) {
            let least = planner.at_least();
            if !least.plan().fits {
                return Err(least.refusal().into());
            }
        }
        Ok(Self { budget, base: Base::now(device) })
    }
}

/// What a run over data that were read is made of.
pub struct Parts<'a> {
    /// What is asked for.
    pub spec: &'a CheckedSpec,
    /// The model, with the rows of added tokens.
    pub config: &'a DecoderConfig,
    /// The adapter's shape.
    pub adapter: Option<&'a AdapterConfig>,
    /// The data.
    pub data: &'a Prepared,
    /// Which samples each step takes.
    pub plan: &'a Plan,
}

/// Plans a run over data that were read, says what it takes, and which activations are kept.
///
/// # Errors
/// The refusal, if it does not fit.
pub fn choose(
    parts: &Parts<'_>,
    (device, budget): (DeviceName, Budget),
    observer: &mut dyn Observer,
) -> Result<(Planner, Keep), TrainError> {
    let Parts { spec, config, adapter, data, plan } = *parts;
    let lengths = Lengths {
        longest_row: plan.longest_row(),
        longest_segment: data.train.longest().max(data.eval.longest()).max(1),
        n_rows: plan.most_rows(),
        longest_eval: data.eval.lengths().max().unwrap_or(0),
        n_tokens: data.train.lengths().chain(data.eval.lengths()).map(|n_tokens| n_tokens as u64).sum(),
    };
    let planner = Planner {
        spec: spec.clone(),
        config: config.clone(),
        adapter: adapter.cloned(),
        lengths,
        device,
        budget,
        measured_per_planned: 1.0,
    };
    let planned = planner.plan();
    if !planned.fits {
        return Err(planner.refusal().into());
    }
    let keep = planner.keep();
    let kept = match keep {
        Keep::Everything => "none",
        Keep::BlockInputs => "block",
    };
    let available = planned.available_bytes.map(|bytes| format!(" of {}", shown(bytes))).unwrap_or_default();
    note(
        observer,
        format!(
            "memory: {}{available} planned with gradient_checkpointing = {kept}, for {} tokens at once",
            shown(planned.peak_bytes),
            planned.most_tokens
        ),
    );
    Ok((planner, keep))
}

/// Whether the plan is put to the test before the first step: always on a GPU, and on a CPU where it is close to what is
/// available or the spec has a limit.
pub fn is_tested(planner: &Planner) -> bool {
    match (planner.device, planner.budget) {
        (DeviceName::Cuda(_) | DeviceName::Vulkan(_), _) => true,
        (DeviceName::Cpu, _) if planner.spec.device.max_memory_bytes.is_some() => true,
        (DeviceName::Cpu, Budget::Asked(bytes) | Budget::Free(bytes)) => {
            planner.peak_bytes() as f64 > bytes as f64 * UNTESTED_SHARE
        }
        (DeviceName::Cpu, Budget::Unknown) => false,
    }
}

/// Says what the test came to.
///
/// # Errors
/// The refusal, if more was taken than is available; what it proposes is planned with what was measured.
pub fn judge(planner: &Planner, base: &Base, observer: &mut dyn Observer) -> Result<(), TrainError> {
    let Some(measured) = base.peak_bytes() else { return Ok(()) };
    let planned = planner.peak_bytes();
    note(
        observer,
        format!(
            "memory: {} measured over the longest microbatch, {} planned",
            shown(measured),
            shown(planned)
        ),
    );
    let counted = match planner.budget {
        Budget::Asked(_) => Some(measured),
        // Where the device itself is the limit, everything that it holds counts.
        Budget::Free(_) | Budget::Unknown => base.gone_bytes(),
    };
    let Some(counted) = counted.filter(|counted| !planner.budget.allows(*counted)) else { return Ok(()) };
    Err(planner.as_measured(counted).refusal().into())
}
