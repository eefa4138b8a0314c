//! Gives linears their low-rank update (LoRA, Hu et al. 2021), with PEFT's start: A uniform as
//! `kaiming_uniform_(a = √5)`, which is ±1/√in, and B zero.

use burn::tensor::{Device, Tensor, TensorData};
use ftl_core::{Problem, ProblemKind};
use rand::RngExt;

use crate::adapter::peft::{AdapterConfig, AdapterWeights, Factor, Target, resolve_targets, tensor_name};
use crate::model::build::stream;
use crate::model::decoder::Decoder;
use crate::model::families::LayerLinear;
use crate::ops::linear::{Linear, Lora, LoraPart};
use crate::ops::param::{Owner, Param, Piece};

/// Where an adapter's weights come from.
#[derive(Clone, Copy, Debug)]
pub enum LoraSource<'a> {
    /// A random, B zero.
    Fresh {
        /// The run's seed.
        seed: u64,
    },
    /// The open files of a PEFT adapter.
    Files(&'a AdapterWeights),
}

/// Attaches an adapter.
///
/// # Errors
/// A target that no linear has, or a rank above what a target can use; the decoder is unchanged then.
pub fn attach(
    decoder: &mut Decoder,
    config: &AdapterConfig,
    source: LoraSource<'_>,
) -> Result<(), Vec<Problem>> {
    let targets = resolve_targets(&decoder.config, &config.target_modules).map_err(|problems| {
        problems.into_iter().map(|problem| problem.at("adapter.target_modules")).collect::<Vec<_>>()
    })?;
    check_rank(decoder, config.r, &targets).map_err(|problem| vec![problem])?;
    let device = decoder.device.clone();
    for (layer_index, block) in decoder.blocks.iter_mut().enumerate() {
        let [qkv, o, gate_up, down] = block.linears_mut();
        let merged = [
            (qkv, &[LayerLinear::Q, LayerLinear::K, LayerLinear::V][..]),
            (o, &[LayerLinear::O]),
            (gate_up, &[LayerLinear::Gate, LayerLinear::Up]),
            (down, &[LayerLinear::Down]),
        ];
        for (linear, parts) in merged {
            let parts = parts.iter().map(|part| Target { layer_index, linear: *part });
            let maker = Maker { config, source, device: &device };
            linear.lora = maker.lora(
                linear,
                parts.zip(&linear.weight.pieces).filter(|(target, _)| targets.contains(target)),
            );
        }
    }
    Ok(())
}

/// A rank above both sides of a linear could hold no more than full training, at a higher price.
fn check_rank(decoder: &Decoder, r: usize, targets: &[Target]) -> Result<(), Problem> {
    let sides = |target: &Target| {
        let (n_outputs, n_inputs) =
            (target.linear.outputs(&decoder.config), target.linear.inputs(&decoder.config));
        if n_outputs < n_inputs { (n_outputs, "outputs") } else { (n_inputs, "inputs") }
    };
    let smallest = targets.iter().min_by_key(|target| sides(target).0);
    match smallest.map(|target| (target, sides(target))) {
        Some((target, (limit, side))) if r > limit => {
            let name = target.linear.short_name();
            let message = format!("rank {r} exceeds the smallest target `{name}` ({limit} {side})");
            let hint = format!("choose a rank up to {limit}");
            Err(Problem::new(ProblemKind::InvalidValue, message).at("adapter.r").hint(hint))
        }
        Some(_) | None => Ok(()),
    }
}

struct Maker<'a> {
    config: &'a AdapterConfig,
    source: LoraSource<'a>,
    device: &'a Device,
}

impl Maker<'_> {
    /// The updates of the targeted parts of `linear`, each with its piece of the weight.
    fn lora<'a>(&self, linear: &Linear, targeted: impl Iterator<Item = (Target, &'a Piece)>) -> Option<Lora> {
        let r = self.config.r;
        let [_, n_inputs] = linear.weight.value.dims();
        let (mut a, mut pieces, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (target, piece) in targeted {
            let outputs = piece.values.start / n_inputs..piece.values.end / n_inputs;
            let ranks = parts.len() * r..(parts.len() + 1) * r;
            let (name, values) = self.matrix(target, Factor::A, [r, n_inputs]);
            pieces.push(Piece { name, values: a.len()..a.len() + values.len(), shape: vec![r, n_inputs] });
            a.extend(values);
            let (name, b) = self.matrix(target, Factor::B, [outputs.len(), r]);
            let b_pieces = vec![Piece { name, values: 0..b.len(), shape: vec![outputs.len(), r] }];
            let b = self.param(b, [outputs.len(), r], b_pieces);
            let scale = (self.config.lora_alpha / r as f64) as f32;
            parts.push(LoraPart { outputs, ranks, b, scale });
        }
        (!parts.is_empty()).then(|| Lora {
            a: self.param(a, [parts.len() * r, n_inputs], pieces),
            parts,
            dropout_prob: self.config.lora_dropout_prob,
        })
    }

    fn matrix(&self, target: Target, factor: Factor, [n_rows, n_cols]: [usize; 2]) -> (String, Vec<f32>) {
        let name = tensor_name(target, factor);
        let values = match (self.source, factor) {
            (LoraSource::Files(files), _) => files.read_f32(target, factor),
            (LoraSource::Fresh { .. }, Factor::B) => vec![0.0; n_rows * n_cols],
            (LoraSource::Fresh { seed }, Factor::A) => {
                let bound = 1.0 / (n_cols as f32).sqrt();
                let mut rng = stream(seed, &name);
                (0..n_rows * n_cols).map(|_| rng.random_range(-bound..bound)).collect()
            }
        };
        (name, values)
    }

    fn param(&self, values: Vec<f32>, shape: [usize; 2], pieces: Vec<Piece>) -> Param {
        let value = Tensor::from_data(TensorData::new(values, shape), self.device);
        Param { value, slot: None, owner: Owner::Adapter, pieces }
    }
}
