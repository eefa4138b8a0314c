//! To be written.

pub mod config;
pub mod families;
pub mod json_file;
pub mod tensor_file;
pub mod weights;
