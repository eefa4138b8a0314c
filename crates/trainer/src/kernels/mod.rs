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
        // Devices that record for autodiff compare equal to those that don't, and their tensors have no slices.
        if *device == Device::flex() && !device.is_autodiff() { Self::Cpu } else { Self::Plain }
    }
}
