//! FineTune Lab's training engine: LoRA and full fine-tuning of language models, as a library.
//!
//! It is given a checked spec and reports events; it knows no job, no database and no network. The API on one page:
//!
//! | to | call |
//! |---|---|
//! | train as a spec says | [`train::train`] |
//! | know how much memory that takes | [`plan::plan`] |
//! | open a model directory | [`model::open::open_decoder`], then [`adapter::open::attach_directory`] |
//! | score tokens | [`score::score`] |
//! | go on from a prompt | [`generate::prompt`], then [`generate::generate`] |
//! | see a conversation as the model does | [`data::encode::Encoder::view`] |
//! | describe a model or adapter directory | [`inspect::inspect`] |
//! | judge a dataset, or show its rows | [`data::report`], [`data::preview`], [`data::render`] |
//! | compare two runs, or check one's files | [`verify::compare`], [`verify::check`] |
//! | find out what a machine can do | [`doctor::diagnose`] |
//! | measure speed and memory | [`bench::bench`] |
//!
//! ```no_run
//! use ftl_core::{Event, JobSpec, StopSignal};
//! use ftl_trainer::train::{Begin, train};
//!
//! # fn main() -> Result<(), ftl_trainer::error::TrainError> {
//! let spec = JobSpec::read("examples/first-run.toml")?.check()?;
//! let mut observer = |event: &Event| {
//!     if let Event::Stepped(stepped) = event {
//!         eprintln!("step {}: loss {:.4}", stepped.step, stepped.loss_nats);
//!     }
//! };
//! train(&spec, ("runs/first".as_ref(), Begin::New), &mut observer, &StopSignal::new())?;
//! # Ok(())
//! # }
//! ```
//!
//! There is no autodiff graph: every operation in [`ops`] has a forward and a backward, [`model::block`] composes
//! them, and [`kernels`] replaces them by fused loops where that pays.

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
pub mod methods;
pub mod model;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod quant;
pub mod score;
pub mod sha256;
pub mod train;
pub mod verify;
