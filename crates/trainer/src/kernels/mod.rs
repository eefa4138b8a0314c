//! Which code computes an operation of [`crate::ops`].
//!
//! Every operation has a plain version, written with burn tensors, that runs on any device and is the
//! reference of the tests. Where plain tensors are too slow on a device, a kernel replaces it.

pub mod cpu;

use burn::tensor::Device;

/// Which code computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// burn tensor operations, on any device.
    Plain,
    /// Fused loops over `f32` slices, on burn's flex device.
    Cpu,
}

impl Kernels {
    /// The fastest that `device` can run.
    pub fn of(device: &Device) -> Self {
        if *device == Device::flex() { Self::Cpu } else { Self::Plain }
    }
}
