//! Gives modules their low-rank update (LoRA, Hu et al. 2021; DoRA, Liu et al. 2024), with PEFT's start: A uniform as
//! `kaiming_uniform_(a = √5)`, which is ±1/√in, and B zero; of an embedding A zero and B standard normal; magnitudes
//! the lengths of the rows. And takes the modules out of the model that an adapter keeps in full.

use burn::tensor::{Device, Tensor, TensorData};
use ftl_core::spec::resolved::LoraVariant;
use ftl_core::{Problem, ProblemKind};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use crate::adapter::peft::{AdapterConfig, AdapterWeights, Layout, LowRank, Named, PREFIX, Target};
use crate::model::build::stream;
use crate::model::config::{DecoderConfig, Head};
use crate::model::decoder::Decoder;
use crate::model::families::{EMBED_TOKENS, LM_HEAD};
use crate::model::tensor_file::TensorSpec;
use crate::ops::embedding::EmbeddingLora;
use crate::ops::linear::dora::{self, Dora};
use crate::ops::linear::{HalfFactors, Linear, Lora, LoraPart};
use crate::ops::param::{Owner, Param, Piece};

/// Where an adapter's weights come from.
#[derive(Clone, Copy, Debug)]
pub enum LoraSource<'a> {
    /// An update of zero.
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
/// For a fresh adapter, names that fit nothing and ranks above what a target can use, each at its key of the spec; the
/// decoder is unchanged then.
pub fn attach(
    decoder: &mut Decoder,
    config: &AdapterConfig,
    source: LoraSource<'_>,
) -> Result<(), Vec<Problem>> {
    let layout = match source {
        LoraSource::Fresh { .. } => {
            let in_spec = |problem: Problem| {
                let key = problem.field.clone().unwrap_or_default();
                problem.at(format!("adapter.{key}"))
            };
            let layout = Layout::of(config, &decoder.config, Named::InSpec)
                .map_err(|problems| problems.into_iter().map(in_spec).collect::<Vec<_>>())?;
            check_ranks(decoder, config, &layout).map_err(|problem| vec![problem])?;
            layout
        }
        // A rank may be wasteful, but somebody trained it.
        LoraSource::Files(files) => {
            decoder.grow_vocabulary(files.vocab_size());
            files.layout().clone()
        }
    };
    save_modules(decoder, &layout, source);
    attach_updates(decoder, (config, &layout), source);
    Ok(())
}

fn attach_updates(
    decoder: &mut Decoder,
    (config, layout): (&AdapterConfig, &Layout),
    source: LoraSource<'_>,
) {
    let Decoder { config: model, device, kernels, blocks, embed, head, embed_lora, adapted_head, .. } =
        decoder;
    let maker = Maker { config, model, source, device };
    for linear in blocks.iter_mut().flat_map(|block| block.linears_mut()) {
        let [_, n_inputs] = linear.weight.dims();
        let update = |piece: &Piece| {
            let of_piece =
                |low_rank: &&LowRank| is_linear(low_rank.target) && weight_of(low_rank.target) == piece.name;
            let outputs = piece.values.start / n_inputs..piece.values.end / n_inputs;
            layout.low_rank.iter().find(of_piece).map(|low_rank| (*low_rank, outputs))
        };
        let targeted: Vec<_> = linear.weight.pieces().iter().filter_map(update).collect();
        linear.lora = maker.lora(n_inputs, &targeted);
        add_magnitudes(linear, &maker, &targeted, *kernels);
    }
    for low_rank in &layout.low_rank {
        match low_rank.target {
            Target::Linear { .. } => {}
            Target::Embedding => *embed_lora = Some(maker.embedding(*low_rank)),
            Target::Head => {
                let weight = Param { slot: None, ..head.as_ref().unwrap_or(embed).clone() };
                let [n_outputs, n_inputs] = weight.value.dims();
                let targeted = [(*low_rank, 0..n_outputs)];
                let mut linear =
                    Linear { weight: weight.into(), bias: None, lora: maker.lora(n_inputs, &targeted) };
                add_magnitudes(&mut linear, &maker, &targeted, *kernels);
                *adapted_head = Some(linear);
            }
        }
    }
}

fn is_linear(target: Target) -> bool {
    match target {
        Target::Linear { .. } => true,
        Target::Embedding | Target::Head => false,
    }
}

fn weight_of(target: Target) -> String {
    format!("{}.weight", target.name())
}

/// Makes the modules the adapter's own.
fn save_modules(decoder: &mut Decoder, layout: &Layout, source: LoraSource<'_>) {
    let is_saved = |tensor: &str| layout.saved.iter().any(|module| module.tensor == tensor);
    if decoder.config.head == Head::Tied && (is_saved(EMBED_TOKENS) || is_saved(LM_HEAD)) {
        // As in PEFT without `ensure_weight_tying`: a copy of one leaves the other as it was.
        let mut head = decoder.embed.clone();
        head.pieces[0].name = LM_HEAD.to_owned();
        decoder.head = Some(head);
    }
    let device = decoder.device.clone();
    decoder.for_each_param_mut(&mut |param| {
        let [piece] = param.pieces.as_mut_slice() else { return };
        if is_saved(&piece.name) {
            param.owner = Owner::Copy;
            piece.name = format!("{PREFIX}{}", piece.name);
        } else if let Some(kept) = layout.kept.iter().find(|kept| kept.tensor == piece.name) {
            param.owner = Owner::Kept;
            piece.name.clone_from(&kept.in_file);
        } else {
            return;
        }
        match source {
            LoraSource::Fresh { .. } => {}
            LoraSource::Files(files) => {
                let values = files.read_f32(&piece.name);
                param.value = Tensor::from_data(TensorData::new(values, param.value.dims()), &device);
            }
        }
    });
}

/// A rank above both sides of a module could hold no more than full training, at a higher price.
fn check_ranks(decoder: &Decoder, config: &AdapterConfig, layout: &Layout) -> Result<(), Problem> {
    let sides = |target: Target| {
        let (n_outputs, n_inputs) = (target.outputs(&decoder.config), target.inputs(&decoder.config));
        if n_outputs < n_inputs { (n_outputs, "outputs") } else { (n_inputs, "inputs") }
    };
    let too_high = layout.low_rank.iter().filter(|low_rank| low_rank.r > sides(low_rank.target).0);
    let Some(LowRank { target, r, .. }) = too_high.min_by_key(|low_rank| sides(low_rank.target).0) else {
        return Ok(());
    };
    let ((limit, side), name) = (sides(*target), target.short_name());
    let message = format!("rank {r} exceeds the smallest target `{name}` ({limit} {side})");
    let key = if *r == config.r { "adapter.r" } else { "adapter.rank_pattern" };
    Err(Problem::new(ProblemKind::InvalidValue, message).at(key).hint(format!("choose a rank up to {limit}")))
}

type Targeted = (LowRank, std::ops::Range<usize>);

/// DoRA's magnitudes: those of the files, or the lengths of the rows, which B = 0 leaves as they are.
fn add_magnitudes(
    linear: &mut Linear,
    maker: &Maker<'_>,
    targeted: &[Targeted],
    kernels: crate::kernels::Kernels,
) {
    let Linear { weight, lora: Some(lora), .. } = linear else { return };
    for (part, (low_rank, outputs)) in lora.parts.iter_mut().zip(targeted) {
        match low_rank.variant {
            LoraVariant::Plain => {}
            LoraVariant::Dora => {
                let base_squares = dora::base_squares(kernels, weight, outputs.clone());
                let lengths = base_squares.clone().sqrt();
                let spec = low_rank.tensors(maker.model).pop().expect("magnitudes are the last tensor");
                let piece = Piece { values: 0..outputs.len(), name: spec.name.clone(), shape: spec.shape };
                let value = match maker.source {
                    LoraSource::Fresh { .. } => lengths.clone(),
                    LoraSource::Files(files) => maker.tensor(files.read_f32(&spec.name), [1, outputs.len()]),
                };
                let magnitude = Param { value, slot: None, owner: Owner::Adapter, pieces: vec![piece] };
                part.dora = Some(Dora { magnitude, base_squares, norms: lengths });
            }
        }
    }
    let norms = dora::norms(kernels, weight, lora);
    let doras = lora.parts.iter_mut().filter_map(|part| part.dora.as_mut());
    doras.zip(norms).for_each(|(dora, norms)| dora.norms = norms);
}

struct Maker<'a> {
    config: &'a AdapterConfig,
    model: &'a DecoderConfig,
    source: LoraSource<'a>,
    device: &'a Device,
}

impl Maker<'_> {
    /// The updates of the targeted parts of a linear with `n_inputs`, each with its outputs.
    fn lora(&self, n_inputs: usize, targeted: &[Targeted]) -> Option<Lora> {
        let (mut a, mut pieces, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let mut n_ranks = 0;
        for (low_rank, outputs) in targeted {
            let [a_spec, b_spec] = self.factors(*low_rank);
            let first = a.len();
            a.extend(self.uniform(&a_spec));
            pieces.push(Piece { name: a_spec.name, values: first..a.len(), shape: a_spec.shape });
            let ranks = n_ranks..n_ranks + low_rank.r;
            n_ranks = ranks.end;
            parts.push(LoraPart {
                outputs: outputs.clone(),
                ranks,
                b: self.whole(&b_spec, |spec| vec![0.0; spec.n_elements()]),
                scale: low_rank.scale as f32,
                dora: None,
            });
        }
        (!parts.is_empty()).then(|| Lora {
            a: Param {
                value: self.tensor(a, [n_ranks, n_inputs]),
                slot: None,
                owner: Owner::Adapter,
                pieces,
            },
            parts,
            dropout_prob: self.config.lora_dropout_prob,
            half: HalfFactors::default(),
        })
    }

    fn embedding(&self, low_rank: LowRank) -> EmbeddingLora {
        let [a, b] = self.factors(low_rank);
        EmbeddingLora {
            a: self.whole(&a, |spec| vec![0.0; spec.n_elements()]),
            b: self.whole(&b, |spec| match self.source {
                LoraSource::Fresh { seed } => {
                    let mut rng = stream(seed, &spec.name);
                    (0..spec.n_elements()).map(|_| StandardNormal.sample(&mut rng)).collect()
                }
                LoraSource::Files(_) => Vec::new(),
            }),
            scale: low_rank.scale as f32,
        }
    }

    fn factors(&self, low_rank: LowRank) -> [TensorSpec; 2] {
        let mut tensors = low_rank.tensors(self.model).into_iter();
        [(); 2].map(|()| tensors.next().expect("two factors come first"))
    }

    fn uniform(&self, spec: &TensorSpec) -> Vec<f32> {
        match self.source {
            LoraSource::Files(files) => files.read_f32(&spec.name),
            LoraSource::Fresh { seed } => {
                let bound = 1.0 / (spec.shape[1] as f32).sqrt();
                let mut rng = stream(seed, &spec.name);
                (0..spec.n_elements()).map(|_| rng.random_range(-bound..bound)).collect()
            }
        }
    }

    /// A weight that is one tensor of the files, or starts as `fresh`.
    fn whole(&self, spec: &TensorSpec, fresh: impl Fn(&TensorSpec) -> Vec<f32>) -> Param {
        let values = match self.source {
            LoraSource::Files(files) => files.read_f32(&spec.name),
            LoraSource::Fresh { .. } => fresh(spec),
        };
        let TensorSpec { name, shape } = spec.clone();
        let dims = [shape[0], shape[1]];
        let piece = Piece { name, values: 0..values.len(), shape };
        Param { value: self.tensor(values, dims), slot: None, owner: Owner::Adapter, pieces: vec![piece] }
    }

    fn tensor(&self, values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }
}
