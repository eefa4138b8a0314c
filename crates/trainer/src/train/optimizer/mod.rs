//! AdamW over everything that is trained, with its state.

mod gpu;

use ftl_core::spec::resolved::{self, MomentFormat};

use crate::kernels::Kernels;
use crate::kernels::cube::global_norm::{self, Norm};
use crate::model::decoder::Decoder;
use crate::ops::param::{Gradients, Param};
use crate::optim::adamw::{Coefficients, Decay};
use crate::optim::clip;
use crate::optim::loss_scale::LossScale;
use crate::optim::moments::WeightMoments;

/// AdamW with the moments of every trained weight, in the order of their slots.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// Its numbers.
    pub adamw: resolved::AdamW,
    /// Gradients are scaled down to this global norm.
    pub max_grad_norm: Option<f64>,
    /// Updates taken so far.
    pub n_steps: u64,
    /// What the gradients that it is given were multiplied by.
    pub loss_scale: LossScale,
    /// The moments.
    pub moments: Vec<WeightMoments>,
    n_parameters: u64,
    /// What a GPU sums up, from the first step on.
    norm: Option<Norm>,
}

/// One step that is taken weight by weight, each as soon as its gradient is there.
#[derive(Debug)]
pub struct StepInParts<'a> {
    optimizer: &'a mut Optimizer,
    kernels: Kernels,
    by_decay: ByDecay,
    /// The sum of squares of each gradient, by slot.
    squares: Vec<f64>,
}

#[derive(Debug)]
struct ByDecay {
    decayed: Coefficients,
    exempt: Coefficients,
}

impl Optimizer {
    /// One that has taken no step.
    pub fn new(
        decoder: &Decoder,
        (adamw, format): (resolved::AdamW, MomentFormat),
        max_grad_norm: Option<f64>,
    ) -> Self {
        let (mut moments, mut n_parameters) = (Vec::new(), 0);
        decoder.for_each_param(&mut |param| {
            if param.slot.is_some() {
                moments.push(WeightMoments::zeros(format, &param.value));
                n_parameters += param.value.dims().iter().product::<usize>() as u64;
            }
        });
        let loss_scale = LossScale::of(decoder.kernels);
        Self { adamw, max_grad_norm, n_steps: 0, loss_scale, moments, n_parameters, norm: None }
    }

    /// Updates the trained weights, frees each gradient once it was used, and returns the global gradient norm before
    /// clipping, without the loss scale. A gradient that is not finite changes nothing.
    pub fn step(&mut self, decoder: &mut Decoder, gradients: &mut Gradients, learning_rate: f64) -> f64 {
        let kernels = decoder.kernels;
        match kernels {
            Kernels::Plain | Kernels::Cpu => {}
            Kernels::Cube(gpu) => return self.step_on_gpu(gpu, decoder, gradients, learning_rate),
        }
        let loss_scale = self.loss_scale.factor();
        let norm = clip::global_norm(kernels, gradients) / loss_scale;
        if !norm.is_finite() {
            return norm;
        }
        self.n_steps += 1;
        let factor = clip::factor(norm, self.max_grad_norm) / loss_scale;
        let by_decay = self.coefficients(learning_rate, factor);
        decoder.for_each_param_mut(&mut |param| {
            let Some(slot) = param.slot else { return };
            let gradient = gradients.take(slot);
            let coefficients = by_decay.of(param);
            self.moments[slot.0].update(kernels, &mut param.value, &gradient, coefficients);
        });
        norm
    }

    /// Whether a step of so many microbatches can be taken in parts: nothing has to be known of all gradients before
    /// the first weight is updated. With a loss scale it has to be known whether all of them are finite.
    pub fn can_step_in_parts(&self, n_microbatches: usize) -> bool {
        n_microbatches == 1 && self.max_grad_norm.is_none() && self.loss_scale == LossScale::One
    }

    /// Begins a step in parts.
    pub fn begin_step(&mut self, decoder: &Decoder, learning_rate: f64) -> StepInParts<'_> {
        let kernels = decoder.kernels;
        self.n_steps += 1;
        self.prepare(decoder);
        let by_decay = self.coefficients(learning_rate, 1.0);
        let squares = vec![0.0; self.moments.len()];
        StepInParts { optimizer: self, kernels, by_decay, squares }
    }

    /// How many weights are trained.
    pub fn n_parameters(&self) -> u64 {
        self.n_parameters
    }

    fn coefficients(&self, learning_rate: f64, factor: f64) -> ByDecay {
        let of = |decay| Coefficients::new(&self.adamw, decay, learning_rate, self.n_steps, factor);
        ByDecay { decayed: of(Decay::Applies), exempt: of(Decay::Exempt) }
    }
}

impl StepInParts<'_> {
    /// Updates a weight with its gradient, if it is trained, and frees the gradient. One that is not finite changes
    /// nothing here; what was updated before stays, and the norm tells.
    pub fn update(&mut self, param: &mut Param, gradients: &mut Gradients) {
        let Some(slot) = param.slot else { return };
        let gradient = gradients.take(slot);
        match self.kernels {
            Kernels::Plain | Kernels::Cpu => {}
            Kernels::Cube(gpu) => return self.update_on_gpu(gpu, param, slot, &gradient),
        }
        let squares = clip::sum_of_squares(self.kernels, &gradient);
        self.squares[slot.0] = squares;
        if squares.is_finite() {
            let coefficients = self.by_decay.of(param);
            let moments = &mut self.optimizer.moments[slot.0];
            moments.update(self.kernels, &mut param.value, &gradient, coefficients);
        }
    }

    /// The global gradient norm, summed in the order of [`Optimizer::step`].
    pub fn finish(self) -> f64 {
        match (self.kernels, &self.optimizer.norm) {
            (Kernels::Cube(gpu), Some(norm)) => {
                gpu::global_norm(&global_norm::squares(gpu, norm)[..self.optimizer.moments.len()])
            }
            (Kernels::Plain | Kernels::Cpu | Kernels::Cube(_), _) => self.squares.iter().sum::<f64>().sqrt(),
        }
    }
}

impl ByDecay {
    fn of<'a>(&'a self, param: &Param) -> &'a Coefficients {
        if param.decays() { &self.decayed } else { &self.exempt }
    }
}
