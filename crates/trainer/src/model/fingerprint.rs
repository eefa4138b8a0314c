//! Tells models apart without reading them whole: a run that goes on must find the base it began with.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::TrainError;
use crate::model::config::CONFIG_JSON;
use crate::sha256::hex;

/// Places at which a file is looked at.
const N_PROBES: u64 = 64;
/// Bytes that are read at each.
const PROBE_BYTES: u64 = 4096;

/// SHA-256 of `config.json` and, for each safetensors file, its name, its length and 64 pieces spread over it.
///
/// # Errors
/// [`TrainError::File`] if a file can't be read.
pub fn fingerprint(dir: &Path) -> Result<String, TrainError> {
    let mut hash = Sha256::new();
    let config = dir.join(CONFIG_JSON);
    hash.update(fs::read(&config).map_err(TrainError::file("read", &config))?);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(TrainError::file("list", dir))? {
        let path = entry.map_err(TrainError::file("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(path);
        }
    }
    files.sort();
    for path in files {
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        probe(&path, &mut hash).map_err(TrainError::file("read", &path))?;
    }
    Ok(hex(hash))
}

fn probe(path: &Path, hash: &mut Sha256) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    hash.update(length.to_le_bytes());
    let mut piece = Vec::new();
    for index in 0..N_PROBES {
        file.seek(SeekFrom::Start(length / N_PROBES * index))?;
        piece.clear();
        (&mut file).take(PROBE_BYTES).read_to_end(&mut piece)?;
        hash.update(&piece);
    }
    Ok(())
}
