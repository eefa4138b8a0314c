//! Worker processes: whatever opens a model or a user's file, trains or answers does so in a process of its own, so
//! that a fault of a driver, a panic or the lack of memory ends one task and not the service.
//!
//! A worker is the same program, started as `ftl-server worker`. It finds its end of a socket pair on fd 3, stdin is
//! `/dev/null`, stdout and stderr go to a log of limited size.
//!
//! ```text
//! server                                   worker
//! workers, training, answers  (the handles)    child/       (the tasks)
//! connection  --- frame: message --->          child/link
//! spawn (fork, signals, reaping)  exit (codes and what they mean)  log  journal  lock
//! ```
//!
//! What a job's state becomes is `jobs`' business; this module says what happened.

mod answers;
mod child;
mod connection;
pub mod exit;
pub mod frame;
pub mod journal;
pub mod lock;
mod log;
pub mod message;
mod spawn;
mod training;
mod workers;

pub use answers::InferTask;
pub use child::{guarded, main};
pub use message::Given;
pub use training::{Ending, Report, TrainTask, Training};
pub use workers::{RenderTask, SplitTask, Workers};
