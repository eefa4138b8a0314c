//! What a run leaves on disk so that it can go on: written whole or not at all, checked before it is used.
//!
//! ```text
//! DIR/spec.resolved.json  events.jsonl  digests.jsonl  report.json
//! DIR/start.json          the checkpoint of another run that this one started from
//! DIR/checkpoint-500/     model or adapter, optimizer, states, MANIFEST.json
//! DIR/final/              the result, MANIFEST.json
//! DIR/reference/          dpo: what the reference model says to the pairs, MANIFEST.json
//! ```
//!
//! A directory is filled under a `.tmp-` name, every file is synced, `MANIFEST.json` (size and SHA-256 of each file)
//! is written last, and one rename makes it appear. What goes into it is the training loop's business.

pub mod layout;
mod load;
mod manifest;
mod retain;
mod save;

pub use load::{Checkpoint, Damaged, Found, list, newest_valid, verify};
pub use manifest::{Manifest, ManifestFile};
pub use retain::retain_newest;
pub use save::{Saved, remove_leftovers, save, write_file};
