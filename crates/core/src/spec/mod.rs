//! What a job is asked to do: as the user writes it, and as the engine reads it.

pub mod resolved;

pub use resolved::CheckedSpec;
