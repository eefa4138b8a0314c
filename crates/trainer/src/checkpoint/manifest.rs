//! `MANIFEST.json`: size and SHA-256 of every file of a directory.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::layout::MANIFEST_JSON;
use crate::error::TrainError;
use crate::sha256::hex;

/// The version of the format.
const FORMAT: u32 = 1;

/// Bytes hashed at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// Every file but the manifest, sorted by path.
    pub files: Vec<ManifestFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Relative to the directory, with `/` between its parts.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads every file of a directory.
    pub(super) fn of(dir: &Path) -> Result<Self, TrainError> {
        let mut paths = Vec::new();
        walk(dir, "", &mut paths)?;
        paths.retain(|path| path != MANIFEST_JSON);
        paths.sort_unstable();
        let files = paths.into_par_iter().map(|path| hash(dir, path)).collect::<Result<_, _>>()?;
        Ok(Self { format: FORMAT, files })
    }

    /// What the manifest of a directory says, without a look at the files that it speaks of.
    ///
    /// # Errors
    /// `BrokenCheckpoint` where it is missing or damaged.
    pub fn read(dir: &Path) -> Result<Self, Problem> {
        let bytes = Self::bytes(dir).map_err(|error| {
            let reason = error.source().map_or_else(String::new, |source| format!(": {source}"));
            Problem::new(ProblemKind::BrokenCheckpoint, format!("{error}{reason}"))
                .at(dir.display().to_string())
        })?;
        Self::parse(dir, bytes)
    }

    /// The bytes of a directory's manifest; `None` where it has none.
    pub(super) fn bytes(dir: &Path) -> Result<Option<Vec<u8>>, TrainError> {
        let path = dir.join(MANIFEST_JSON);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(TrainError::file("read", &path)(error)),
        }
    }

    /// What [`bytes`](Self::bytes) say of `dir`.
    pub(super) fn parse(dir: &Path, bytes: Option<Vec<u8>>) -> Result<Self, Problem> {
        let refuse = |message: String| {
            Problem::new(ProblemKind::BrokenCheckpoint, message).at(dir.display().to_string())
        };
        let bytes =
            bytes.ok_or_else(|| refuse(format!("has no `{MANIFEST_JSON}`: it was not saved to the end")))?;
        Self::from_bytes(&bytes)
            .map_err(|reason| refuse(format!("its `{MANIFEST_JSON}` is damaged: {reason}")))
    }

    /// The one text of a manifest, so that a changed file can't mean the same.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("names and numbers are JSON");
        bytes.push(b'\n');
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote, and nothing else.
    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!("format {} is not {FORMAT}", manifest.format));
        }
        if manifest.to_bytes() != bytes {
            return Err("it was changed after it was written".to_owned());
        }
        Ok(manifest)
    }

    /// The size of all files together.
    pub fn n_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The plain files below a directory, relative to it.
fn walk(dir: &Path, prefix: &str, paths: &mut Vec<String>) -> Result<(), TrainError> {
    for entry in fs::read_dir(dir).map_err(TrainError::file("list", dir))? {
        let entry = entry.map_err(TrainError::file("list", dir))?;
        let path = entry.path();
        let refuse = |reason| TrainError::file("use", &path)(io::Error::other(reason));
        let name = entry.file_name().into_string().map_err(|_| refuse("its name is not UTF-8"))?;
        let name = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(TrainError::file("read", &path))?;
        if kind.is_dir() {
            walk(&path, &format!("{name}/"), paths)?;
        } else if kind.is_file() {
            paths.push(name);
        } else {
            return Err(refuse("it is not a plain file"));
        }
    }
    Ok(())
}

fn hash(dir: &Path, path: String) -> Result<ManifestFile, TrainError> {
    let on_disk: PathBuf = path.split('/').fold(dir.to_owned(), |on_disk, part| on_disk.join(part));
    let mut file = File::open(&on_disk).map_err(TrainError::file("open", &on_disk))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let n_read = file.read(&mut buffer).map_err(TrainError::file("read", &on_disk))?;
        if n_read == 0 {
            break;
        }
        hasher.update(&buffer[..n_read]);
        bytes += n_read as u64;
    }
    Ok(ManifestFile { path, bytes, sha256: hex(hasher) })
}
