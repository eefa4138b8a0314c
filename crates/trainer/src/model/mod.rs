//! The model: its files, the decoder they describe, and its passes.

pub mod block;
pub mod build;
pub mod config;
pub mod decoder;
pub mod families;
pub mod fingerprint;
pub mod json_file;
pub mod open;
pub mod rope;
mod rough;
pub mod tensor_file;
pub mod vocabulary;
pub mod weights;
