//! Apache Parquet, flat or nested, as Hugging Face and pandas write it. Row groups are streamed, a page of each column at
//! a time. Lengths and types are judged before the library is asked, since it trusts them.

use std::any::Any;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ftl_core::dataset::Code;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::Row;
use parquet::record::reader::{ReaderIter, TreeBuilder};

use super::limits::LOT_BYTES;
use super::lot::Body;
use super::source::Medium;
use super::stream::Cut;
use super::{Refusal, schema};

/// What begins and ends a file.
const MAGIC: &[u8] = b"PAR1";
/// Smallest file: a mark, a footer of nothing, its length, a mark.
const MIN_BYTES: u64 = 12;
/// The largest page. Writers aim at 1 MiB; a single value may be larger, but hardly by this much.
const MAX_PAGE_BYTES: u64 = 256 << 20;
/// Most rows of a lot.
const MAX_LOT_ROWS: u64 = 4096;

/// The rows of a file.
pub(super) struct Parquet {
    path: Arc<Path>,
    reader: SerializedFileReader<Pages>,
    /// The next row group.
    group: usize,
    rows: Option<ReaderIter>,
    /// Rows so far.
    number: u64,
    n_per_lot: usize,
}

impl Parquet {
    /// Whether a file that begins with `head` is one.
    pub(super) fn is(head: &[u8]) -> bool {
        head.starts_with(MAGIC)
    }

    /// Reads the footer.
    ///
    /// # Errors
    /// A file that is cut off or damaged, or columns of types that can't be read.
    pub(super) fn open(path: &Arc<Path>, medium: Medium, notes: &mut Vec<String>) -> Result<Self, Refusal> {
        let pages = Pages(Arc::new(medium));
        let n_bytes = pages.len();
        let ends_well = n_bytes >= MIN_BYTES
            && pages.get_bytes(n_bytes - MAGIC.len() as u64, MAGIC.len()).is_ok_and(|end| end == MAGIC);
        if !ends_well {
            let what = "is cut off: a Parquet file ends in `PAR1`, after the list of its columns";
            return Err(Refusal::new(Code::UnreadableFile, path, what).hint("download or write it again"));
        }
        let reader = guarded(path, || SerializedFileReader::new(pages))?;
        let metadata = reader.metadata();
        schema::check(path, metadata.file_metadata().schema(), notes)?;
        let groups = metadata.row_groups();
        if groups.iter().any(|group| group.num_rows() < 0) {
            return Err(Refusal::new(
                Code::UnreadableFile,
                path,
                "is damaged: it has a negative number of rows",
            ));
        }
        let n_rows: u64 =
            groups.iter().map(|group| group.num_rows().unsigned_abs()).fold(0, u64::saturating_add);
        if n_rows == 0 {
            return Err(Refusal::empty(path));
        }
        let n_row_bytes: u64 =
            groups.iter().map(|group| group.total_byte_size().unsigned_abs()).fold(0, u64::saturating_add)
                / n_rows;
        let n_per_lot = (LOT_BYTES as u64 / n_row_bytes.max(1)).clamp(1, MAX_LOT_ROWS) as usize;
        Ok(Self { path: Arc::clone(path), reader, group: 0, rows: None, number: 0, n_per_lot })
    }

    fn next_row(&mut self) -> ParquetResult<Option<Row>> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return row.map(Some);
            }
            self.rows = None;
            if self.group == self.reader.num_row_groups() {
                return Ok(None);
            }
            let schema = self.reader.metadata().file_metadata().schema_descr_ptr();
            let group = self.reader.get_row_group(self.group)?;
            self.group += 1;
            self.rows = Some(TreeBuilder::new().as_iter(schema, &*group)?);
        }
    }
}

impl Cut for Parquet {
    fn cut(&mut self, _: &mut Vec<String>) -> Result<Option<Body>, Refusal> {
        let path = Arc::clone(&self.path);
        let first_number = self.number + 1;
        let rows = guarded(&path, || {
            let mut rows = Vec::with_capacity(self.n_per_lot);
            while rows.len() < self.n_per_lot
                && let Some(row) = self.next_row()?
            {
                rows.push(row);
            }
            Ok(rows)
        })
        .map_err(|refusal| {
            let Refusal { code, mut problem } = refusal;
            problem.message = format!("{}, after row {}", problem.message, self.number);
            Refusal { code, problem }
        })?;
        self.number += rows.len() as u64;
        Ok((!rows.is_empty()).then_some(Body::Parquet { rows, first_number }))
    }
}

/// Asks the library. What it says, and what it panics with, is said of the file.
fn guarded<T>(path: &Path, ask: impl FnOnce() -> ParquetResult<T>) -> Result<T, Refusal> {
    let damaged = |said: &str| {
        let said = said.split('\n').next().unwrap_or_default();
        Refusal::new(
            Code::UnreadableFile,
            path,
            format!("is damaged, or a Parquet file of an unusual kind: {said}"),
        )
        .hint("write it again, or convert it to JSON Lines")
    };
    // The library has assertions about what files hold, `schema` and `Pages` know of many but not of all. What it was
    // doing is not used again after one of them.
    match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(damaged(&error.to_string())),
        Err(panic) => Err(damaged(panic_message(&*panic))),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (None, Some(message)) => message,
        (None, None) => "its reader gave up",
    }
}

/// A file whose lengths are judged before anything is read.
struct Pages(Arc<Medium>);

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.len().unwrap_or(0)
    }
}

impl ChunkReader for Pages {
    type T = Box<dyn Read + Send>;

    /// Is called where the header of a page begins.
    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let n_left = self.len().saturating_sub(start).min(32) as usize;
        let header = self.get_bytes(start, n_left)?;
        if let Some(n_bytes) = page_bytes(&header)
            && n_bytes > MAX_PAGE_BYTES
        {
            return Err(ParquetError::General(format!("it has a page of {n_bytes} bytes")));
        }
        Ok(match &*self.0 {
            Medium::File(file) => {
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(start))?;
                Box::new(BufReader::new(file))
            }
            Medium::Bytes(bytes) => {
                let mut cursor = Cursor::new(bytes.clone());
                cursor.set_position(start);
                Box::new(cursor)
            }
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(ParquetError::EOF(format!("it names {length} bytes at {start}, beyond its end")));
        }
        Ok(match &*self.0 {
            Medium::File(file) => {
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(start))?;
                let mut bytes = Vec::with_capacity(length);
                file.take(length as u64).read_to_end(&mut bytes)?;
                if bytes.len() < length {
                    return Err(ParquetError::EOF("it became shorter while it was read".to_owned()));
                }
                bytes.into()
            }
            Medium::Bytes(bytes) => bytes.slice(start as usize..start as usize + length),
        })
    }
}

/// The size of a page without compression, by its header: a struct of Thrift's compact protocol whose first fields are
/// three numbers, the kind of page and its sizes.
fn page_bytes(header: &[u8]) -> Option<u64> {
    /// A field of 32 bits whose number is one more than the last one's.
    const NEXT_I32: u8 = 0x15;
    let mut rest = header;
    let mut number = || {
        let (&NEXT_I32, mut after) = rest.split_first()? else { return None };
        let mut zigzag = 0u64;
        for shift in (0..35).step_by(7) {
            let (byte, next) = after.split_first()?;
            after = next;
            zigzag |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                rest = after;
                // Negative ones are for the library to refuse.
                return (zigzag & 1 == 0).then_some(zigzag >> 1);
            }
        }
        None
    };
    number()?;
    number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_pages_are_read_from_their_headers() {
        for (header, expected) in [
            (&[0x15, 0x00, 0x15, 0x80, 0x01, 0x15, 0x02][..], Some(64)),
            (&[0x15, 0x04, 0x15, 0x02], Some(1)),
            (&[0x15, 0x00, 0x15, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F], Some(0x7FFF_FFFF)),
            (&[0x15, 0x00, 0x15, 0x01], None),
            (&[0x15, 0x00, 0x25, 0x02], None),
            (&[], None),
        ] {
            assert_eq!(page_bytes(header), expected, "{header:?}");
        }
    }
}
