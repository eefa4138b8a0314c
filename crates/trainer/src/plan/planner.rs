//! What a run takes, as asked for and changed: the one place where a spec becomes sizes.

use std::fs;
use std::path::Path;

use ftl_core::plan::{MemoryParts, MemoryPlan, shown};
use ftl_core::spec::resolved::{
    Adapter, Checkpointing, Eval, LearnsFrom, Lora, Method, ModelDtype, Quantization,
};
use ftl_core::{CheckedSpec, Problem, ProblemKind};

use super::budget::Budget;
use super::{Dropout, Machine, Memory, ModelShape, Precision, Reference, Update, Workload, peak, proposals};
use crate::adapter::peft::{AdapterConfig, Layout, Named};
use crate::data::tokenize::TOKENIZER_JSON;
use crate::device::{self, DeviceName};
use crate::model::config::DecoderConfig;
use crate::model::decoder::Keep;
use crate::train::preflight::max_length;

/// What the CPU's program touches of its own code and data while it trains, and each thread's stack and buffers.
const CPU_RUNTIME_BYTES: u64 = 12 << 20;
const THREAD_BYTES: u64 = 2 << 20;
/// What a CUDA context with its compiled kernels takes: everything of a GPU that is not in CubeCL's pools.
pub(super) const GPU_RUNTIME_BYTES: u64 = 512 << 20;
/// A tokenizer in memory for each byte of its file, and what stays of it in pieces that nothing else fits into.
const TOKENIZER_FACTOR: u64 = 8;
const TOKENIZER_REST_FACTOR: u64 = 2;
/// More at once fit nowhere, and their bytes into no integer.
const MOST_TOKENS: usize = 1 << 26;
/// An id and a label.
const TOKEN_BYTES: u64 = 8;
/// Bytes of a data file for each token at least, in most languages and formats.
const FILE_BYTES_PER_TOKEN: u64 = 4;

/// How long what goes through the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Tokens of the longest row; of a pair those of both answers.
    pub longest_row: usize,
    /// Tokens of the longest segment.
    pub longest_segment: usize,
    /// Rows of an epoch at most.
    pub n_rows: usize,
    /// Tokens of the longest held-out sample; 0: nothing is held out.
    pub longest_eval: usize,
    /// Tokens of all samples together.
    pub n_tokens: u64,
}

impl Lengths {
    /// The least that a run can have.
    const LEAST: Self = Self { longest_row: 1, longest_segment: 1, n_rows: 1, longest_eval: 0, n_tokens: 0 };
}

/// A run that is planned.
#[derive(Clone, Debug)]
pub struct Planner {
    /// What is asked for.
    pub spec: CheckedSpec,
    /// The model.
    pub config: DecoderConfig,
    /// The adapter's shape; `None`: full fine-tuning.
    pub adapter: Option<AdapterConfig>,
    /// How long what goes through is.
    pub lengths: Lengths,
    /// Where it computes.
    pub device: DeviceName,
    /// What it may take.
    pub budget: Budget,
    /// What it took for each byte that was planned, once that is known.
    pub measured_per_planned: f64,
}

/// Plans a run from its spec, the model's config.json, and the sizes of the tokenizer's and the data's files. Rows are taken
/// to be as long as the spec allows, so a run over shorter ones takes less.
///
/// # Errors
/// What is wrong with the device, the model's config or the adapter's.
pub fn plan(spec: &CheckedSpec) -> Result<MemoryPlan, Vec<Problem>> {
    let device = device::open(spec.device.kind, spec.model.dtype).map_err(|problem| vec![problem])?.name;
    let budget = Budget::of(&spec.device, device);
    Ok(Planner::of_spec(spec, device, budget)?.plan())
}

impl Planner {
    /// Of a run of which nothing was read but its spec and configs.
    ///
    /// # Errors
    /// As [`plan`].
    pub fn of_spec(spec: &CheckedSpec, device: DeviceName, budget: Budget) -> Result<Self, Vec<Problem>> {
        let config = DecoderConfig::read(&spec.model.path)?;
        let adapter = match &spec.adapter {
            Adapter::None => None,
            Adapter::Lora(Lora::Fresh(shape)) => Some(AdapterConfig::of(shape)),
            Adapter::Lora(Lora::From { path, lora_dropout_prob, .. }) => {
                Some(AdapterConfig { lora_dropout_prob: *lora_dropout_prob, ..AdapterConfig::read(path)? })
            }
        };
        let longest_segment = max_length(spec, config.max_positions).map_err(|problem| vec![problem])?;
        let longest_row = match spec.method.learns_from() {
            LearnsFrom::Texts => longest_segment,
            LearnsFrom::Pairs => 2 * longest_segment,
        };
        let longest_eval = match spec.data.eval {
            Eval::Never => 0,
            Eval::Fraction(_) | Eval::File(_) => longest_row,
        };
        let files = spec.data.train.iter().map(|file| file_bytes(&file.path)).sum::<u64>();
        let n_tokens = files / FILE_BYTES_PER_TOKEN;
        let n_rows = spec.data.max_samples.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX).max(1);
        let lengths = Lengths { longest_row, longest_segment, n_rows, longest_eval, n_tokens };
        let planner =
            Self { spec: spec.clone(), config, adapter, lengths, device, budget, measured_per_planned: 1.0 };
        planner.check_layout()?;
        Ok(planner)
    }

    /// The same run over the shortest data there could be: whether weights and optimizer alone fit.
    #[must_use]
    pub fn at_least(self) -> Self {
        Self { lengths: Lengths::LEAST, ..self }
    }

    /// The plan, and what would fit where it does not.
    pub fn plan(&self) -> MemoryPlan {
        let keep = self.keep();
        let parts = self.parts(keep);
        let peak_bytes = self.expected(parts.total());
        let fits = self.budget.allows(peak_bytes);
        MemoryPlan {
            fits,
            peak_bytes,
            available_bytes: self.budget.bytes(),
            parts,
            device: self.device.to_string(),
            gradient_checkpointing: match keep {
                Keep::Everything => Checkpointing::None,
                Keep::BlockInputs => Checkpointing::Block,
            },
            most_tokens: self.workload(keep).most_tokens as u64,
            proposals: if fits { Vec::new() } else { proposals::that_fit(self) },
        }
    }

    /// The same run by what it took. It keeps the activations that it kept, whatever `auto` would choose of the rest now.
    #[must_use]
    pub fn as_measured(&self, taken_bytes: u64) -> Self {
        let MemoryPlan { peak_bytes, gradient_checkpointing, .. } = self.plan();
        let mut planner = self.clone();
        planner.measured_per_planned *= taken_bytes as f64 / peak_bytes.max(1) as f64;
        planner.spec.train.gradient_checkpointing = gradient_checkpointing;
        planner
    }

    /// Which activations are kept: as the spec says, or all where that fits.
    pub fn keep(&self) -> Keep {
        match self.spec.train.gradient_checkpointing {
            Checkpointing::None => Keep::Everything,
            Checkpointing::Block => Keep::BlockInputs,
            Checkpointing::Auto if self.allows(Keep::Everything) => Keep::Everything,
            Checkpointing::Auto => Keep::BlockInputs,
        }
    }

    /// What the run is expected to take.
    pub fn peak_bytes(&self) -> u64 {
        self.expected(self.parts(self.keep()).total())
    }

    fn allows(&self, keep: Keep) -> bool {
        self.budget.allows(self.expected(self.parts(keep).total()))
    }

    fn expected(&self, planned: u64) -> u64 {
        (planned as f64 * self.measured_per_planned) as u64
    }

    fn parts(&self, keep: Keep) -> MemoryParts {
        peak(&self.shape(), &self.workload(keep), &self.machine())
    }

    /// The sizes of model and adapter.
    pub fn shape(&self) -> ModelShape {
        ModelShape::of(&self.config, self.layout().as_ref(), self.spec.quantization)
    }

    fn layout(&self) -> Option<Layout> {
        let adapter = self.adapter.as_ref()?;
        Some(Layout::of(adapter, &self.config, Named::InFile).expect("the names were checked"))
    }

    fn check_layout(&self) -> Result<(), Vec<Problem>> {
        let Some(adapter) = &self.adapter else { return Ok(()) };
        let in_spec = |problem: Problem| {
            let key = problem.field.clone().unwrap_or_default();
            problem.at(format!("adapter.{key}"))
        };
        let named = match &self.spec.adapter {
            Adapter::Lora(Lora::Fresh(_)) => Named::InSpec,
            Adapter::Lora(Lora::From { .. }) | Adapter::None => Named::InFile,
        };
        let layout = Layout::of(adapter, &self.config, named);
        layout.map(|_| ()).map_err(|problems| problems.into_iter().map(in_spec).collect())
    }

    /// What goes through the model.
    pub fn workload(&self, keep: Keep) -> Workload {
        let Lengths { longest_row, longest_segment, n_rows, longest_eval, .. } = self.lengths;
        let train = &self.spec.train;
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
        let batch = count(train.per_device_train_batch_size);
        let n_microbatches = count(train.gradient_accumulation_steps).min(n_rows.div_ceil(batch));
        let most_tokens = longest_row.saturating_mul(batch.min(n_rows)).min(MOST_TOKENS);
        // f16 has a loss scale, with which all gradients have to be finite before the first update. That a card without bf16
        // chooses f16 by itself is known to the device only; the parts are then planned a little too small.
        let is_scaled = self.spec.model.dtype == ModelDtype::F16;
        let can_step_in_parts = n_microbatches == 1 && train.max_grad_norm.is_none() && !is_scaled;
        let adapter = self.adapter.as_ref();
        let drops = adapter.is_some_and(|adapter| adapter.lora_dropout_prob > 0.0);
        let keeps_modules = adapter.is_some_and(|adapter| !adapter.modules_to_save.is_empty());
        Workload {
            most_tokens,
            longest_segment,
            n_microbatches,
            update: if can_step_in_parts { Update::InParts } else { Update::AtOnce },
            moments: train.moments,
            keep,
            dropout: if drops { Dropout::Present } else { Dropout::Absent },
            // As many at once as a microbatch has, or a longer one alone.
            eval_tokens: if longest_eval == 0 { 0 } else { longest_eval.max(most_tokens).min(MOST_TOKENS) },
            reference: match self.spec.method {
                Method::Sft | Method::Cpt | Method::Orpo { .. } => Reference::None,
                Method::Dpo { .. } if keeps_modules => Reference::SecondModel,
                Method::Dpo { .. } => Reference::Shared,
            },
            answer_tokens: self.spec.predictions.map_or(0, |_| longest_segment),
            tokenizer_bytes: match self.device {
                DeviceName::Cpu => (TOKENIZER_FACTOR * self.tokenizer_file_bytes()) as usize,
                DeviceName::Cuda(_) | DeviceName::Vulkan(_) => 0,
            },
        }
    }

    fn machine(&self) -> Machine {
        let n_threads = rayon::current_num_threads();
        let (memory, precision, runtime) = match self.device {
            DeviceName::Cpu => {
                let rest = TOKENIZER_REST_FACTOR * self.tokenizer_file_bytes();
                let threads = THREAD_BYTES * n_threads as u64;
                let runtime = CPU_RUNTIME_BYTES + threads + rest + TOKEN_BYTES * self.lengths.n_tokens;
                (Memory::Cpu, Precision::F32, runtime)
            }
            DeviceName::Cuda(_) => {
                let precision = match self.spec.model.dtype {
                    ModelDtype::F32 => Precision::F32,
                    ModelDtype::Auto | ModelDtype::Bf16 | ModelDtype::F16 => Precision::HALF,
                };
                (Memory::Gpu, precision, GPU_RUNTIME_BYTES)
            }
            DeviceName::Vulkan(_) => (Memory::Gpu, Precision::F32, GPU_RUNTIME_BYTES),
        };
        Machine { memory, precision, n_threads, runtime_bytes: runtime as usize }
    }

    fn tokenizer_file_bytes(&self) -> u64 {
        file_bytes(&self.spec.model.path.join(TOKENIZER_JSON))
    }

    /// Why the run is refused, with what would fit.
    pub fn refusal(&self) -> Problem {
        let MemoryPlan { peak_bytes, available_bytes, .. } = self.plan();
        let (needed, available) = (shown(peak_bytes), shown(available_bytes.unwrap_or(0)));
        let limit = match self.budget {
            Budget::Asked(_) => format!("`device.max_memory` allows {available}"),
            Budget::Free(_) | Budget::Unknown => format!("{available} are free on {}", self.device),
        };
        let problem =
            Problem::new(ProblemKind::OutOfMemory, format!("the run takes {needed} of memory, {limit}"));
        let problem = match self.budget {
            Budget::Asked(_) => problem.at("device.max_memory"),
            Budget::Free(_) | Budget::Unknown => problem,
        };
        problem.hint(match self.what_would_fit() {
            None => {
                "nothing that can be changed in the spec would make it fit; choose a smaller model".to_owned()
            }
            Some(proposals) => format!("what would fit: {proposals}"),
        })
    }

    /// The proposals of a run that does not fit, in one line; `None`: there are none.
    pub fn what_would_fit(&self) -> Option<String> {
        let texts: Vec<String> = self.plan().proposals.iter().map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| texts.join("; or "))
    }

    /// Whether the linears of the blocks could be held in 4 bits and are not.
    pub fn can_quantize(&self) -> bool {
        self.adapter.is_some()
            && self.spec.quantization == Quantization::None
            && !self.config.raw.contains_key("quantization_config")
    }
}

/// The size of a file; 0 where it can't be told, which somebody else reports.
fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
