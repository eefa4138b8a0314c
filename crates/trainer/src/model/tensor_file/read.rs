//! Opening a safetensors file: its header is checked against the file's length before anything is believed.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};
use memmap2::Mmap;
use safetensors::tensor::Metadata;

use crate::model::json_file;
use crate::model::tensor_file::convert::{Stored, to_f32};
use crate::model::tensor_file::{NumberType, TensorSpec};

/// The length of the header's length.
const LENGTH_BYTES: usize = 8;

/// The longest header that the format allows (safetensors, `MAX_HEADER_SIZE`).
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An open safetensors file whose header is sound.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    broken: ProblemKind,
    map: Mmap,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl TensorFile {
    /// Maps the file and checks its header; no tensor is read.
    ///
    /// # Errors
    /// `NotFound` if it can't be read; `broken` if it is empty, a git-lfs pointer, cut off, or its header contradicts
    /// itself or the file's length.
    pub fn open(path: &Path, broken: ProblemKind) -> Result<Self, Problem> {
        let refuse = |message: String| Problem::new(broken, message).at(path.display().to_string());
        let file = File::open(path).map_err(|error| json_file::unreadable(path, &error))?;
        let metadata = file.metadata().map_err(|error| json_file::unreadable(path, &error))?;
        if !metadata.is_file() {
            return Err(refuse("is not a file".to_owned()));
        }
        if metadata.len() == 0 {
            return Err(refuse("is empty (0 bytes)".to_owned()).hint("download it again"));
        }
        // SAFETY: the map is only read. If another process shortens the file meanwhile, reading it ends this process
        // with SIGBUS, and if it changes the numbers, they are read as changed: no worse than with `read`, which
        // gives no snapshot either. Nothing but numbers is interpreted after this function returns.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| json_file::unreadable(path, &error))?;
        if json_file::is_lfs_pointer(&map) {
            return Err(json_file::lfs_pointer(path, broken));
        }
        let tensors = entries(&map)
            .map_err(|message| refuse(message).hint("the file is damaged; download it again"))?;
        Ok(Self { path: path.to_owned(), broken, map, tensors })
    }

    /// Checks that the file holds exactly these tensors, readable as f32.
    ///
    /// # Errors
    /// Every problem, of the kind that [`open`](Self::open) was given.
    pub fn expect(&self, tensors: &[TensorSpec]) -> Result<(), Vec<Problem>> {
        self.expect_with(tensors, |_| false)
    }

    /// As [`expect`](Self::expect); the file may also hold tensors that are of no use.
    ///
    /// # Errors
    /// As [`expect`](Self::expect).
    pub fn expect_with(
        &self,
        tensors: &[TensorSpec],
        is_of_no_use: impl Fn(&str) -> bool,
    ) -> Result<(), Vec<Problem>> {
        let tensors: Vec<_> = tensors.iter().map(|spec| (spec.clone(), NumberType::F32)).collect();
        self.judge(&tensors, is_of_no_use)
    }

    /// Checks that the file holds exactly these tensors, readable as these types.
    ///
    /// # Errors
    /// As [`expect`](Self::expect).
    pub fn expect_types(&self, tensors: &[(TensorSpec, NumberType)]) -> Result<(), Vec<Problem>> {
        self.judge(tensors, |_| false)
    }

    fn judge(
        &self,
        tensors: &[(TensorSpec, NumberType)],
        is_of_no_use: impl Fn(&str) -> bool,
    ) -> Result<(), Vec<Problem>> {
        let mut messages = Vec::new();
        for (TensorSpec { name, shape }, number_type) in tensors {
            match self.tensors.get(name) {
                None => messages.push(format!("tensor `{name}` is missing")),
                Some(entry) if entry.shape != *shape => {
                    messages.push(format!("`{name}` has shape {:?}, expected {shape:?}", entry.shape));
                }
                Some(entry) => match number_type {
                    NumberType::F32 if Stored::of(entry.dtype).is_none() => messages.push(format!(
                        "`{name}` is stored as {}, but only F32, BF16 and F16 are read",
                        entry.dtype
                    )),
                    NumberType::U8 if entry.dtype != safetensors::Dtype::U8 => {
                        messages.push(format!("`{name}` is stored as {}, expected U8", entry.dtype));
                    }
                    NumberType::F32 | NumberType::U8 => {}
                },
            }
        }
        let expected: HashSet<&str> = tensors.iter().map(|(tensor, _)| tensor.name.as_str()).collect();
        let unknown = self.names().filter(|name| !expected.contains(name) && !is_of_no_use(name));
        messages.extend(unknown.map(|name| format!("has a tensor `{name}` that does not belong there")));
        let problems: Vec<_> = messages
            .into_iter()
            .map(|message| Problem::new(self.broken, message).at(self.path.display().to_string()))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// How a tensor is stored: the name of its type, and its bytes.
    pub fn stored(&self, name: &str) -> Option<(String, u64)> {
        self.tensors.get(name).map(|entry| (entry.dtype.to_string(), entry.bytes.len() as u64))
    }

    /// The name of a tensor's stored type, if [`read_f32_into`](Self::read_f32_into) can't read that.
    pub fn unreadable_dtype(&self, name: &str) -> Option<String> {
        let entry = self.tensors.get(name)?;
        match Stored::of(entry.dtype) {
            Some(_) => None,
            None => Some(entry.dtype.to_string()),
        }
    }

    /// Reads a tensor stored as f32, bf16 or f16, and gives the pages back to the operating system, so that a model
    /// is not in memory twice while it is loaded.
    ///
    /// # Panics
    /// If there is no such tensor, its type is another, or `out` has another length: check first.
    pub fn read_f32_into(&self, name: &str, out: &mut [f32]) {
        let n_elements: usize = self.shape(name).map_or(0, |shape| shape.iter().product());
        assert_eq!(n_elements, out.len(), "the caller knows the tensor's shape");
        self.read_f32_part_into(name, 0, out);
    }

    /// As [`read_f32_into`](Self::read_f32_into), but only as many values as `out` has, from number `start` on.
    pub fn read_f32_part_into(&self, name: &str, start: usize, out: &mut [f32]) {
        let entry = self.tensors.get(name).expect("the caller checked that the tensor is there");
        let stored = Stored::of(entry.dtype).expect("the caller checked the tensor's type");
        let first = entry.bytes.start + start * stored.bytes();
        let bytes = first..first + out.len() * stored.bytes();
        assert!(bytes.end <= entry.bytes.end, "values of this tensor");
        to_f32(stored, &self.map[bytes.clone()], out);
        self.forget(bytes);
    }

    /// The bytes of a tensor, as they are in the file.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.tensors.get(name).map(|entry| &self.map[entry.bytes.clone()])
    }

    /// Reads a tensor into a new vector; see [`read_f32_into`](Self::read_f32_into).
    pub fn read_f32(&self, name: &str) -> Vec<f32> {
        let n_elements = self.shape(name).map_or(0, |shape| shape.iter().product());
        let mut out = vec![0.0; n_elements];
        self.read_f32_into(name, &mut out);
        out
    }

    #[cfg(unix)]
    fn forget(&self, bytes: Range<usize>) {
        if bytes.is_empty() {
            return;
        }
        // SAFETY: the pages of a shared map of a file hold nothing of their own: dropped ones, also those of
        // neighbouring tensors on the same page, are read from the file again when touched.
        let advised = unsafe {
            self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len())
        };
        // Refused advice costs memory, not correctness.
        drop(advised);
    }

    #[cfg(not(unix))]
    fn forget(&self, _bytes: Range<usize>) {}
}

/// The tensors that the header lists, or what is wrong with it.
fn entries(map: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let file_len = map.len();
    let Some((length, rest)) = map.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(format!("has only {file_len} bytes, which is no safetensors file"));
    };
    let header_len = u64::from_le_bytes(*length);
    if header_len > MAX_HEADER_BYTES {
        return Err(format!(
            "is no safetensors file: its header would have {header_len} bytes, the format allows {MAX_HEADER_BYTES}"
        ));
    }
    let header_len = usize::try_from(header_len).map_err(|error| error.to_string())?;
    let Some((header, data)) = rest.split_at_checked(header_len) else {
        return Err(format!("is cut off: its header has {header_len} bytes, the file has {file_len}"));
    };
    // Checks that the tensors lie end to end from offset 0, without gaps, and that shapes, types and lengths agree.
    let metadata: Metadata =
        serde_json::from_slice(header).map_err(|error| format!("has an unsound header: {error}"))?;
    let (promised, found) = (metadata.data_len(), data.len());
    if promised > found {
        return Err(format!(
            "is cut off: its header promises {promised} bytes of tensors, the file has {found}"
        ));
    }
    if promised < found {
        return Err(format!(
            "is too long: its header promises {promised} bytes of tensors, the file has {found}"
        ));
    }
    let data_start = LENGTH_BYTES + header_len;
    let entry = |info: &safetensors::tensor::TensorInfo| Entry {
        dtype: info.dtype,
        shape: info.shape.clone(),
        bytes: data_start + info.data_offsets.0..data_start + info.data_offsets.1,
    };
    Ok(metadata.tensors().into_iter().map(|(name, info)| (name, entry(info))).collect())
}
