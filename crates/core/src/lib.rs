//! The vocabulary of FineTune Lab: what a job is asked to do, what it reports, and how it is refused or stopped.
//!
//! Everything here is plain data. The crate knows no tensors, no network and no database; every other crate
//! speaks in its types.
//!
//! # Glossary
//!
//! - *job*: one fine-tuning run as the user asked for it; its [`spec`] never changes.
//! - *attempt*: one process working on a job; a resumed job has several.
//! - *step*: one optimizer update.
//! - *microbatch*: one forward and backward pass; `gradient_accumulation_steps` of them make a step.
//! - *sample*: one example of the dataset.
//! - *row*: one packed line of tokens; without packing it holds one sample.
//! - *segment*: a stretch of a row in which attention and prediction stay; one sample.
//! - *token*: one id of the model's vocabulary; *supervised* when the loss counts it.

pub mod config;
pub mod dataset;
pub mod error;
pub mod event;
pub mod id;
pub mod inference;
pub mod job;
pub mod metrics;
pub mod model;
pub mod observe;
pub mod page;
pub mod plan;
pub mod signals;
pub mod spec;
pub mod stop;
pub mod system;

pub use error::{Problem, ProblemKind};
pub use event::{Event, EventRecord};
pub use id::{ConfigId, DatasetId, JobId, ModelId};
pub use observe::Observer;
pub use page::{Page, PageRequest};
pub use signals::{SaveSignal, Signals};
pub use spec::{CheckedSpec, JobSpec};
pub use stop::{StopReason, StopSignal};
