//! What goes over the wire: the code generated from `proto/`, the descriptor set, and every conversion to and from
//! core's types, one file per topic.
//!
//! The way out is `From` and can't fail. The way in is `TryFrom` with a [`WireError`] that names the message and the
//! field; where nothing can be wrong, it is `From` too. Enums are numbers in messages, see [`Numbered`].
//!
//! - An unspecified enum means "absent" where core's field is an `Option`, and is refused elsewhere.
//! - Messages carry text alone: of a path that is no UTF-8, what can't be shown is replaced by `�`.
//! - A field that can't be absent has no -0: it arrives as 0.
//! - Moments are whole milliseconds since 1970; see [`time`].

pub mod checkpoint;
pub mod config;
pub mod dataset;
pub mod dataset_report;
pub mod details;
mod error;
pub mod event;
pub mod inference;
pub mod job;
pub mod model;
mod numbered;
pub mod page;
pub mod plan;
pub mod prediction;
pub mod problem;
mod queue;
pub mod spec;
pub mod state;
pub mod storage;
pub mod system;
pub mod time;

use std::path::PathBuf;

pub use error::{WireError, each, required};
pub use numbered::Numbered;

/// Package `ftl.v1` as generated. `tests/wire_generated.rs` writes it and watches that it stays true.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::semicolon_if_nothing_returned,
    reason = "generated: its documentation is in proto/, and which lints it meets changes with the generator"
)]
pub mod v1 {
    include!("generated/ftl.v1.rs");
}

/// Every message and service of `ftl.v1` and of what it imports, as a `FileDescriptorSet`; for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor.bin");

/// A path as text.
fn text(path: PathBuf) -> String {
    match path.into_os_string().into_string() {
        Ok(text) => text,
        Err(other) => other.to_string_lossy().into_owned(),
    }
}
