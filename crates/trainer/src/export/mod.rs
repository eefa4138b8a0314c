//! What a run or a user gets out of the engine, as files that other programs read.

pub mod checkpoint;
pub mod directory;
