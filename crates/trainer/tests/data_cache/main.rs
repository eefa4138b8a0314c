//! The cache of tokenized data: never stale, never half, never in the way.

mod damage;
mod file;
mod job;
mod key;
mod processes;
mod stale;
mod version;
