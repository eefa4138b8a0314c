//! The moments of one weight, in either format.

use burn::tensor::Tensor;
use ftl_core::spec::resolved::MomentFormat;

use super::adamw::{self, Coefficients, Moments};
use super::adamw8bit::{self, BlockMoments, MIN_VALUES};
use crate::kernels::Kernels;

/// What AdamW remembers of one weight.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each weight")]
pub enum WeightMoments {
    /// In f32.
    F32(Moments),
    /// In 8 bits.
    Blockwise8Bit(BlockMoments),
}

impl WeightMoments {
    /// Those of a weight that was never updated. Small weights keep them in f32 in either format.
    pub fn zeros(format: MomentFormat, like: &Tensor<2>) -> Self {
        let n_values = like.dims().iter().product();
        match format {
            MomentFormat::Blockwise8Bit if n_values >= MIN_VALUES => {
                Self::Blockwise8Bit(BlockMoments::zeros(n_values, &like.device()))
            }
            MomentFormat::F32 | MomentFormat::Blockwise8Bit => Self::F32(Moments::zeros(like)),
        }
    }

    /// Updates `weight` and its moments with `gradient`.
    pub fn update(
        &mut self,
        kernels: Kernels,
        weight: &mut Tensor<2>,
        gradient: &Tensor<2>,
        coefficients: &Coefficients,
    ) {
        match self {
            Self::F32(moments) => adamw::update(kernels, weight, gradient, moments, coefficients),
            Self::Blockwise8Bit(moments) => {
                adamw8bit::update(kernels, weight, gradient, moments, coefficients);
            }
        }
    }
}
