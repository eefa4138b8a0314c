//! One tensor in 4 bits.

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ftl_core::spec::resolved;

use super::double::{self, DoubleQuantized, NESTED_BLOCK};
use super::dynamic;
use super::nf4::{BLOCK, LEVELS, n_blocks, n_code_bytes};
use crate::kernels::cpu;

/// A tensor in 4-bit NormalFloat, its values in row order.
#[derive(Clone, Debug)]
pub struct Nf4Tensor {
    n_values: usize,
    /// Two codes in each byte, filled up to whole words of 32 bits, in which GPUs read them.
    codes: Tensor<1, Int>,
    scales: Scales,
}

/// The scales of the blocks.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few for each block, and each is used in place")]
pub enum Scales {
    /// In f32.
    Single(Tensor<1>),
    /// `SIGNED[codes[i]] · absmax[i / 256] + offset`.
    Double {
        /// A code for each block.
        codes: Tensor<1, Int>,
        /// A scale for each 256 codes.
        absmax: Tensor<1>,
        /// The mean of the scales.
        offset: f32,
    },
}

/// The numbers of a tensor, as files hold them.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredScales {
    /// One f32 for each 64 values.
    Single(Vec<f32>),
    /// Those in 8 bits.
    Double(DoubleQuantized),
}

impl Nf4Tensor {
    /// Of codes and scales that somebody else made.
    ///
    /// # Panics
    /// If there are not as many of them as `n_values` need.
    pub fn new(n_values: usize, codes: Vec<u8>, scales: StoredScales, device: &Device) -> Self {
        assert_eq!(codes.len(), n_code_bytes(n_values), "a code for each value");
        let scales = match scales {
            StoredScales::Single(scales) => {
                assert_eq!(scales.len(), n_blocks(n_values), "a scale for each block");
                Scales::Single(Tensor::from_data(data(scales), device))
            }
            StoredScales::Double(DoubleQuantized { codes, absmax, offset }) => {
                assert_eq!(codes.len(), n_blocks(n_values), "a scale for each block");
                assert_eq!(absmax.len(), codes.len().div_ceil(NESTED_BLOCK), "a scale for each 256 scales");
                let absmax = Tensor::from_data(data(absmax), device);
                Scales::Double { codes: bytes(codes, device), absmax, offset }
            }
        };
        Self { n_values, codes: bytes(codes, device), scales }
    }

    /// How many values it has.
    pub fn n_values(&self) -> usize {
        self.n_values
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.codes.device()
    }

    /// Two codes in each byte, and zeros up to a whole word of 32 bits.
    pub fn codes(&self) -> &Tensor<1, Int> {
        &self.codes
    }

    /// The scales of the blocks. Their codes are filled up like those of the values.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// What it takes in memory.
    pub fn n_bytes(&self) -> usize {
        let scales = match &self.scales {
            Scales::Single(scales) => scales.dims()[0] * size_of::<f32>(),
            Scales::Double { codes, absmax, .. } => codes.dims()[0] + absmax.dims()[0] * size_of::<f32>(),
        };
        self.codes.dims()[0] + scales
    }

    /// All values, with burn tensor operations: the reference, on any device.
    pub fn dequantize(&self) -> Tensor<1> {
        let device = self.codes.device();
        let table = |levels: &[f32]| Tensor::<1>::from_data(data(levels.to_vec()), &device);
        let pairs = self.codes.clone().narrow(0, 0, n_code_bytes(self.n_values)).cast(DType::I32);
        let high = pairs.clone().div_scalar(16);
        let low = pairs - high.clone().mul_scalar(16);
        let codes: Tensor<2, Int> = Tensor::stack(vec![high, low], 1); // [bytes, 2]
        let values = table(&LEVELS).select(0, codes.reshape([-1]));
        let n_blocks = n_blocks(self.n_values);
        let missing = n_blocks * BLOCK - values.dims()[0];
        let padded = Tensor::cat(vec![values, Tensor::zeros([missing], &device)], 0);
        let scales = match &self.scales {
            Scales::Single(scales) => scales.clone(),
            Scales::Double { codes, absmax, offset } => {
                let codes = codes.clone().narrow(0, 0, n_blocks).cast(DType::I32);
                let levels = table(&dynamic::SIGNED.levels).select(0, codes);
                let absmax = absmax.clone().reshape([-1, 1]).expand([-1, NESTED_BLOCK as i64]);
                let absmax: Tensor<1> = absmax.reshape([-1]);
                levels * absmax.narrow(0, 0, n_blocks) + *offset
            }
        };
        let values = padded.reshape([n_blocks, BLOCK]) * scales.reshape([n_blocks, 1]);
        values.reshape([n_blocks * BLOCK]).narrow(0, 0, self.n_values)
    }

    /// Some values, in row order, on the CPU.
    ///
    /// # Panics
    /// If `out` is not as long as the range, or the tensor is on another device.
    pub fn dequantize_into(&self, range: Range<usize>, out: &mut [f32]) {
        assert!(range.end <= self.n_values && range.len() == out.len(), "values that are there");
        let codes = cpu::tensor::bytes(&self.codes);
        match &self.scales {
            Scales::Single(scales) => {
                let scales = cpu::tensor::values(scales);
                cpu::nf4::dequantize(&codes, |block| scales[block], range.start, out);
            }
            Scales::Double { codes: scale_codes, absmax, offset } => {
                let (scale_codes, absmax) = (cpu::tensor::bytes(scale_codes), cpu::tensor::values(absmax));
                let levels = &dynamic::SIGNED.levels;
                let scale = |block: usize| {
                    levels[usize::from(scale_codes[block])] * absmax[block / NESTED_BLOCK] + offset
                };
                cpu::nf4::dequantize(&codes, scale, range.start, out);
            }
        }
    }

    /// Codes and scales, as files hold them.
    pub fn stored(&self) -> (Vec<u8>, StoredScales) {
        let floats =
            |tensor: &Tensor<1>| tensor.to_data().try_into_vec().expect("the engine computes in f32");
        let bytes = |tensor: &Tensor<1, Int>, n: usize| {
            let mut bytes: Vec<u8> = tensor.to_data().try_into_vec().expect("codes are bytes");
            bytes.truncate(n);
            bytes
        };
        let scales = match &self.scales {
            Scales::Single(scales) => StoredScales::Single(floats(scales)),
            Scales::Double { codes, absmax, offset } => StoredScales::Double(DoubleQuantized {
                codes: bytes(codes, n_blocks(self.n_values)),
                absmax: floats(absmax),
                offset: *offset,
            }),
        };
        (bytes(&self.codes, n_code_bytes(self.n_values)), scales)
    }
}

/// Quantizes a tensor that comes in pieces, so that it need not be in memory whole.
#[derive(Debug)]
pub struct Quantizer {
    n_values: usize,
    n_done: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
}

impl Quantizer {
    /// For a tensor of `n_values`.
    pub fn new(n_values: usize) -> Self {
        let (codes, scales) = (vec![0; n_code_bytes(n_values)], vec![0.0; n_blocks(n_values)]);
        Self { n_values, n_done: 0, codes, scales }
    }

    /// Takes the next values in row order.
    ///
    /// # Panics
    /// If a piece that is not the last ends inside a block.
    pub fn push(&mut self, values: &[f32]) {
        assert!(self.n_done.is_multiple_of(BLOCK), "a piece ends with a block");
        let start = self.n_done;
        self.n_done += values.len();
        let codes = &mut self.codes[start / 2..n_code_bytes(self.n_done)];
        cpu::nf4::quantize(values, codes, &mut self.scales[start / BLOCK..n_blocks(self.n_done)]);
    }

    /// The tensor.
    ///
    /// # Panics
    /// If values are missing.
    pub fn finish(self, scales: resolved::Scales, device: &Device) -> Nf4Tensor {
        assert_eq!(self.n_done, self.n_values, "all values were given");
        let scales = match scales {
            resolved::Scales::F32 => StoredScales::Single(self.scales),
            resolved::Scales::Double => StoredScales::Double(double::quantize(&self.scales)),
        };
        Nf4Tensor::new(self.n_values, self.codes, scales, device)
    }
}

fn data<T: burn::tensor::Element>(values: Vec<T>) -> TensorData {
    let n = values.len();
    TensorData::new(values, [n])
}

fn bytes(mut values: Vec<u8>, device: &Device) -> Tensor<1, Int> {
    values.resize(values.len().next_multiple_of(size_of::<u32>()), 0);
    Tensor::from_data(data(values), (device, DType::U8))
}
