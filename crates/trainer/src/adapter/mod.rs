//! Low-rank adapters: made, attached to a decoder, read and written as PEFT does.

pub mod lora;
pub mod merge;
pub mod open;
pub mod peft;
