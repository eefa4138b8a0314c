//! LoRA adapters in PEFT's directory format: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Knows files, names and shapes; what an adapter computes is the rest of `adapter`'s business. Reference: PEFT
//! 0.21.2, `LoraConfig` and `save_pretrained`. Pickles are never read.

mod config;
mod layout;
mod read;
mod target;
mod tensors;

pub use config::AdapterConfig;
pub use layout::{KeptTensor, Layout, LowRank, Named, SavedModule};
pub use target::{Modules, Target};
pub use tensors::{AdapterWeights, write_adapter};

/// The adapter's shape.
pub const ADAPTER_CONFIG_JSON: &str = "adapter_config.json";
/// The adapter's weights.
pub const ADAPTER_MODEL_SAFETENSORS: &str = "adapter_model.safetensors";

/// What PEFT puts before a module's name: its own wrapper and the tuner's.
pub const PREFIX: &str = "base_model.model.";
