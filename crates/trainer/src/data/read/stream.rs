//! A file as a stream of UTF-8 after its beginning was looked at, and what cuts such a stream into lots.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use ftl_core::dataset::Code;
use ftl_core::{Problem, ProblemKind};

use super::Refusal;
use super::lot::Body;

/// Cuts a file into lots, in one thread.
pub(super) trait Cut {
    /// The next lot; `None` at the end, and after an error. `notes` takes what turns out only on the way.
    fn cut(&mut self, notes: &mut Vec<String>) -> Result<Option<Body>, Refusal>;
}

/// The text of a file: compression and encoding are undone.
pub(super) struct Input {
    path: Arc<Path>,
    /// Read already, to see what the file is.
    head: Vec<u8>,
    rest: Box<dyn Read + Send>,
}

impl Input {
    pub(super) fn new(path: Arc<Path>, rest: Box<dyn Read + Send>) -> Self {
        Self { path, head: Vec::new(), rest }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was looked at.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Looks further ahead, up to `n_bytes` from the beginning or the file's end; says whether the end is in sight.
    pub(super) fn look(&mut self, n_bytes: usize) -> Result<End, Refusal> {
        let mut head = std::mem::take(&mut self.head);
        let wanted = n_bytes.saturating_sub(head.len());
        let n_read = read(&mut self.rest, &mut head, wanted).map_err(|error| unread(&self.path, &error));
        self.head = head;
        Ok(if n_read? < wanted { End::InSight } else { End::Further })
    }

    /// Leaves out what comes first, of what was looked at.
    pub(super) fn leave_out(&mut self, n_bytes: usize) {
        self.head.drain(..n_bytes);
    }

    /// Appends up to `n_bytes`; says how many, which is fewer only at the end.
    pub(super) fn fill(&mut self, bytes: &mut Vec<u8>, n_bytes: usize) -> Result<usize, Refusal> {
        if !self.head.is_empty() {
            let n_taken = self.head.len();
            if bytes.is_empty() {
                *bytes = std::mem::take(&mut self.head);
            } else {
                bytes.append(&mut self.head);
                self.head = Vec::new();
            }
            return Ok(n_taken + self.fill(bytes, n_bytes.saturating_sub(n_taken))?);
        }
        read(&mut self.rest, bytes, n_bytes).map_err(|error| unread(&self.path, &error))
    }
}

/// Where a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Within what was looked at.
    InSight,
    /// Perhaps later.
    Further,
}

fn read(from: &mut (dyn Read + Send), bytes: &mut Vec<u8>, n_bytes: usize) -> io::Result<usize> {
    bytes.reserve(n_bytes);
    from.take(n_bytes as u64).read_to_end(bytes)
}

/// A file that is compressed or encoded in a way that can't be undone; travels as an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damage(pub String);

/// What is said of a file that can't be read.
pub(super) fn unread(path: &Path, error: &io::Error) -> Refusal {
    if let Some(damage) = error.get_ref().and_then(|inner| inner.downcast_ref::<Damage>()) {
        return Refusal::new(Code::UnreadableFile, path, damage).hint("download or pack it again");
    }
    // From a decoder that reads another input.
    if let Some(refusal) = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>()) {
        return refusal.clone();
    }
    let message = format!("the file can't be read: {error}");
    let problem = Problem::new(ProblemKind::NotFound, message).at(path.display().to_string());
    Refusal { code: Code::UnreadableFile, problem }
}
