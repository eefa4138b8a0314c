//! A step on a GPU: the norm, the decision and the updates are enqueued, and only then is the norm waited for.

use burn::tensor::Tensor;

use super::{ByDecay, Optimizer, StepInParts};
use crate::kernels::cube::adamw::{self, Update};
use crate::kernels::cube::adamw8bit;
use crate::kernels::cube::global_norm::{self, By};
use crate::kernels::{Gpu, Kernels};
use crate::model::decoder::Decoder;
use crate::ops::param::{Gradients, Param, Slot};
use crate::optim::adamw::Decay;
use crate::optim::moments::WeightMoments;

impl Optimizer {
    pub(super) fn step_on_gpu(
        &mut self,
        gpu: Gpu,
        decoder: &mut Decoder,
        gradients: &mut Gradients,
        learning_rate: f64,
    ) -> f64 {
        let gradients: Vec<_> = (0..self.moments.len()).map(|slot| gradients.take(Slot(slot))).collect();
        let Some(first) = gradients.first() else { return 0.0 };
        let device = first.device();
        self.prepare(decoder);
        let mut norm = self.norm.take().expect("it was prepared");
        let measured: Vec<_> = gradients.iter().enumerate().collect();
        global_norm::measure(gpu, &mut norm, &measured);
        let loss_scale = self.loss_scale.factor();
        global_norm::decide(gpu, &mut norm, self.max_grad_norm, loss_scale);

        self.n_steps += 1;
        let ByDecay { decayed, exempt } = self.coefficients(learning_rate, 1.0);
        // Taken out and put back, since many are updated at once.
        let empty = Tensor::<2>::empty([0, 0], &device);
        let mut weights: Vec<Option<Tensor<2>>> = vec![None; self.moments.len()];
        let mut decays = vec![Decay::Applies; self.moments.len()];
        decoder.for_each_param_mut(&mut |param| {
            let Some(slot) = param.slot else { return };
            weights[slot.0] = Some(std::mem::replace(&mut param.value, empty.clone()));
            decays[slot.0] = if param.decays() { Decay::Applies } else { Decay::Exempt };
        });
        for (coefficients, decay) in [(decayed, Decay::Applies), (exempt, Decay::Exempt)] {
            let (mut slots, mut updates) = (Vec::new(), Vec::new());
            for (slot, (moments, gradient)) in self.moments.iter_mut().zip(&gradients).enumerate() {
                if decays[slot] != decay {
                    continue;
                }
                let weight = weights[slot].take().expect("each slot is one weight's");
                match moments {
                    WeightMoments::F32(moments) => {
                        slots.push(slot);
                        updates.push(Update { weight, gradient, moments });
                    }
                    WeightMoments::Blockwise8Bit(moments) => {
                        let update = Update { weight, gradient, moments };
                        weights[slot] = Some(adamw8bit::update(gpu, (&norm, By::All), update, &coefficients));
                    }
                }
            }
            let updated = adamw::update(gpu, (&norm, By::All), updates, &coefficients);
            for (slot, weight) in slots.into_iter().zip(updated) {
                weights[slot] = Some(weight);
            }
        }
        decoder.for_each_param_mut(&mut |param| {
            let Some(slot) = param.slot else { return };
            param.value = weights[slot.0].take().expect("each slot is one weight's");
        });

        let squares = global_norm::squares(gpu, &norm);
        self.norm = Some(norm);
        let (total, of_slots) = squares.split_last().expect("the last one is that of all");
        if !total.is_finite() {
            // The updates have seen it too, and changed nothing.
            self.n_steps -= 1;
            return f64::from(*total);
        }
        global_norm(of_slots) / loss_scale
    }

    /// Takes memory for the norm, where a GPU computes.
    pub(super) fn prepare(&mut self, decoder: &Decoder) {
        match decoder.kernels {
            Kernels::Plain | Kernels::Cpu => {}
            Kernels::Cube(gpu) => {
                self.norm.get_or_insert_with(|| {
                    let mut sizes = Vec::new();
                    decoder.for_each_param(&mut |param| {
                        if param.slot.is_some() {
                            sizes.push(param.value.dims().iter().product());
                        }
                    });
                    global_norm::norm(gpu, &sizes, &decoder.device)
                });
            }
        }
    }
}

impl StepInParts<'_> {
    pub(super) fn update_on_gpu(&mut self, gpu: Gpu, param: &mut Param, slot: Slot, gradient: &Tensor<2>) {
        let norm = self.optimizer.norm.as_mut().expect("made when the step began");
        global_norm::measure(gpu, norm, &[(slot.0, gradient)]);
        let coefficients = self.by_decay.of(param);
        let empty = Tensor::empty([0, 0], &gradient.device());
        let weight = std::mem::replace(&mut param.value, empty);
        let decider = (&*norm, By::Slot(slot.0));
        param.value = match &mut self.optimizer.moments[slot.0] {
            WeightMoments::F32(moments) => {
                let update = Update { weight, gradient, moments };
                let mut updated = adamw::update(gpu, decider, vec![update], coefficients);
                updated.pop().expect("one was given")
            }
            WeightMoments::Blockwise8Bit(moments) => {
                adamw8bit::update(gpu, decider, Update { weight, gradient, moments }, coefficients)
            }
        };
    }
}

/// The norm whose sums of squares these are, slot by slot.
pub(super) fn global_norm(squares: &[f32]) -> f64 {
    squares.iter().map(|squares| f64::from(*squares)).sum::<f64>().sqrt()
}
