//! To be written.

pub mod peft;
