//! AdamW over everything that is trained, with its state.

use ftl_core::spec::resolved;

use crate::model::decoder::Decoder;
use crate::ops::param::Gradients;
use crate::optim::adamw::{self, Coefficients, Decay, Moments};
use crate::optim::clip;

/// AdamW with the moments of every trained weight, in the order of their slots.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// Its numbers.
    pub adamw: resolved::AdamW,
    /// Gradients are scaled down to this global norm.
    pub max_grad_norm: Option<f64>,
    /// Updates taken so far.
    pub n_steps: u64,
    /// The moments.
    pub moments: Vec<Moments>,
}

impl Optimizer {
    /// One that has taken no step.
    pub fn new(decoder: &Decoder, adamw: resolved::AdamW, max_grad_norm: Option<f64>) -> Self {
        let mut moments = Vec::new();
        decoder.for_each_param(&mut |param| {
            if param.slot.is_some() {
                moments.push(Moments::zeros(&param.value));
            }
        });
        Self { adamw, max_grad_norm, n_steps: 0, moments }
    }

    /// Updates the trained weights and returns the global gradient norm before clipping. A gradient that is not
    /// finite changes nothing.
    pub fn step(&mut self, decoder: &mut Decoder, gradients: &Gradients, learning_rate: f64) -> f64 {
        let kernels = decoder.kernels;
        let norm = clip::global_norm(kernels, gradients);
        if !norm.is_finite() {
            return norm;
        }
        self.n_steps += 1;
        let factor = clip::factor(norm, self.max_grad_norm);
        let coefficients = |decay| Coefficients::new(&self.adamw, decay, learning_rate, self.n_steps, factor);
        let (decayed, exempt) = (coefficients(Decay::Applies), coefficients(Decay::Exempt));
        decoder.for_each_param_mut(&mut |param| {
            let Some(slot) = param.slot else { return };
            let coefficients = if param.decays() { &decayed } else { &exempt };
            let moments = &mut self.moments[slot.0];
            adamw::update(kernels, &mut param.value, gradients.get(slot), moments, coefficients);
        });
        norm
    }

    /// How many weights are trained.
    pub fn n_parameters(&self) -> u64 {
        self.moments.iter().map(|moments| moments.first.dims().iter().product::<usize>() as u64).sum()
    }
}
