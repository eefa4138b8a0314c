//! The outside of the service: what it answers over gRPC, whom it lets in, and what it refuses.

mod checkpoints;
mod configs;
mod dataset_reports;
mod datasets;
mod doctor;
mod doors;
mod follow;
mod guards;
mod http1;
mod inference;
mod jobs;
mod limits;
mod matrix;
mod methods;
mod metrics;
mod models;
mod names;
mod panics;
mod program;
mod queue;
mod raw;
mod support;
mod system;
mod systemd;
mod uploads;
mod web;
