//! The outside of the service: what it answers over gRPC, whom it lets in, and what it refuses.

mod configs;
mod dataset_reports;
mod datasets;
mod doors;
mod follow;
mod guards;
mod inference;
mod jobs;
mod methods;
mod models;
mod names;
mod panics;
mod program;
mod raw;
mod storage;
mod support;
mod system;
mod uploads;
