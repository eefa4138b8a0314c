//! What a job is asked to do: as the user writes it ([`JobSpec`]), and as the engine reads it ([`CheckedSpec`]).
//!
//! The way of a spec: a file in TOML, JSON or YAML becomes one value tree (`read`), the tree is compared with the
//! JSON Schema of [`JobSpec`], and [`JobSpec::check`] judges ranges and combinations and fills in every default
//! (`judge`). Nothing here opens a file that the spec names: that is the engine's preflight.

mod asked;
mod defaults;
mod judge;
mod read;
pub mod resolved;
mod schema;
mod write;

pub use asked::{
    AdapterKind, AdapterSpec, DataSpec, DeviceSpec, EvalSpec, JobSpec, LossType, LrSchedulerKwargs,
    LrSchedulerType, MaxMemory, MethodKind, MethodSpec, ModelSpec, Optim, PredictionsSpec, QuantizationKind,
    QuantizationSpec, TrainFileSpec, TrainSpec,
};
pub use resolved::CheckedSpec;
