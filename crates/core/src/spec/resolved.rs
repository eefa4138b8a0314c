//! A spec that was judged: every default is filled in, every combination makes sense, and everything it asks
//! for exists in this version. Only `JobSpec::check` makes one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A spec that was judged.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckedSpec {
    /// What the user calls the run.
    pub name: String,
    /// The model to start from.
    pub model: Model,
    /// What to train on.
    pub data: Data,
    /// How to train.
    pub method: Method,
    /// Which weights to train.
    pub adapter: Adapter,
    /// How the frozen linears of the blocks are held.
    pub quantization: Quantization,
    /// Steps, rates, and what happens when.
    pub train: Train,
    /// Answers to held-out prompts while the run goes on; `None`: none.
    pub predictions: Option<Predictions>,
    /// Where to compute.
    pub device: Device,
}

/// The model to start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// A Hugging Face model directory.
    pub path: PathBuf,
    /// The precision of the computation.
    pub dtype: ModelDtype,
    /// Where the weights come from.
    pub init: ModelInit,
}

/// The precision of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelDtype {
    /// bf16 on GPUs that have it, f16 on older ones, f32 on CPU.
    Auto,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// Single precision.
    F32,
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelInit {
    /// The safetensors files of the model directory.
    Pretrained,
    /// Drawn from config.json's `initializer_range` by `train.seed`.
    Random,
}

/// What to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The training files, in order.
    pub train: Vec<TrainFile>,
    /// Their format.
    pub format: DataFormat,
    /// What is held out.
    pub eval: Eval,
    /// Longest sample in tokens; `None`: the model's context, at most 2048.
    pub max_length: Option<u64>,
    /// What happens to a sample that is longer.
    pub excess_length_strategy: ExcessLength,
    /// Which tokens the loss counts.
    pub loss_on: LossOn,
    /// What a row of a batch holds.
    pub rows: Rows,
    /// The order of the samples in an epoch.
    pub order: SampleOrder,
    /// Read at most this many samples in all.
    pub max_samples: Option<u64>,
    /// A Jinja file that replaces the model's chat template.
    pub chat_template: Option<PathBuf>,
}

/// One training file.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainFile {
    /// Where it is.
    pub path: PathBuf,
    /// How often its samples are drawn, relative to the other files; `None`: 1, and if no file has one, every sample is
    /// drawn once.
    pub weight: Option<f64>,
    /// Read at most this many of its samples.
    pub max_samples: Option<u64>,
}

/// How the rows of a dataset are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Found out from the file.
    Auto,
    /// OpenAI chat: `{"messages": [{"role", "content"}, …]}`.
    Messages,
    /// `{"conversations": [{"from", "value"}, …]}`.
    Sharegpt,
    /// `{"instruction", "input", "output"}`.
    Alpaca,
    /// `{"prompt", "completion"}`.
    PromptCompletion,
    /// `{"question", "answer"}`.
    QuestionAnswer,
    /// `{"text"}`, or a plain text file.
    Text,
    /// `{"prompt"?, "chosen", "rejected"}`.
    Preference,
    /// `{"input_ids", "labels"?, "attention_mask"?}`.
    Tokens,
}

impl DataFormat {
    /// The name that the spec uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Messages => "messages",
            Self::Sharegpt => "sharegpt",
            Self::Alpaca => "alpaca",
            Self::PromptCompletion => "prompt_completion",
            Self::QuestionAnswer => "question_answer",
            Self::Text => "text",
            Self::Preference => "preference",
            Self::Tokens => "tokens",
        }
    }
}

/// What is held out from training.
#[derive(Clone, Debug, PartialEq)]
pub enum Eval {
    /// Nothing.
    Never,
    /// This share of the training samples, 0 < fraction < 1.
    Fraction(f64),
    /// A file of its own.
    File(PathBuf),
}

/// What happens to a sample longer than `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExcessLength {
    /// The job is refused and the sample named.
    Error,
    /// The sample is left out and counted.
    Drop,
    /// Its end is cut off.
    Truncate,
    /// It becomes several samples.
    Split,
}

/// Which tokens the loss counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossOn {
    /// What the assistant says, with the token that ends its turn; the completion of a prompt.
    AssistantTokens,
    /// All but padding.
    AllTokens,
}

/// In which order samples are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleOrder {
    /// As they stand in the files.
    File,
    /// Drawn anew for each epoch by `train.seed`.
    Shuffled,
    /// Drawn anew for each epoch by `train.seed`, then sorted in parts, so that samples of similar length come
    /// together (transformers' LengthGroupedSampler).
    GroupedByLength,
}

/// What a row of a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// A sample.
    Samples,
    /// As many whole samples as fit `max_length`; none attends to another.
    Packed,
}

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Supervised fine-tuning.
    Sft,
    /// Continued pre-training.
    Cpt,
    /// Direct preference optimization (Rafailov et al. 2023).
    Dpo {
        /// How much a difference to the reference model counts.
        beta: f64,
        /// The loss of a pair.
        loss: DpoLoss,
    },
    /// Odds ratio preference optimization (Hong et al. 2024).
    Orpo {
        /// How much the odds ratio counts beside the likelihood of the chosen answer; the paper's lambda.
        beta: f64,
    },
}

/// The loss of a pair in [`Method::Dpo`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DpoLoss {
    /// Logistic.
    Sigmoid,
    /// Squared, on log-probabilities divided by the tokens of their answer (Azar et al. 2023, as TRL 1.x).
    Ipo,
    /// A margin (SLiC, Zhao et al. 2023).
    Hinge,
    /// Logistic, with both directions weighted.
    Cdpo {
        /// Share of the pairs whose label is taken to be wrong, below one half.
        label_smoothing: f64,
    },
}

/// What a method learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnsFrom {
    /// Texts and answers, one by one.
    Texts,
    /// Pairs of a chosen and a rejected answer to one prompt.
    Pairs,
}

impl Method {
    /// What it learns from.
    pub fn learns_from(self) -> LearnsFrom {
        match self {
            Self::Sft | Self::Cpt => LearnsFrom::Texts,
            Self::Dpo { .. } | Self::Orpo { .. } => LearnsFrom::Pairs,
        }
    }
}

/// Which weights to train.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each job")]
pub enum Adapter {
    /// All of them: full fine-tuning.
    None,
    /// Low-rank updates beside frozen weights (LoRA, Hu et al. 2021).
    Lora(Lora),
}

/// A low-rank adapter, in PEFT's words.
#[derive(Clone, Debug, PartialEq)]
pub enum Lora {
    /// New: its update is zero.
    Fresh(LoraShape),
    /// Training goes on from a PEFT adapter directory; its shape comes from its adapter_config.json
    /// and must equal what is given here.
    From {
        /// The PEFT adapter directory.
        path: PathBuf,
        /// What the user said beside it, to be compared.
        expected: LoraExpectation,
        /// Probability of dropping an input of A while training.
        lora_dropout_prob: f64,
    },
}

/// The shape of a new adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraShape {
    /// Rank.
    pub r: u64,
    /// Scale: the update is multiplied by `lora_alpha / r`, or as `scale` says.
    pub lora_alpha: f64,
    /// Probability of dropping an input of A while training.
    pub lora_dropout_prob: f64,
    /// Which modules get one.
    pub target_modules: TargetModules,
    /// How the scale follows from `lora_alpha` and the rank.
    pub scale: LoraScale,
    /// What is learned beside the two factors.
    pub variant: LoraVariant,
    /// Ranks of the modules whose name ends in what a key, a regular expression, matches.
    pub rank_pattern: BTreeMap<String, u64>,
    /// The same for `lora_alpha`.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Only these layers get an adapter; `None`: all.
    pub layers_to_transform: Option<Vec<u64>>,
    /// Modules that train in full and are saved with the adapter.
    pub modules_to_save: Vec<String>,
}

/// What a spec says of an adapter that it loads; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoraExpectation {
    /// Rank.
    pub r: Option<u64>,
    /// Scale.
    pub lora_alpha: Option<f64>,
    /// Targets.
    pub target_modules: Option<TargetModules>,
    /// How the scale follows.
    pub scale: Option<LoraScale>,
    /// What is learned beside the two factors.
    pub variant: Option<LoraVariant>,
    /// Ranks of particular modules.
    pub rank_pattern: Option<BTreeMap<String, u64>>,
    /// Scales of particular modules.
    pub alpha_pattern: Option<BTreeMap<String, f64>>,
    /// Layers.
    pub layers_to_transform: Option<Vec<u64>>,
    /// Modules that train in full.
    pub modules_to_save: Option<Vec<String>>,
}

/// How the scale of an update follows from `lora_alpha` and the rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoraScale {
    /// `lora_alpha / r`.
    ByRank,
    /// `lora_alpha / √r` (rsLoRA, Kalajdzievski 2023).
    ByRootOfRank,
}

/// What an adapter learns beside the two factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoraVariant {
    /// Nothing (LoRA, Hu et al. 2021).
    Plain,
    /// The length of each row of the weight (DoRA, Liu et al. 2024).
    Dora,
}

/// Which linears get an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear but the head.
    AllLinear,
    /// Those whose name is, or ends in a dot and, one of these.
    Named(Vec<String>),
}

/// How the frozen linears of the blocks are held; embeddings and head never are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// In the precision of the computation. A model whose files are quantized stays as they are.
    None,
    /// 4-bit NormalFloat in blocks of 64 (QLoRA, Dettmers et al. 2023).
    Nf4(Scales),
}

/// How the scales of quantized weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// In single precision.
    F32,
    /// In 8 bits, with a scale for each 256 of them.
    Double,
}

/// Steps, rates, and what happens when.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// How long.
    pub duration: Duration,
    /// Rows in a microbatch.
    pub per_device_train_batch_size: u64,
    /// Microbatches in a step.
    pub gradient_accumulation_steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// How it starts.
    pub warmup: Warmup,
    /// AdamW's numbers.
    pub adamw: AdamW,
    /// How AdamW's moments are held.
    pub moments: MomentFormat,
    /// Gradients are scaled down to this global norm; `None`: never.
    pub max_grad_norm: Option<f64>,
    /// Strength of the noise on the embeddings while training (NEFTune, Jain et al. 2023); `None`: none.
    pub neftune_noise_alpha: Option<f64>,
    /// Which activations are kept for the backward pass.
    pub gradient_checkpointing: Checkpointing,
    /// Everything random follows from it.
    pub seed: u64,
    /// A `stepped` event at every so many steps.
    pub logging: Every,
    /// When the held-out data is scored.
    pub eval: Every,
    /// When a checkpoint is written.
    pub save: Every,
    /// How many checkpoints are kept; `None`: all.
    pub save_total_limit: Option<u64>,
    /// Which weights are the result.
    pub result: FinalWeights,
    /// The run ends after so many evaluations without a better one; `None`: never before its last step.
    pub early_stopping_patience: Option<u64>,
}

/// Which weights are the result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalWeights {
    /// Those after the last step.
    Last,
    /// Those with the lowest loss on the held-out data.
    Best,
}

/// Answers to held-out prompts while a run goes on, before the first step and after the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predictions {
    /// How many prompts.
    pub count: u64,
    /// When they are answered.
    pub times: PredictionTimes,
    /// Longest answer in tokens.
    pub max_new_tokens: u64,
}

/// When held-out prompts are answered, beside the beginning and the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictionTimes {
    /// At every evaluation.
    Evaluations,
    /// After each so many steps.
    Steps(u64),
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Duration {
    /// So often through the data; may have a fraction.
    Epochs(f64),
    /// So many optimizer steps.
    Steps(u64),
}

/// When something that repeats happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Not at all.
    Never,
    /// At the end of each epoch.
    Epoch,
    /// Each so many steps.
    Steps(u64),
}

/// How the learning rate changes after the warm-up; transformers' schedules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Stays, and knows no warm-up.
    Constant,
    /// Stays.
    ConstantWithWarmup,
    /// Falls to 0 in a line.
    Linear,
    /// `num_cycles` cosine waves; 0.5 falls to 0.
    Cosine {
        /// Waves.
        num_cycles: f64,
    },
    /// So many falls to 0, each from the top.
    CosineWithRestarts {
        /// Falls.
        num_cycles: u64,
    },
    /// Cosine to a floor.
    CosineWithMinLr {
        /// The floor as a share of the peak.
        min_lr_rate: f64,
        /// Waves.
        num_cycles: f64,
    },
    /// A polynomial to a floor.
    Polynomial {
        /// The floor.
        lr_end: f64,
        /// The exponent.
        power: f64,
    },
    /// `1 / sqrt(step)`, with transformers' default time scale (the warm-up's length, or 10,000 without one).
    InverseSqrt {
        /// Steps by which the curve is stretched; `None`: the default.
        timescale: Option<u64>,
    },
    /// Warm-up, plateau, decay.
    Wsd(Wsd),
}

/// transformers' warmup_stable_decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wsd {
    /// Steps of the plateau; `None`: what is left.
    pub num_stable_steps: Option<u64>,
    /// Steps of the decay.
    pub num_decay_steps: u64,
    /// Shape of the warm-up.
    pub warmup_type: WsdShape,
    /// Shape of the decay.
    pub decay_type: WsdShape,
    /// The floor as a share of the peak.
    pub min_lr_ratio: f64,
    /// Cosine waves of the decay.
    pub num_cycles: f64,
}

/// The shape of a warm-up or decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WsdShape {
    /// A line.
    Linear,
    /// Half a cosine wave.
    Cosine,
    /// One minus the square root.
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

/// How the learning rate starts. The first warm-up step has rate 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Warmup {
    /// So many steps; 0: none.
    Steps(u64),
    /// This share of all steps, rounded up.
    Fraction(f64),
}

/// AdamW's numbers (Loshchilov and Hutter 2017), decay decoupled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// On matrices and every adapter tensor, not on 1-D tensors of the base.
    pub weight_decay: f64,
}

/// How AdamW's moments are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentFormat {
    /// In single precision.
    F32,
    /// In 8 bits, in blocks of 256 (Dettmers et al. 2021); those of small tensors in single precision.
    Blockwise8Bit,
}

/// Which activations are kept for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checkpointing {
    /// Chosen from what fits.
    Auto,
    /// All: fastest.
    None,
    /// The input of each block; the rest is computed again: smallest.
    Block,
}

/// Where to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which device.
    pub kind: DeviceKind,
}

/// Which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A GPU where this build has one and can use it, else the CPU; the run says which and why.
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU by index.
    Cuda(usize),
}
