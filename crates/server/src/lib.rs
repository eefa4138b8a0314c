//! FineTune Lab's service: jobs over gRPC, kept in SQLite, each worked on by a process of its own.
//!
//! ```text
//!  ftl, other programs          unix socket, or loopback TCP with a token
//!        |
//!        v
//!   connections           how many, and for how long without a request that is let in
//!   guard                 who may talk to the service
//!   telemetry             /metrics; below gRPC-Web, a span and a line for each request
//!   panics                a handler that panics answers INTERNAL
//!   grpc/                 convert, call, convert      status: errors as gRPC statuses
//!        |      \________________________________
//!        v                                       v
//!   jobs/   the queue, one supervisor      datasets/, resolve, presets, hugging_face
//!        |        \
//!        |         v
//!        |    worker/   processes that train, generate, and open models and data
//!        v
//!   ftl-store   SQLite; tells `commits` what is committed, which wakes the streams
//! ```
//!
//! [`serve`] starts all of it in this order: the data directory's lock, the store, the workers' spawner, the jobs
//! (which takes care of what a dead service left behind), the sockets. It ends in the opposite order within 30 seconds
//! of being told to.

// Whoever writes to stderr with a macro panics where the disk of the log is full.
#![warn(clippy::print_stderr)]

pub mod commits;
pub mod connections;
pub mod crash_reports;
pub mod data_dir;
pub mod datasets;
pub mod db;
pub mod demo;
pub mod doctor;
mod doors;
pub mod error;
pub mod grpc;
pub mod guard;
pub mod hugging_face;
pub mod jobs;
pub mod leases;
pub mod listen;
pub mod panics;
pub mod presets;
pub mod resolve;
mod serve;
pub mod status;
mod storage;
pub mod systemd;
pub mod telemetry;
pub mod token;
pub mod worker;

pub use doors::{Layers, server};
pub use serve::{Config, Ready, ServeError, serve, serve_and_tell};
