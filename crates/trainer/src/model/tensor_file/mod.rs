//! One safetensors file: opened and judged by its header, read tensor by tensor, written tensor by tensor.
//!
//! Knows names, shapes and numbers; which tensors there should be is the business of whoever opens it.
//! Format: 8 bytes of header length, a JSON header, then the numbers (huggingface/safetensors, README "Format").

mod convert;
mod read;
mod write;

pub use read::TensorFile;
pub use write::{NumberType, Numbers, TensorSpec, write_f32, write_tensors};

/// Where a file says what it is, as PyTorch's side of Hugging Face expects it.
pub const FORMAT_PT: (&str, &str) = ("format", "pt");
