//! Gives linears their low-rank update (LoRA, Hu et al. 2021), with PEFT's start: A uniform as
//! `kaiming_uniform_(a = √5)`, which is ±1/√in, and B zero.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use ftl_core::{Problem, ProblemKind};
use rand::RngExt;

use crate::adapter::peft::{AdapterConfig, AdapterWeights, Target, factor_specs, resolve_targets};
use crate::model::build::stream;
use crate::model::config::DecoderConfig;
use crate::model::decoder::Decoder;
use crate::model::tensor_file::TensorSpec;
use crate::ops::linear::{Lora, LoraPart};
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
/// A target that no linear has, or for a fresh adapter a rank above what a target can use; the decoder is unchanged
/// then.
pub fn attach(
    decoder: &mut Decoder,
    config: &AdapterConfig,
    source: LoraSource<'_>,
) -> Result<(), Vec<Problem>> {
    let targets = resolve_targets(&decoder.config, &config.target_modules).map_err(|problems| {
        problems.into_iter().map(|problem| problem.at("adapter.target_modules")).collect::<Vec<_>>()
    })?;
    match source {
        LoraSource::Fresh { .. } => {
            check_rank(decoder, config.r, &targets).map_err(|problem| vec![problem])?;
        }
        // Wasteful, but somebody trained it.
        LoraSource::Files(_) => {}
    }
    let Decoder { config: model, device, blocks, .. } = decoder;
    let maker = Maker { config, model, source, device };
    for (layer_index, block) in blocks.iter_mut().enumerate() {
        for (linear, parts) in block.linears_mut().into_iter().zip(model.family.merged()) {
            let [_, n_inputs] = linear.weight.dims();
            let outputs = |piece: &Piece| piece.values.start / n_inputs..piece.values.end / n_inputs;
            let parts = parts.iter().map(|part| Target { layer_index, linear: *part });
            let targeted: Vec<_> = parts
                .zip(linear.weight.pieces())
                .filter(|(target, _)| targets.contains(target))
                .map(|(target, piece)| (target, outputs(piece)))
                .collect();
            linear.lora = maker.lora(n_inputs, &targeted);
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
    model: &'a DecoderConfig,
    source: LoraSource<'a>,
    device: &'a Device,
}

impl Maker<'_> {
    /// The updates of the targeted parts of a linear with `n_inputs`, each with its outputs.
    fn lora(&self, n_inputs: usize, targeted: &[(Target, Range<usize>)]) -> Option<Lora> {
        let r = self.config.r;
        let (mut a, mut pieces, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (target, outputs) in targeted {
            let [a_spec, b_spec] = factor_specs(*target, r, self.model);
            let first = a.len();
            a.extend(self.values(&a_spec, Factor::A));
            pieces.push(Piece { name: a_spec.name, values: first..a.len(), shape: a_spec.shape });
            let b = self.values(&b_spec, Factor::B);
            let b_pieces = vec![Piece { name: b_spec.name, values: 0..b.len(), shape: b_spec.shape }];
            parts.push(LoraPart {
                outputs: outputs.clone(),
                ranks: parts.len() * r..(parts.len() + 1) * r,
                b: self.param(b, [outputs.len(), r], b_pieces),
                scale: (self.config.lora_alpha / r as f64) as f32,
            });
        }
        (!parts.is_empty()).then(|| Lora {
            a: self.param(a, [parts.len() * r, n_inputs], pieces),
            parts,
            dropout_prob: self.config.lora_dropout_prob,
        })
    }

    fn values(&self, spec: &TensorSpec, factor: Factor) -> Vec<f32> {
        match (self.source, factor) {
            (LoraSource::Files(files), Factor::A | Factor::B) => files.read_f32(&spec.name),
            (LoraSource::Fresh { .. }, Factor::B) => vec![0.0; spec.n_elements()],
            (LoraSource::Fresh { seed }, Factor::A) => {
                let bound = 1.0 / (spec.shape[1] as f32).sqrt();
                let mut rng = stream(seed, &spec.name);
                (0..spec.n_elements()).map(|_| rng.random_range(-bound..bound)).collect()
            }
        }
    }

    fn param(&self, values: Vec<f32>, shape: [usize; 2], pieces: Vec<Piece>) -> Param {
        let value = Tensor::from_data(TensorData::new(values, shape), self.device);
        Param { value, slot: None, owner: Owner::Adapter, pieces }
    }
}

/// One of the two matrices of an update.
#[derive(Clone, Copy)]
enum Factor {
    A,
    B,
}
