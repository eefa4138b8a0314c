//! The rows as diesel reads and writes them, each with its way from and to a core type. Nothing of this leaves the crate.
//!
//! A row is taken apart with a full pattern, and what can't be understood is named by table and column.

pub(crate) mod attempt;
pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod dataset;
pub(crate) mod dataset_report;
pub(crate) mod event;
pub(crate) mod files;
pub(crate) mod gpu_sample;
pub(crate) mod job;
pub(crate) mod metric;
pub(crate) mod model;
pub(crate) mod prediction;
pub(crate) mod value;
