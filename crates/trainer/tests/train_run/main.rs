//! Whole runs, through the library and through the program: what they compute, how they stop and go on, what they
//! refuse, and what they leave on disk.

#![expect(clippy::print_stdout, reason = "a test that compares or skips says how far")]

mod adapters;
mod batches;
mod best;
mod cached;
mod checkpoints;
mod data_runs;
mod digests;
mod exact;
mod job;
mod loss_scale;
mod memory;
mod optimizer;
mod output;
mod parity;
mod planned;
mod predictions;
mod preferences;
mod program;
mod quantized;
mod refusals;
mod resume;
mod start;
mod text;
mod trajectories;
mod verify;
