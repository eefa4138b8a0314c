//! What a run leaves on disk so that it can go on: written whole or not at all, checked before it is used.
//!
//! ```text
//! DIR/spec.resolved.json  events.jsonl  digests.jsonl  report.json
//! DIR/start.json          the checkpoint of another run that this one started from
//! DIR/checkpoint-500/     model or adapter, optimizer, states, MANIFEST.json
//! DIR/checkpoint-500.pinned       it stays, whatever `train.save_total_limit` says
//! DIR/damaged-checkpoint-600/     one that was not what was written when the run went on
//! DIR/final/              the result, MANIFEST.json
//! DIR/reference/          dpo: what the reference model says to the pairs, MANIFEST.json
//! ```
//!
//! A directory is filled under a `.tmp-` name, every file is synced, `MANIFEST.json` (size and SHA-256 of each file)
//! is written last, and one rename makes it appear. What goes into it is the training loop's business.

pub mod layout;
mod load;
mod manifest;
mod pin;
mod remove;
mod retain;
mod save;

pub use load::{Checkpoint, Damaged, Found, list, list_with_damaged, newest_valid, set_aside, verify};
pub use manifest::{Manifest, ManifestFile};
pub use pin::{Pinning, pin, pinned_steps, unpin};
pub use remove::{Removal, Removing, take_away};
pub use retain::retain_newest;
pub use save::{Saved, remove_leftovers, save, write_file};
pub(crate) use save::{sync_below, sync_dir};
