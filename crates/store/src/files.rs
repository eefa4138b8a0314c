//! What jobs made, as their workers reported it.

use std::path::Path;

use diesel::prelude::*;
use ftl_core::JobId;
use ftl_core::job::Artifact;

use crate::events::must_exist;
use crate::rows::files::ArtifactRow;
use crate::schema::artifacts;
use crate::{Reply, Store};

impl Store {
    /// What the job made, oldest first. One that was written again to the same place is listed once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`](crate::StoreError::NotFound) without such a job.
    pub fn artifacts(&self, id: &JobId) -> Reply<Vec<Artifact>> {
        let job = id.clone();
        self.read(move |connection| {
            must_exist(connection, job.as_str())?;
            let rows = artifacts::table
                .filter(artifacts::job.eq(job.as_str()))
                .order(artifacts::seq)
                .select(ArtifactRow::as_select())
                .load(connection)?;
            Ok(rows.into_iter().map(Artifact::try_from).collect::<Result<_, _>>()?)
        })
    }
}

/// All bytes of a file, or of the files of a directory; an artifact's event does not tell. What can't be read counts as
/// 0, since the artifact is reported all the same.
pub(crate) fn bytes_at(path: &Path) -> u64 {
    // Not through links: a directory that links to itself has no end.
    let Ok(facts) = path.symlink_metadata() else { return 0 };
    if !facts.is_dir() {
        return facts.len();
    }
    let entries = path.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| bytes_at(&entry.path())).sum()
}
