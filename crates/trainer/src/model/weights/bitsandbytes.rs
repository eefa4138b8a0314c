//! Matrices in bitsandbytes' 4-bit form, as transformers saves them after `load_in_4bit`.
//!
//! ```text
//! X.weight                                      U8  [n / 2, 1]     two codes in each byte
//! X.weight.absmax                               F32 [n / 64]       scales, or their codes (U8) if quantized twice
//! X.weight.quant_map                            F32 [16]           the levels
//! X.weight.nested_absmax, .nested_quant_map     F32                quantized twice: scales of the scales, their levels
//! X.weight.quant_state.bitsandbytes__nf4        U8                 JSON: block sizes, shape, offset of the scales
//! ```
//!
//! Format: `QuantState.as_dict(packed=True)` of bitsandbytes 0.50.

use burn::tensor::Device;
use ftl_core::{Problem, ProblemKind};
use serde::Deserialize;

use crate::model::families::ExpectedTensor;
use crate::model::weights::WeightFiles;
use crate::quant::double::{DoubleQuantized, NESTED_BLOCK};
use crate::quant::{Nf4Tensor, StoredScales, dynamic, nf4};

const STATE: &str = ".quant_state.bitsandbytes__nf4";
const ABSMAX: &str = ".absmax";
const QUANT_MAP: &str = ".quant_map";
const NESTED_ABSMAX: &str = ".nested_absmax";
const NESTED_QUANT_MAP: &str = ".nested_quant_map";

/// The JSON beside each matrix.
#[derive(Debug, Deserialize)]
struct State {
    quant_type: String,
    blocksize: usize,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

pub(super) fn is_nf4(files: &WeightFiles, name: &str) -> bool {
    files.shape(&format!("{name}{STATE}")).is_some()
}

/// Whether a tensor says how a matrix beside it is quantized.
pub(super) fn belongs_to_nf4(files: &WeightFiles, name: &str) -> bool {
    [STATE, NESTED_ABSMAX, NESTED_QUANT_MAP, ABSMAX, QUANT_MAP]
        .iter()
        .any(|suffix| name.strip_suffix(suffix).is_some_and(|matrix| is_nf4(files, matrix)))
}

/// What is wrong with a matrix that should have the shape of `tensor`.
pub(super) fn problem(files: &WeightFiles, tensor: &ExpectedTensor) -> Option<Problem> {
    let ExpectedTensor { name, .. } = tensor;
    let shape = tensor.shape();
    let found = state(files, name).and_then(|state| {
        if state.shape != shape {
            return Err(format!("has shape {:?}, expected {shape:?}", state.shape));
        }
        numbers(files, name, shape.iter().product(), &state)
    });
    let message = format!("`{name}` (4-bit) {}", found.err()?);
    let path = files.file(name).map_or_else(String::new, |file| file.path().display().to_string());
    Some(Problem::new(ProblemKind::BrokenModel, message).at(path))
}

/// Reads a matrix of `n_values`; `None` where [`problem`] would find something.
pub(super) fn read(files: &WeightFiles, name: &str, n_values: usize, device: &Device) -> Option<Nf4Tensor> {
    let state = state(files, name).ok()?;
    let (codes, scales) = numbers(files, name, n_values, &state).ok()?;
    Some(Nf4Tensor::new(n_values, codes, scales, device))
}

fn state(files: &WeightFiles, name: &str) -> Result<State, String> {
    let json = bytes(files, &format!("{name}{STATE}"), "U8")?;
    let state: State =
        serde_json::from_slice(json).map_err(|error| format!("has no sound `{STATE}`: {error}"))?;
    if state.quant_type != "nf4" || state.blocksize != nf4::BLOCK {
        return Err(format!(
            "is stored as {} in blocks of {}, but only nf4 in blocks of {} is read",
            state.quant_type,
            state.blocksize,
            nf4::BLOCK
        ));
    }
    Ok(state)
}

fn numbers(
    files: &WeightFiles,
    name: &str,
    n_values: usize,
    state: &State,
) -> Result<(Vec<u8>, StoredScales), String> {
    let part = |suffix: &str| format!("{name}{suffix}");
    let count = |what: &str, found: usize, expected: usize| {
        let message = || format!("has {found} {what}, expected {expected}");
        if found == expected { Ok(()) } else { Err(message()) }
    };
    let codes = bytes(files, name, "U8")?;
    count("bytes of codes", codes.len(), nf4::n_code_bytes(n_values))?;
    levels(files, &part(QUANT_MAP), &nf4::LEVELS)?;
    let n_blocks = nf4::n_blocks(n_values);
    let scales = match (state.nested_blocksize, state.nested_offset) {
        (None, None) => {
            let scales = floats(files, &part(ABSMAX))?;
            count("scales", scales.len(), n_blocks)?;
            StoredScales::Single(scales)
        }
        (Some(NESTED_BLOCK), Some(offset)) => {
            levels(files, &part(NESTED_QUANT_MAP), &dynamic::SIGNED.levels)?;
            let codes = bytes(files, &part(ABSMAX), "U8")?.to_vec();
            let absmax = floats(files, &part(NESTED_ABSMAX))?;
            count("scales", codes.len(), n_blocks)?;
            count("scales of scales", absmax.len(), n_blocks.div_ceil(NESTED_BLOCK))?;
            StoredScales::Double(DoubleQuantized { codes, absmax, offset })
        }
        (nested, offset) => {
            return Err(format!(
                "has scales in blocks of {nested:?} with offset {offset:?}, but only blocks of {NESTED_BLOCK} are read"
            ));
        }
    };
    Ok((codes.to_vec(), scales))
}

/// Levels of our own would give other weights.
fn levels(files: &WeightFiles, name: &str, expected: &[f32]) -> Result<(), String> {
    if floats(files, name)? == expected {
        return Ok(());
    }
    Err(format!("has other levels (`{name}`) than bitsandbytes' own"))
}

fn bytes<'a>(files: &'a WeightFiles, name: &str, dtype: &str) -> Result<&'a [u8], String> {
    let missing = || format!("needs `{name}`, which is not in the files");
    let (stored, _) = files.stored(name).ok_or_else(missing)?;
    if stored != dtype {
        return Err(format!("needs `{name}` as {dtype}, but it is stored as {stored}"));
    }
    files.file(name).and_then(|file| file.bytes(name)).ok_or_else(missing)
}

fn floats(files: &WeightFiles, name: &str) -> Result<Vec<f32>, String> {
    let (numbers, _) = bytes(files, name, "F32")?.as_chunks::<4>();
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
