//! What FineTune Lab remembers: jobs, events, metrics, datasets, models, checkpoints and artifacts in one SQLite file.
//!
//! **Empty so far.** `ftl-train` needs no database: it writes what a run did to the run's folder.
//!
//! The crate will open the file, migrate it (`migrations/` at the top of the repository), write through one thread and
//! read through several connections. It speaks `ftl-core`'s types at its surface: rows never leave it. It decides
//! nothing about jobs, which is the server's business, knows no network and no tensors, and has no async code.
