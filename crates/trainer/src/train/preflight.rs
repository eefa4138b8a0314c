//! Reads everything that a spec names and judges it, before anything is written or computed.

use std::path::{Path, PathBuf};

use ftl_core::job::Phase;
use ftl_core::spec::resolved::{Adapter, Lora, ModelInit};
use ftl_core::{CheckedSpec, Observer, Problem, ProblemKind, StopSignal};

use crate::adapter::lora::{self, LoraSource};
use crate::adapter::peft::{AdapterConfig, AdapterWeights, Layout, Named};
use crate::data::cache::Cache;
use crate::data::encode::Encoder;
use crate::data::load::{Prepared, Request, prepare};
use crate::device::{self, OpenDevice};
use crate::error::TrainError;
use crate::methods;
use crate::model::config::DecoderConfig;
use crate::model::decoder::{Decoder, Trained};
use crate::model::families::{EMBED_TOKENS, LM_HEAD};
use crate::model::open::{Start, open_quantized, open_to_train};
use crate::train::expectation;
use crate::train::memory_plan::Before;
use crate::train::predict::Predictor;
use crate::train::report::{note, phase, warn};
use crate::train::start::Start as StartedFrom;

/// Longest sample where neither spec nor model says less.
const DEFAULT_MAX_LENGTH: usize = 2048;

/// Everything a run starts with.
pub struct Ready {
    /// Where it computes.
    pub device: OpenDevice,
    /// The model, its adapter attached and its trained weights chosen.
    pub decoder: Decoder,
    /// The adapter's shape; `None` for full fine-tuning.
    pub adapter: Option<AdapterConfig>,
    /// The data as tokens.
    pub data: Prepared,
    /// Answers held-out prompts, where that is asked for.
    pub predictor: Option<Predictor>,
    /// The tokens of a sample or a packed row at most.
    pub max_length: usize,
    /// What was known of memory before.
    pub memory: Before,
}

/// Where the trained weights are read from.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Where the spec says.
    Spec,
    /// A checkpoint of this run.
    Checkpoint(PathBuf),
    /// A checkpoint of another run.
    Start(StartedFrom),
}

impl Weights {
    /// The checkpoint, if it is one.
    fn checkpoint(&self) -> Option<&Path> {
        match self {
            Self::Spec => None,
            Self::Checkpoint(path) => Some(path),
            Self::Start(start) => Some(&start.checkpoint),
        }
    }
}

/// Reads and judges everything. `None`: it was asked to stop before the data were read.
///
/// # Errors
/// Every problem with device, model, adapter and data; of these, those of the first part that has some.
pub fn ready(
    spec: &CheckedSpec,
    weights: &Weights,
    observer: &mut dyn Observer,
    stop: &StopSignal,
) -> Result<Option<Ready>, TrainError> {
    phase(observer, Phase::Validating);
    let device = device::open(spec.device.kind, spec.model.dtype)?;
    note(observer, device.describe());
    let memory = Before::loading(spec, &device)?;

    phase(observer, Phase::Loading);
    let mut decoder = match (&spec.adapter, weights.checkpoint()) {
        (Adapter::None, Some(dir)) => open_to_train(dir, Start::Pretrained, &device)?,
        (Adapter::None, None) | (Adapter::Lora(_), _) => base(spec, &device)?,
    };
    let encoder = Encoder::load(&spec.model.path, spec.data.chat_template.as_deref())?;
    let shape = match &spec.adapter {
        Adapter::None => None,
        Adapter::Lora(asked) => Some(adapter_shape(asked, weights, &spec.model.path)?),
    };
    let n_ids = encoder.tokenizer.vocab_size();
    let adds_tokens = match &shape {
        None => true,
        Some((config, _)) => keeps_vocabulary(config, &decoder.config)?,
    };
    let n_known = decoder.config.vocab_size;
    if n_ids > n_known && adds_tokens {
        decoder.grow_vocabulary(n_ids);
        let n_added = n_ids - n_known;
        note(
            observer,
            format!(
                "{n_added} added tokens: their rows of embedding and head start as the mean of the {n_known} others"
            ),
        );
    }
    let adapter = match shape {
        None => None,
        Some((config, dir)) => {
            let source = match dir {
                Some(dir) => Some(AdapterWeights::open(&dir, &config, &decoder.config)?),
                None => None,
            };
            let fresh = LoraSource::Fresh { seed: spec.train.seed };
            lora::attach(&mut decoder, &config, source.as_ref().map_or(fresh, LoraSource::Files))?;
            Some(source.map_or(config, |files| files.config().clone()))
        }
    };

    let max_length = max_length(spec, decoder.config.max_positions)?;
    let request = Request {
        data: &spec.data,
        encoder: &encoder,
        max_length,
        vocab_size: decoder.config.vocab_size,
        seed: spec.train.seed,
        n_prompts: spec.predictions.map_or(0, |predictions| predictions.count as usize),
        cache: &Cache::of_user(),
    };
    phase(observer, Phase::Tokenizing);
    let Some(mut data) = prepare(&request, observer, stop)? else { return Ok(None) };
    methods::check(spec.method, &data)?;
    for message in &data.notes {
        warn(observer, message.clone());
    }
    let prompts = std::mem::take(&mut data.prompts);
    let predictor = match &spec.predictions {
        Some(predictions) => {
            too_few_prompts(predictions.count, prompts.len())
                .into_iter()
                .for_each(|message| warn(observer, message));
            Some(Predictor::new((spec, predictions), prompts, encoder, &decoder)?)
        }
        None => None,
    };
    decoder.reserve_positions(data.train.longest().max(data.eval.longest()));
    decoder.train(match adapter {
        Some(_) => Trained::Adapter,
        None => Trained::Base,
    });
    Ok(Some(Ready { device, decoder, adapter, data, predictor, max_length, memory }))
}

fn too_few_prompts(asked: u64, found: usize) -> Option<String> {
    ((found as u64) < asked).then(|| {
        format!("predictions: {found} of {asked} prompts, as no more held-out samples have one with room for an answer")
    })
}

/// The model that the spec names, as it is before training and without an adapter.
pub(super) fn base(spec: &CheckedSpec, device: &OpenDevice) -> Result<Decoder, TrainError> {
    let start = match spec.model.init {
        ModelInit::Pretrained => Start::Pretrained,
        ModelInit::Random => Start::Random { seed: spec.train.seed },
    };
    match spec.adapter {
        Adapter::None => {
            let decoder = open_to_train(&spec.model.path, start, device)?;
            if decoder.is_quantized() { Err(quantized_base(&spec.model.path).into()) } else { Ok(decoder) }
        }
        Adapter::Lora(_) => Ok(open_quantized(&spec.model.path, start, spec.quantization, device)?),
    }
}

/// Whether the adapter keeps embedding and head in full, so that rows can be added and trained.
pub(crate) fn keeps_vocabulary(config: &AdapterConfig, model: &DecoderConfig) -> Result<bool, Vec<Problem>> {
    // What is wrong with the names is told when the adapter is attached.
    let Ok(layout) = Layout::of(config, model, Named::InFile) else { return Ok(false) };
    let saves = |tensor: &str| layout.saved.iter().any(|module| module.tensor == tensor);
    Ok(saves(EMBED_TOKENS) && saves(LM_HEAD))
}

fn quantized_base(model: &Path) -> Problem {
    let message = "the model's weights are stored in 4 bits and can't be trained, but `adapter.kind` = `none` trains all of them";
    Problem::new(ProblemKind::InvalidValue, message)
        .at(model.display().to_string())
        .hint("set `adapter.kind` to `lora`, or use the model that this one was made from")
}

/// The adapter's shape, and the directory of its weights where there is one.
pub(crate) fn adapter_shape(
    asked: &Lora,
    weights: &Weights,
    model: &Path,
) -> Result<(AdapterConfig, Option<PathBuf>), Vec<Problem>> {
    let base = Some(model.display().to_string());
    let (config, dir) = match asked {
        Lora::Fresh(shape) => {
            let config = AdapterConfig { base_model_name_or_path: base, ..AdapterConfig::of(shape) };
            (config, None)
        }
        Lora::From { path, expected, lora_dropout_prob } => {
            let found = AdapterConfig::read(path)?;
            let model = DecoderConfig::read(model)?;
            let problems = expectation::differences(expected, &found, &model);
            if !problems.is_empty() {
                return Err(problems);
            }
            let config = AdapterConfig {
                lora_dropout_prob: *lora_dropout_prob,
                base_model_name_or_path: base,
                ..found
            };
            (config, Some(path.clone()))
        }
    };
    Ok((config, weights.checkpoint().map(Path::to_owned).or(dir)))
}

/// The tokens of a sample or a packed row at most, for a model with so much context.
pub(crate) fn max_length(spec: &CheckedSpec, context: usize) -> Result<usize, Problem> {
    let Some(asked) = spec.data.max_length else { return Ok(context.min(DEFAULT_MAX_LENGTH)) };
    match usize::try_from(asked) {
        Ok(asked) if asked <= context => Ok(asked),
        Ok(_) | Err(_) => {
            let message = format!("{asked} exceeds the model's context of {context} tokens");
            Err(Problem::new(ProblemKind::InvalidValue, message)
                .at("data.max_length")
                .hint(format!("choose up to {context}")))
        }
    }
}
