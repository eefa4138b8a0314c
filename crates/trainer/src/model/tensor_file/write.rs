//! Writing f32 tensors one after the other, so that no more than one need be in memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::TrainError;
use crate::model::tensor_file::FORMAT_PT;

/// What is announced of a tensor before its numbers are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, unique in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// How many numbers it has.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many bytes it takes as f32.
    pub fn n_bytes(&self) -> u64 {
        self.n_elements() as u64 * F32_BYTES as u64
    }
}

const F32_BYTES: usize = size_of::<f32>();

/// The header ends on a multiple of this, so that tensors are aligned in a map.
const HEADER_ALIGNMENT: usize = 8;

/// Numbers converted at a time.
const CHUNK: usize = 1 << 16;

/// Writes `tensors` as f32 in the given order; `numbers` is asked for each when it is its turn. A file that is there
/// is overwritten in place: write into a directory that is not in use yet.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses, and whatever `numbers` returns. The file is then incomplete.
///
/// # Panics
/// If two tensors have one name, or `numbers` gives another count than was announced.
pub fn write_f32<'a, N>(path: &Path, tensors: &[TensorSpec], mut numbers: N) -> Result<(), TrainError>
where
    N: FnMut(&TensorSpec) -> Result<Cow<'a, [f32]>, TrainError>,
{
    let mut file = File::create(path).map_err(TrainError::file("create", path))?;
    file.write_all(&header(tensors)).map_err(TrainError::file("write", path))?;
    for spec in tensors {
        let numbers = numbers(spec)?;
        assert_eq!(
            numbers.len(),
            spec.n_elements(),
            "`{}` has the announced shape {:?}",
            spec.name,
            spec.shape
        );
        write_numbers(&mut file, &numbers).map_err(TrainError::file("write", path))?;
    }
    Ok(())
}

fn header(tensors: &[TensorSpec]) -> Vec<u8> {
    let mut offset = 0;
    let infos: Vec<_> = tensors
        .iter()
        .map(|spec| {
            let start = offset;
            offset += spec.n_elements() * F32_BYTES;
            let info =
                TensorInfo { dtype: Dtype::F32, shape: spec.shape.clone(), data_offsets: (start, offset) };
            (spec.name.clone(), info)
        })
        .collect();
    let (key, value) = FORMAT_PT;
    let about = HashMap::from([(key.to_owned(), value.to_owned())]);
    let metadata = Metadata::new(Some(about), infos).expect("offsets follow from the shapes");
    assert_eq!(metadata.tensors().len(), tensors.len(), "names are unique");
    let mut json = serde_json::to_vec(&metadata).expect("names and numbers are JSON");
    json.resize(json.len().next_multiple_of(HEADER_ALIGNMENT), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    bytes
}

fn write_numbers(file: &mut File, numbers: &[f32]) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(numbers.len()) * F32_BYTES];
    for chunk in numbers.chunks(CHUNK) {
        let bytes = &mut buffer[..chunk.len() * F32_BYTES];
        for (bytes, number) in bytes.as_chunks_mut::<F32_BYTES>().0.iter_mut().zip(chunk) {
            *bytes = number.to_le_bytes();
        }
        file.write_all(bytes)?;
    }
    Ok(())
}
