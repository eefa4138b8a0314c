//! Every kernel as a value that needs no device, so that its CUDA C++ can be read and compiled on any computer.
//!
//! A kernel's file lists, beside the kernel, the types and compile-time numbers that it is launched with. Who turns them
//! into source is `tests/kernels_cuda_source.rs`; who compiles that, `scripts/check-kernels.py`.

use std::sync::Arc;

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use half::{bf16, f16};

/// The kernels of a device that need only be described.
pub struct Variants {
    device: Arc<DeviceProperties>,
    target: Arc<TargetProperties>,
    kernels: Vec<Box<dyn CubeKernel>>,
}

impl Variants {
    /// All kernels that can be launched on such a device.
    pub fn of(device: DeviceProperties, target: TargetProperties) -> Vec<Box<dyn CubeKernel>> {
        let (device, target) = (Arc::new(device), Arc::new(target));
        let mut variants = Self { device, target, kernels: Vec::new() };
        super::adamw::variants(&mut variants);
        super::adamw8bit::variants(&mut variants);
        super::attention::variants(&mut variants);
        super::cross_entropy::variants(&mut variants);
        super::gated_mlp::variants(&mut variants);
        super::global_norm::variants(&mut variants);
        super::lora::variants(&mut variants);
        super::nf4::variants(&mut variants);
        super::norm::variants(&mut variants);
        super::norm_weight::variants(&mut variants);
        super::qk_norm::variants(&mut variants);
        super::random::variants(&mut variants);
        super::rope::variants(&mut variants);
        super::rows::variants(&mut variants);
        super::wgmma::variants(&mut variants);
        variants.kernels
    }

    /// What the device can do: tensor cores, asynchronous copies.
    pub fn device(&self) -> &DeviceProperties {
        &self.device
    }

    /// Adds a kernel that runs in cubes of so many threads; see [`variant!`].
    pub fn add<K: CubeKernel>(
        &mut self,
        threads: CubeDim,
        kernel: impl FnOnce(KernelSettings, Arc<DeviceProperties>, Arc<TargetProperties>) -> K,
    ) {
        let settings = KernelSettings::new(threads.into(), ExecutionMode::Checked, AddressType::U32);
        self.kernels.push(Box::new(kernel(settings, self.device.clone(), self.target.clone())));
    }
}

/// The types of activations, each with how many of them a thread reads at once at most.
pub fn activations() -> [(ElemType, usize); 3] {
    [(f32::elem_type_native(), 4), (bf16::elem_type_native(), 8), (f16::elem_type_native(), 8)]
}

/// An argument that a launch gives: a buffer of its own, or a number.
pub trait AtRunTime {
    /// What is known of it when the kernel is compiled.
    fn argument() -> Self;
}

impl AtRunTime for BufferCompilationArg {
    fn argument() -> Self {
        Self { inplace: None }
    }
}

impl AtRunTime for () {
    fn argument() -> Self {}
}

/// Adds a kernel to [`Variants`]: the threads of its cubes, its type, an underscore for each argument at run time (buffers
/// and numbers, in the order of the signature; `(n)` for a `Sequence` of n of them), and then everything that is known at compile time: vector sizes, `comptime`
/// values and types, in the order of the signature.
///
/// ```text
/// variant!(variants, CubeDim::new_1d(128), forward_rows::ForwardRows, [_ _ _ _ _ _ _], 8, [bf16, bf16]);
/// ```
macro_rules! variant {
    ($variants:expr, $threads:expr, $kernel:ty, [$($argument:tt)*] $(, $comptime:expr)* $(,)?) => {
        $variants.add($threads, |settings, device, target| {
            <$kernel>::new(
                settings,
                device,
                target,
                $($crate::kernels::cube::variants::argument!($argument),)*
                $($comptime),*
            )
        })
    };
}
pub(super) use variant;

/// One argument of [`variant!`].
macro_rules! argument {
    (_) => {
        $crate::kernels::cube::variants::AtRunTime::argument()
    };
    (($n:expr)) => {
        (0..$n).map(|_| $crate::kernels::cube::variants::AtRunTime::argument()).collect()
    };
}
pub(crate) use argument;
