//! Kernels for GPUs, written in CubeCL: one source for CUDA C++ and SPIR-V.
//!
//! Each replaces the plain version of an operation in [`crate::ops`], which is its reference in the tests. A kernel reads
//! and writes activations in the type of the computation and reckons in `f32`. Tensors are made contiguous before a
//! launch, since a burn tensor may have padded rows.

pub mod adamw;
pub mod adamw8bit;
pub mod attention;
pub mod cross_entropy;
pub mod gated_mlp;
pub mod global_norm;
mod grid;
pub mod lora;
pub mod matmul;
pub mod nf4;
pub mod norm;
pub mod norm_weight;
pub mod qk_norm;
pub mod random;
mod reduce;
pub mod rope;
pub mod rows;
pub mod tensor;
pub mod variants;
mod wgmma;

use burn::tensor::{DType, Device};

use super::{Kernels, Precision};

/// How a GPU computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// The type of activations and frozen weights.
    pub precision: Precision,
}

impl Gpu {
    /// The type of activations.
    pub fn dtype(self) -> DType {
        self.precision.dtype()
    }
}

/// The kernels of a device that is not the CPU.
pub fn kernels_of(_device: &Device, precision: Precision) -> Kernels {
    Kernels::Cube(Gpu { precision })
}
