//! The weights of two runs, tensor by tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ftl_core::ProblemKind;
use serde::Serialize;

use super::CheckpointComparison;
use super::run::TakenRun;
use crate::checkpoint::layout::{FINAL, OPTIMIZER_SAFETENSORS, checkpoint_name};
use crate::checkpoint::verify;
use crate::error::TrainError;
use crate::model::tensor_file::TensorFile;

/// Weights side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightComparison {
    /// Of which directory of the runs: `final`, or a checkpoint.
    pub of: String,
    /// Names of tensors that there are in either.
    pub tensors: u64,
    /// Those that differ.
    pub differing: u64,
    /// The first of them, by name.
    pub first_difference: Option<TensorDifference>,
}

/// A tensor that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorDifference {
    /// Its name.
    pub tensor: String,
    /// The first value that differs, counted from 0 in row order; `None`: its type or shape does.
    pub index: Option<u64>,
    /// In the first run: the value, or type and shape; `nothing` where there is no such tensor.
    pub a: String,
    /// In the second run.
    pub b: String,
}

/// Compares the results, or where one has none the newest checkpoint that both have.
pub(super) fn compare(
    a: &TakenRun,
    b: &TakenRun,
    checkpoints: &CheckpointComparison,
) -> Result<Option<WeightComparison>, TrainError> {
    let of = match (a.finished, b.finished, checkpoints.compared.last()) {
        // The result was verified when the run was opened.
        (Some(_), Some(_), _) => FINAL.to_owned(),
        (_, _, Some(step)) => {
            let name = checkpoint_name(*step);
            verify(&a.dir.join(&name))?;
            verify(&b.dir.join(&name))?;
            name
        }
        (_, _, None) => return Ok(None),
    };
    let (of_a, of_b) = (Tensors::open(&a.dir.join(&of))?, Tensors::open(&b.dir.join(&of))?);
    let names: BTreeSet<&String> = of_a.files.keys().chain(of_b.files.keys()).collect();
    let mut differences = names.iter().filter_map(|name| difference(name, &of_a, &of_b));
    let first_difference = differences.next();
    let differing = u64::from(first_difference.is_some()) + differences.count() as u64;
    Ok(Some(WeightComparison { of, tensors: names.len() as u64, differing, first_difference }))
}

/// The files of a directory that hold weights, by the names of their tensors.
struct Tensors {
    opened: Vec<TensorFile>,
    files: BTreeMap<String, usize>,
}

impl Tensors {
    fn open(dir: &Path) -> Result<Self, TrainError> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(TrainError::file("list", dir))? {
            let path = entry.map_err(TrainError::file("list", dir))?.path();
            let is_weights = path.extension().is_some_and(|extension| extension == "safetensors")
                && path.file_name().is_some_and(|name| name != OPTIMIZER_SAFETENSORS);
            paths.extend(is_weights.then_some(path));
        }
        paths.sort();
        let (mut opened, mut files) = (Vec::new(), BTreeMap::new());
        for path in paths {
            let file = TensorFile::open(&path, ProblemKind::BrokenCheckpoint)?;
            files.extend(file.names().map(|name| (name.to_owned(), opened.len())));
            opened.push(file);
        }
        Ok(Self { opened, files })
    }

    fn file(&self, name: &str) -> Option<&TensorFile> {
        self.files.get(name).map(|index| &self.opened[*index])
    }
}

fn difference(name: &str, a: &Tensors, b: &Tensors) -> Option<TensorDifference> {
    let (of_a, of_b) = (a.file(name), b.file(name));
    let [is_a, is_b] = [of_a, of_b].map(|file| kind(file, name));
    let of = |index, a, b| Some(TensorDifference { tensor: name.to_owned(), index, a, b });
    let (Some(of_a), Some(of_b), true) = (of_a, of_b, is_a == is_b) else { return of(None, is_a, is_b) };
    let [bytes_a, bytes_b] = [of_a, of_b].map(|file| file.bytes(name).unwrap_or_default());
    let place = bytes_a.iter().zip(bytes_b).position(|(a, b)| a != b)?;
    let n_values: usize = of_a.shape(name).unwrap_or_default().iter().product();
    let index = place / (bytes_a.len() / n_values);
    let [value_a, value_b] = [of_a, of_b].map(|file| value(file, name, index));
    of(Some(index as u64), value_a, value_b)
}

/// Type and shape.
fn kind(file: Option<&TensorFile>, name: &str) -> String {
    let Some((dtype, shape)) = file.and_then(|file| Some((file.stored(name)?.0, file.shape(name)?))) else {
        return "nothing".to_owned();
    };
    format!("{dtype} {shape:?}")
}

fn value(file: &TensorFile, name: &str, index: usize) -> String {
    if file.unreadable_dtype(name).is_some() {
        return "another value".to_owned();
    }
    let mut value = [0.0];
    file.read_f32_part_into(name, index, &mut value);
    // Two numbers may read the same and differ in their bits.
    format!("{:?} (0x{:08x})", value[0], value[0].to_bits())
}
