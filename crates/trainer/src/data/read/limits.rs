//! How much of a file is in memory at once. All of it is independent of how large the file is.

/// What a lot holds at least, unless the file ends: enough that handing it to another thread costs nothing beside
/// parsing it, little enough that those in flight fit the caches of a desktop.
pub(super) const LOT_BYTES: usize = 1 << 20;

/// The largest row. Contexts of today's models end at some millions of tokens, about 4 bytes each; beyond that a "row"
/// is mostly a file whose line ends or closing quotes are missing.
pub(super) const MAX_ROW_BYTES: usize = 64 << 20;

/// What a row may take in memory, about: the parts of a JSON value are larger than their text (`[],` is 3 bytes and
/// becomes 40), so a row far below [`MAX_ROW_BYTES`] could fill the memory.
pub(super) const MAX_VALUE_BYTES: usize = 256 << 20;

/// The largest file of plain text, which is one sample.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 30;

/// How much of a file is looked at to see what it is.
pub(super) const HEAD_BYTES: usize = 1 << 16;
