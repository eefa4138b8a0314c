//! What a job is asked to do: as the user writes it ([`JobSpec`]), and as the engine reads it ([`CheckedSpec`]).
//!
//! The way of a spec: a file in TOML, JSON or YAML becomes one value tree (`read`), the tree is compared with the
//! JSON Schema of [`JobSpec`], and [`JobSpec::check`] judges ranges and combinations and fills in every default
//! (`judge`). Nothing here opens a file that the spec names: that is the engine's preflight.
//!
//! ```
//! use ftl_core::spec::{AdapterKind, AdapterSpec, DataSpec, JobSpec, MethodKind, MethodSpec, ModelSpec};
//!
//! let spec = JobSpec {
//!     model: ModelSpec { path: Some("models/Qwen3-0.6B".into()), ..ModelSpec::default() },
//!     data: DataSpec { train: vec!["data/train.jsonl".into()], ..DataSpec::default() },
//!     method: MethodSpec { kind: Some(MethodKind::Sft), ..MethodSpec::default() },
//!     adapter: AdapterSpec { kind: Some(AdapterKind::Lora), r: Some(0), ..AdapterSpec::default() },
//!     ..JobSpec::default()
//! };
//! let problems = spec.check().unwrap_err();
//! assert_eq!(
//!     problems[0].to_string(),
//!     "adapter.r: 0 is out of range, expected 1 to 65536; 8 to 64 is usual"
//! );
//! ```

mod asked;
mod columns;
mod defaults;
mod judge;
mod read;
pub mod resolved;
mod schema;
mod template;
mod write;

pub use asked::{
    AdapterKind, AdapterSpec, DataSpec, DeviceSpec, EvalSpec, JobSpec, LossType, LrSchedulerKwargs,
    LrSchedulerType, MaxMemory, MethodKind, MethodSpec, ModelSpec, Optim, PredictionsSpec, QuantizationKind,
    QuantizationSpec, TrainFileSpec, TrainSpec,
};
pub use columns::{Columns, Field, UnknownField};
pub use resolved::CheckedSpec;
pub use template::{BUILT_IN_TEMPLATES, names_built_in_template};
