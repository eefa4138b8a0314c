//! The GPU kernels against the plain versions of the operations, which run on the CPU.
//!
//! They run on the first CUDA device, or through Vulkan: on a computer without a GPU that is Mesa's software Vulkan, which
//! knows neither tensor cores nor bf16. Without any such device the tests say that they are skipped.

mod adamw;
mod attention;
mod cross_entropy;
mod device;
mod dropout;
mod gated_mlp;
mod lora;
mod nf4;
mod norm;
mod optimizer;
mod products;
mod qk_norm;
mod rope;
mod rows;

/// Shapes, segments and values come from here, so that a failure can be repeated.
mod random;
