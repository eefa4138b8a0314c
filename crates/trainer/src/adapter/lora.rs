//! Gives linears their low-rank update (LoRA, Hu et al. 2021), with PEFT's names and PEFT's start: A uniform as
//! `kaiming_uniform_(a = √5)`, which is ±1/√in, and B zero.

use burn::tensor::{Device, Tensor, TensorData};
use ftl_core::spec::resolved::TargetModules;
use ftl_core::{Problem, ProblemKind};
use rand::RngExt;

use crate::model::build::stream;
use crate::model::decoder::Decoder;
use crate::ops::linear::{Linear, Lora, LoraPart};
use crate::ops::param::{Owner, Param, Piece};

/// What PEFT puts before a module's name.
pub const PEFT_PREFIX: &str = "base_model.model.";

/// What an adapter is.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank.
    pub r: usize,
    /// The update is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Probability of dropping an input of A while training.
    pub lora_dropout_prob: f64,
    /// Which linears get one.
    pub target_modules: TargetModules,
}

/// Where its weights come from.
pub enum LoraSource<'a> {
    /// A random, B zero.
    Fresh {
        /// The run's seed.
        seed: u64,
    },
    /// A tensor of the given name and shape, read from an adapter's file that was checked.
    Tensors(&'a dyn Fn(&str, &mut [f32])),
}

/// Attaches an adapter and returns the names of the modules it changes.
///
/// # Errors
/// A target that no linear has, or a rank above what a target can use; the decoder is unchanged then.
pub fn attach(
    decoder: &mut Decoder,
    config: &LoraConfig,
    source: &LoraSource<'_>,
) -> Result<Vec<String>, Problem> {
    let modules = targets(decoder, config)?;
    let device = decoder.device.clone();
    for block in &mut decoder.blocks {
        for linear in block.linears_mut() {
            let maker = Maker { config, source, device: &device, linear };
            linear.lora = maker.lora();
        }
    }
    Ok(modules)
}

/// The names of the modules that `config` targets: `model.layers.0.self_attn.q_proj`, …
fn targets(decoder: &Decoder, config: &LoraConfig) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    let mut known = Vec::new();
    for block in &decoder.blocks {
        for linear in [&block.qkv, &block.o, &block.gate_up, &block.down] {
            for piece in &linear.weight.pieces {
                let name = module(&piece.name);
                let short = name.rsplit_once('.').map_or(name, |(_, last)| last);
                if !known.contains(&short.to_owned()) {
                    known.push(short.to_owned());
                }
                if !is_target(name, &config.target_modules) {
                    continue;
                }
                let [n_outputs, n_inputs] = [piece.shape[0], piece.shape[1]];
                if config.r > n_outputs.min(n_inputs) {
                    let (limit, side) =
                        if n_outputs < n_inputs { (n_outputs, "outputs") } else { (n_inputs, "inputs") };
                    let message = format!("rank {} exceeds the target `{short}` ({limit} {side})", config.r);
                    let hint = format!("choose a rank up to {limit}");
                    return Err(Problem::new(ProblemKind::InvalidValue, message).at("adapter.r").hint(hint));
                }
                names.push(name.to_owned());
            }
        }
    }
    if let TargetModules::Named(wanted) = &config.target_modules {
        let missing = wanted.iter().find(|target| !names.iter().any(|name| matches(name, target)));
        if let Some(target) = missing {
            let message = format!("no linear of this model is called `{target}`");
            let hint = format!("choose from all-linear, {}", known.join(", "));
            return Err(Problem::new(ProblemKind::InvalidValue, message)
                .at("adapter.target_modules")
                .hint(hint));
        }
    }
    Ok(names)
}

fn is_target(name: &str, targets: &TargetModules) -> bool {
    match targets {
        TargetModules::AllLinear => true,
        TargetModules::Named(targets) => targets.iter().any(|target| matches(name, target)),
    }
}

/// PEFT's rule: the whole name, or its end after a dot.
fn matches(name: &str, target: &str) -> bool {
    name == target || name.strip_suffix(target).is_some_and(|before| before.ends_with('.'))
}

fn module(weight_name: &str) -> &str {
    weight_name.strip_suffix(".weight").expect("weights of linears are named so")
}

struct Maker<'a> {
    config: &'a LoraConfig,
    source: &'a LoraSource<'a>,
    device: &'a Device,
    linear: &'a Linear,
}

impl Maker<'_> {
    fn lora(&self) -> Option<Lora> {
        let r = self.config.r;
        let [_, n_inputs] = self.linear.weight.value.dims();
        let (mut a, mut pieces, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for piece in &self.linear.weight.pieces {
            let name = module(&piece.name);
            if !is_target(name, &self.config.target_modules) {
                continue;
            }
            let (outputs, first_rank) =
                (piece.values.start / n_inputs..piece.values.end / n_inputs, parts.len() * r);
            let a_piece = Piece {
                name: format!("{PEFT_PREFIX}{name}.lora_A.weight"),
                values: a.len()..a.len() + r * n_inputs,
                shape: vec![r, n_inputs],
            };
            a.resize(a_piece.values.end, 0.0);
            self.fill(&a_piece, &mut a[a_piece.values.clone()]);
            let b_piece = Piece {
                name: format!("{PEFT_PREFIX}{name}.lora_B.weight"),
                values: 0..outputs.len() * r,
                shape: vec![outputs.len(), r],
            };
            let mut b = vec![0.0; b_piece.values.end];
            self.fill(&b_piece, &mut b);
            let b = self.param(b, [outputs.len(), r], vec![b_piece]);
            let scale = (self.config.lora_alpha / r as f64) as f32;
            parts.push(LoraPart { outputs, ranks: first_rank..first_rank + r, b, scale });
            pieces.push(a_piece);
        }
        (!parts.is_empty()).then(|| Lora {
            a: self.param(a, [parts.len() * r, n_inputs], pieces),
            parts,
            dropout_prob: self.config.lora_dropout_prob,
        })
    }

    fn fill(&self, piece: &Piece, values: &mut [f32]) {
        match self.source {
            LoraSource::Fresh { seed } => {
                if piece.name.ends_with("lora_A.weight") {
                    let bound = 1.0 / (piece.shape[1] as f32).sqrt();
                    let mut rng = stream(*seed, &piece.name);
                    values.fill_with(|| rng.random_range(-bound..bound));
                }
            }
            LoraSource::Tensors(read) => read(&piece.name, values),
        }
    }

    fn param(&self, values: Vec<f32>, shape: [usize; 2], pieces: Vec<Piece>) -> Param {
        let value = Tensor::from_data(TensorData::new(values, shape), self.device);
        Param { value, slot: None, owner: Owner::Adapter, pieces }
    }
}
