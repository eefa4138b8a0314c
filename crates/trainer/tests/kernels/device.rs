//! Where the kernels run, and how results are compared.

use std::sync::OnceLock;

use burn::tensor::{DType, Device, DeviceType, Tensor};
use ftl_trainer::kernels::{Gpu, Kernels, Precision};

/// A GPU, or what stands for one; `None` where there is nothing.
pub fn device() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    DEVICE.get_or_init(find).clone()
}

/// Whether it is an NVIDIA GPU.
pub fn is_cuda() -> bool {
    !Device::enumerate(DeviceType::Cuda).into_vec().is_empty()
}

fn find() -> Option<Device> {
    let found = is_cuda().then(|| Device::cuda(0)).or_else(vulkan);
    if found.is_none() {
        eprintln!(
            "skipped: no GPU and, with the feature vulkan, no software Vulkan (Debian's mesa-vulkan-drivers)"
        );
    }
    found
}

#[cfg(feature = "vulkan")]
fn vulkan() -> Option<Device> {
    let exists = !Device::enumerate(DeviceType::Wgpu).into_vec().is_empty();
    exists.then(|| Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "vulkan"))]
fn vulkan() -> Option<Device> {
    None
}

/// Kernels that compute in `f32`.
pub const F32: Gpu = Gpu { precision: Precision::F32 };

/// The same as the value that operations take.
pub const KERNELS: Kernels = Kernels::Cube(F32);

/// The kernels of each type that the device computes in, and how close they come to f32, relative to the largest value.
pub fn computing(device: &Device) -> Vec<(Kernels, f32)> {
    let all = [(Precision::F32, 1e-5), (Precision::Bf16, 2e-2), (Precision::F16, 3e-3)];
    let known = all.into_iter().filter(|(precision, _)| device.supports_dtype(precision.dtype()));
    known.map(|(precision, tolerance)| (Kernels::Cube(Gpu { precision }), tolerance)).collect()
}

/// The GPU behind kernels.
pub fn gpu_of(kernels: Kernels) -> Gpu {
    match kernels {
        Kernels::Cube(gpu) => gpu,
        Kernels::Plain | Kernels::Cpu => panic!("not a GPU's"),
    }
}

/// Whether it is fast enough for shapes like those of real models.
pub fn is_fast(device: &Device) -> bool {
    Device::enumerate(DeviceType::Cuda).into_vec().contains(device)
}

/// The values of a tensor in row order.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().expect("the tensor was made f32")
}

/// Fails if values differ by more than `tolerance` of the largest wanted one.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: as many values");
    let largest = want.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs();
        assert!(difference <= tolerance * largest.max(1e-6), "{what}: value {index} is {got}, not {want}");
    }
}
