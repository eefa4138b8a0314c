//! Tasks that read a whole checkpoint.

use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use ftl_trainer::checkpoint::verify;
use ftl_trainer::export::checkpoint::copy_loadable;

use super::link::Link;
use super::small::Trouble;
use crate::worker::message::FromWorker;

pub(super) fn verify_checkpoint(link: &Link, path: &Path) -> Result<(), Trouble> {
    // A difference is the answer, not a failure.
    let problem = verify(path).err();
    Ok(link.send(&FromWorker::Verified { problem })?)
}

pub(super) fn export(link: &Link, path: &Path, to: &Path) -> Result<(), Trouble> {
    verify(path)?;
    let copied = copy_loadable(path, to).map_err(|error| {
        let reason =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Problem::new(ProblemKind::Storage, format!("{error}{reason}"))
            .at("path")
            .hint("make room on the disk, or name another directory")
    })?;
    Ok(link.send(&FromWorker::Copied { bytes: copied })?)
}
