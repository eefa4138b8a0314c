//! The store at its surface.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod append;
mod attempts;
mod check;
mod checkpoints;
mod configs;
mod crash;
mod dataset_reports;
mod datasets;
mod files;
mod given;
mod jobs;
mod kept;
mod migrations;
mod model_based;
mod models;
mod opening;
mod pages;
mod queue;
mod replay;
mod settings;
mod threads;
mod transitions;
mod watched;
