//! FineTune Lab's training engine.

pub mod adapter;
pub mod bench;
pub mod checkpoint;
pub mod data;
pub mod device;
pub mod doctor;
pub mod error;
pub mod export;
pub mod generate;
pub mod inspect;
pub mod kernels;
pub mod memory;
pub mod model;
pub mod ops;
pub mod optim;
pub mod score;
pub mod train;
