//! Which code computes an operation of [`crate::ops`].
//!
//! Every operation has a plain version, written with burn tensors, that runs on any device and is the
//! reference of the tests. Where plain tensors are too slow on a device, a kernel replaces it.

pub mod cpu;
#[cfg(feature = "cube")]
pub mod cube;
#[cfg(not(feature = "cube"))]
#[path = "no_cube.rs"]
pub mod cube;

pub use cube::Gpu;

use std::fmt;

use burn::tensor::{DType, Device, Tensor};

/// The number that stands for a row of zeros, where a kernel takes rows by their numbers.
pub const NO_ROW: u32 = u32::MAX;

/// Which code computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// burn tensor operations in `f32`, on any device.
    Plain,
    /// Fused loops over `f32` slices, on burn's flex device.
    Cpu,
    /// CubeCL kernels, on a GPU. Without the feature `cube` there is no such value.
    Cube(Gpu),
}

/// The type of activations and frozen weights. What must be exact is `f32` whatever this says: statistics of norms
/// and attention, losses, gradients of weights, trained weights and their moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with the range of `f32`.
    Bf16,
    /// 16 bits, for GPUs that can't compute in `bf16`.
    F16,
}

impl Precision {
    /// burn's name.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl Kernels {
    /// The fastest that `device` can run.
    pub fn of(device: &Device, precision: Precision) -> Self {
        // Devices that record for autodiff compare equal to those that don't, and their tensors have neither slices nor
        // buffers.
        if device.is_autodiff() {
            return Self::Plain;
        }
        if *device == Device::flex() { Self::Cpu } else { cube::kernels_of(device, precision) }
    }

    /// The type of activations and frozen weights.
    pub fn dtype(self) -> DType {
        match self {
            Self::Plain | Self::Cpu => DType::F32,
            Self::Cube(gpu) => gpu.dtype(),
        }
    }

    /// What the plain version of an operation makes, in the type of activations. Where a GPU has no kernel for an
    /// operation the plain version stands in, between [`wide`] and this.
    pub fn narrow<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        cast(tensor, self.dtype())
    }
}

/// A tensor in `f32`, as plain versions compute.
pub fn wide<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    cast(tensor.clone(), DType::F32)
}

/// A product, its result in the type `out`. On a GPU both sides are read in the type of activations.
pub fn matmul(kernels: Kernels, (a, b): (&Tensor<2>, &Tensor<2>), out: DType) -> Tensor<2> {
    match kernels {
        Kernels::Plain | Kernels::Cpu => a.clone().matmul(b.clone()),
        Kernels::Cube(gpu) => {
            let [a, b] = [a, b].map(|side| kernels.narrow(side.clone()));
            cube::matmul::product(gpu, (&a, &b), out)
        }
    }
}

/// A tensor in another type, or itself where it has it.
pub fn cast<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    if tensor.dtype() == dtype { tensor } else { tensor.cast(dtype) }
}
