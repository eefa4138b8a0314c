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

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    /// Single precision; when read, bf16 and f16 will do as well.
    F32,
    /// Bytes.
    U8,
}

/// The numbers of a tensor.
#[derive(Clone, Debug)]
pub enum Numbers<'a> {
    /// Of the type of that name.
    F32(Cow<'a, [f32]>),
    /// Of the type of that name.
    U8(Cow<'a, [u8]>),
}

impl NumberType {
    fn n_bytes(self) -> usize {
        match self {
            Self::F32 => F32_BYTES,
            Self::U8 => 1,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::U8 => Dtype::U8,
        }
    }
}

impl Numbers<'_> {
    fn number_type(&self) -> NumberType {
        match self {
            Self::F32(_) => NumberType::F32,
            Self::U8(_) => NumberType::U8,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::U8(numbers) => numbers.len(),
        }
    }
}

/// Writes `tensors` as f32 in the given order; see [`write_tensors`].
///
/// # Errors
/// As [`write_tensors`].
///
/// # Panics
/// As [`write_tensors`].
pub fn write_f32<'a, N>(path: &Path, tensors: &[TensorSpec], mut numbers: N) -> Result<(), TrainError>
where
    N: FnMut(&TensorSpec) -> Result<Cow<'a, [f32]>, TrainError>,
{
    let tensors: Vec<_> = tensors.iter().map(|spec| (spec.clone(), NumberType::F32)).collect();
    write_tensors(path, &tensors, |spec| numbers(spec).map(Numbers::F32))
}

/// Writes `tensors` in the given order; `numbers` is asked for each when it is its turn. A file that is there is
/// overwritten in place: write into a directory that is not in use yet.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses, and whatever `numbers` returns. The file is then incomplete.
///
/// # Panics
/// If two tensors have one name, or `numbers` gives another count or type than was announced.
pub fn write_tensors<'a, N>(
    path: &Path,
    tensors: &[(TensorSpec, NumberType)],
    mut numbers: N,
) -> Result<(), TrainError>
where
    N: FnMut(&TensorSpec) -> Result<Numbers<'a>, TrainError>,
{
    let mut file = File::create(path).map_err(TrainError::file("create", path))?;
    file.write_all(&header(tensors)).map_err(TrainError::file("write", path))?;
    for (spec, number_type) in tensors {
        let numbers = numbers(spec)?;
        assert_eq!(
            (numbers.len(), numbers.number_type()),
            (spec.n_elements(), *number_type),
            "`{}` has the announced shape {:?}",
            spec.name,
            spec.shape
        );
        let written = match &numbers {
            Numbers::F32(numbers) => write_numbers(&mut file, numbers),
            Numbers::U8(numbers) => file.write_all(numbers),
        };
        written.map_err(TrainError::file("write", path))?;
    }
    Ok(())
}

fn header(tensors: &[(TensorSpec, NumberType)]) -> Vec<u8> {
    let mut offset = 0;
    let infos: Vec<_> = tensors
        .iter()
        .map(|(spec, number_type)| {
            let start = offset;
            offset += spec.n_elements() * number_type.n_bytes();
            let (dtype, shape) = (number_type.dtype(), spec.shape.clone());
            (spec.name.clone(), TensorInfo { dtype, shape, data_offsets: (start, offset) })
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
