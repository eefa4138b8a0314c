//! AdamW whose moments are held in 8 bits (Dettmers et al. 2021, "8-bit optimizers via block-wise quantization").
//!
//! An update reads both moments from their codes, takes the step of [`adamw`] in f32, and writes the new moments as
//! codes again, 256 values with one scale: what is lost is the rounding of the moments between two steps. As in
//! bitsandbytes' `AdamW8bit`, the first moment has signed dynamic codes, the second unsigned ones, and weights of
//! less than 4096 values keep moments in f32.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::adamw::{self, Coefficients, Moments};
use crate::kernels::{Kernels, cpu};
use crate::quant::dynamic::{self, Dynamic};

/// Values with one scale; bitsandbytes' number.
pub const BLOCK: usize = 256;
/// Weights with fewer values keep moments in f32; bitsandbytes' `min_8bit_size`.
pub const MIN_VALUES: usize = 4096;
/// The least that a block is divided by, so that one of zeros has a code.
pub const MIN_SCALE: f32 = 1e-38;

/// Values that the plain version gives codes at a time: each is compared with all bounds.
const PLAIN_VALUES: usize = 1 << 14;

/// The moments of one weight in 8 bits.
#[derive(Clone, Debug)]
pub struct BlockMoments {
    /// Running mean of the gradient.
    pub first: Blocks,
    /// Running mean of its square.
    pub second: Blocks,
}

/// Values in 8 bits.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// A code for each value.
    pub codes: Tensor<1, Int>,
    /// A scale for each 256.
    pub absmax: Tensor<1>,
}

impl BlockMoments {
    /// Those of a weight that was never updated.
    pub fn zeros(n_values: usize, device: &Device) -> Self {
        let zeros = |dynamic: &Dynamic| Blocks {
            codes: bytes(vec![dynamic.code(0.0); n_values], device),
            absmax: Tensor::zeros([n_values.div_ceil(BLOCK)], device),
        };
        Self { first: zeros(&dynamic::SIGNED), second: zeros(&dynamic::UNSIGNED) }
    }

    /// In f32, as an update sees them.
    pub fn dequantize(&self, shape: [usize; 2]) -> Moments {
        Moments {
            first: self.first.dequantize(&dynamic::SIGNED).reshape(shape),
            second: self.second.dequantize(&dynamic::UNSIGNED).reshape(shape),
        }
    }
}

impl Blocks {
    fn dequantize(&self, dynamic: &Dynamic) -> Tensor<1> {
        let (n_values, device) = (self.codes.dims()[0], self.codes.device());
        let absmax = self.absmax.clone().reshape([-1, 1]).expand([-1, BLOCK as i64]);
        let absmax: Tensor<1> = absmax.reshape([-1]);
        let levels = table(&dynamic.levels, &device).select(0, self.codes.clone().cast(DType::I32));
        levels * absmax.narrow(0, 0, n_values)
    }

    fn quantize(values: Tensor<1>, dynamic: &Dynamic) -> Self {
        let (n_values, device) = (values.dims()[0], values.device());
        let n_blocks = n_values.div_ceil(BLOCK);
        let missing = Tensor::zeros([n_blocks * BLOCK - n_values], &device);
        let blocks: Tensor<2> = Tensor::cat(vec![values, missing], 0).reshape([n_blocks, BLOCK]);
        let absmax = blocks.clone().abs().max_dim(1); // [blocks, 1]
        let scaled: Tensor<1> = (blocks / absmax.clone().clamp_min(MIN_SCALE)).reshape([-1]);
        let bounds = table(&dynamic.bounds, &device).reshape([1, -1]);
        let mut codes = Vec::new();
        for start in (0..n_values).step_by(PLAIN_VALUES) {
            let n = PLAIN_VALUES.min(n_values - start);
            let values: Tensor<2> = scaled.clone().narrow(0, start, n).reshape([n, 1]);
            let shape = [n, dynamic.bounds.len()];
            let above = values.expand(shape).greater(bounds.clone().expand(shape)).int();
            let above: Tensor<1, Int> = above.sum_dim(1).reshape([n]);
            codes.push(above.cast(DType::U8));
        }
        Self { codes: Tensor::cat(codes, 0), absmax: absmax.reshape([n_blocks]) }
    }
}

/// Updates `weight` and its moments with `gradient`.
pub fn update(
    kernels: Kernels,
    weight: &mut Tensor<2>,
    gradient: &Tensor<2>,
    moments: &mut BlockMoments,
    coefficients: &Coefficients,
) {
    match kernels {
        Kernels::Plain | Kernels::Cube(_) => {
            let mut exact = moments.dequantize(weight.dims());
            adamw::update(kernels, weight, gradient, &mut exact, coefficients);
            moments.first = Blocks::quantize(exact.first.reshape([-1]), &dynamic::SIGNED);
            moments.second = Blocks::quantize(exact.second.reshape([-1]), &dynamic::UNSIGNED);
        }
        Kernels::Cpu => {
            let gradient = cpu::tensor::values(gradient);
            let BlockMoments { first, second } = moments;
            cpu::tensor::modify(weight, |p| {
                first.modify(|first| {
                    second.modify(|second| cpu::adamw8bit::update(p, &gradient, first, second, coefficients));
                });
            });
        }
    }
}

impl Blocks {
    fn modify(&mut self, change: impl FnOnce(cpu::adamw8bit::BlocksMut<'_>)) {
        let Self { codes, absmax } = self;
        cpu::tensor::modify_bytes(codes, |codes| {
            cpu::tensor::modify(absmax, |absmax| change(cpu::adamw8bit::BlocksMut { codes, absmax }));
        });
    }
}

fn table(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// A tensor of bytes.
pub fn bytes(values: Vec<u8>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), (device, DType::U8))
}
