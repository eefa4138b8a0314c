//! Bytes on the heap or of a mapped file.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::Mmap;

/// What is read of a file before its pages are given back. Many steps of a run, and little beside a model.
const KEPT_BYTES: usize = 32 << 20;

/// Bytes that do not change.
pub enum Bytes {
    /// On the heap.
    Heap(Vec<u8>),
    /// Of a file. It may be unlinked, but nobody writes to it: who makes another renames it into place.
    Mapped {
        /// The file's pages.
        map: Mmap,
        /// Bytes read since pages were given back.
        touched: AtomicUsize,
    },
}

impl Bytes {
    /// Maps a file.
    ///
    /// # Errors
    /// What the system says.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: a map is only as constant as its file. Files of samples are never written to once they have their
        // name: they are replaced or unlinked, which leaves a map as it is.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped { map, touched: AtomicUsize::new(0) })
    }

    /// Whether they are those of a file.
    pub fn is_mapped(&self) -> bool {
        match self {
            Self::Heap(_) => false,
            Self::Mapped { .. } => true,
        }
    }

    /// Takes note that so many bytes are read, and gives pages back after many: otherwise a run over a large file would
    /// hold all of it, in the eyes of who looks at its memory.
    pub fn touch(&self, n_bytes: usize) {
        let Self::Mapped { touched, .. } = self else { return };
        if touched.fetch_add(n_bytes, Ordering::Relaxed) + n_bytes >= KEPT_BYTES {
            touched.store(0, Ordering::Relaxed);
            self.forget();
        }
    }

    #[cfg(unix)]
    fn forget(&self) {
        let Self::Mapped { map, .. } = self else { return };
        // SAFETY: the pages of a shared map of a file hold nothing of their own: dropped ones are read from the file
        // again when touched, also while another thread reads them.
        let advised = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        // Refused advice costs memory, not correctness.
        drop(advised);
    }

    #[cfg(not(unix))]
    fn forget(&self) {}
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped { map, .. } => map,
        }
    }
}
