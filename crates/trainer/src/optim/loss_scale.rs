//! The factor that the loss is multiplied by where gradients are held in f16, whose smallest number most of them are below.
//!
//! Gradients then come out larger by the same factor, a power of two so that nothing is rounded, and the update divides it
//! away again. The factor is found as in mixed precision training (Micikevicius et al. 2018, section 3.2), with the
//! numbers of `torch.amp.GradScaler`, but for one thing: PyTorch leaves a step out when its gradients overflow; here the same
//! step is computed again with half the factor, so that every step is an update and the schedule counts what was done.

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::kernels::Kernels;

/// Where it begins (`init_scale`).
const FIRST: f64 = 65536.0;
/// Steps without an overflow after which it doubles (`growth_interval`).
const STEADY_STEPS: u64 = 2000;
/// Beyond it f32 sums of squares could overflow before f16 gradients do.
const LARGEST: f64 = 16_777_216.0;

/// What the loss is multiplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossScale {
    /// 1: gradients are held in a type with the range of f32.
    #[default]
    One,
    /// As much as f16 holds.
    Dynamic {
        /// A power of two, at least 1.
        factor: f64,
        /// Steps since it changed.
        steady_steps: u64,
    },
}

impl LossScale {
    /// For gradients that are computed by these kernels.
    pub fn of(kernels: Kernels) -> Self {
        if kernels.dtype() == DType::F16 {
            Self::Dynamic { factor: FIRST, steady_steps: 0 }
        } else {
            Self::One
        }
    }

    /// What the loss is multiplied by now.
    pub fn factor(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Dynamic { factor, .. } => factor,
        }
    }

    /// After a step whose gradients were finite.
    pub fn held(&mut self) {
        match self {
            Self::One => {}
            Self::Dynamic { factor, steady_steps } => {
                *steady_steps += 1;
                if *steady_steps >= STEADY_STEPS {
                    *factor = (*factor * 2.0).min(LARGEST);
                    *steady_steps = 0;
                }
            }
        }
    }

    /// After gradients that were not finite: whether they can be computed again with a smaller factor.
    pub fn overflowed(&mut self) -> bool {
        match self {
            Self::Dynamic { factor, steady_steps } if *factor > 1.0 => {
                *factor /= 2.0;
                *steady_steps = 0;
                true
            }
            Self::One | Self::Dynamic { .. } => false,
        }
    }

    /// The factor that a checkpoint remembers, where it is still needed.
    #[must_use]
    pub fn resumed_from(self, checkpoint: Self) -> Self {
        match (self, checkpoint) {
            (Self::Dynamic { .. }, Self::Dynamic { .. }) => checkpoint,
            (Self::One, _) | (Self::Dynamic { .. }, Self::One) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: LossScale = LossScale::Dynamic { factor: FIRST, steady_steps: 0 };

    #[test]
    fn it_halves_with_each_overflow_down_to_one() {
        let mut scale = START;
        let n_halved = (0..100).take_while(|_| scale.overflowed()).count();
        assert_eq!((n_halved, scale.factor()), (16, 1.0));
        let mut one = LossScale::One;
        assert!(!one.overflowed());
        one.held();
        assert_eq!(one, LossScale::One);
    }

    #[test]
    fn it_doubles_after_steady_steps_up_to_its_largest() {
        let mut scale = START;
        (0..STEADY_STEPS - 1).for_each(|_| scale.held());
        assert_eq!(scale.factor(), FIRST);
        scale.held();
        assert_eq!(scale, LossScale::Dynamic { factor: 2.0 * FIRST, steady_steps: 0 });
        (0..STEADY_STEPS * 100).for_each(|_| scale.held());
        assert_eq!(scale.factor(), LARGEST);
    }

    #[test]
    fn a_checkpoint_of_another_precision_does_not_decide() {
        let later = LossScale::Dynamic { factor: 8.0, steady_steps: 3 };
        assert_eq!(START.resumed_from(later), later);
        assert_eq!(START.resumed_from(LossScale::One), START);
        assert_eq!(LossScale::One.resumed_from(later), LossScale::One);
    }
}
