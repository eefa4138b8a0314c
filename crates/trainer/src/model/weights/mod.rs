//! The weights of a model directory: `model.safetensors`, or shards behind an index.
//!
//! [`WeightFiles::open`] judges the files by themselves, [`WeightFiles::check`] against a config; only then is a
//! number read. Pickles are never read.

mod bitsandbytes;
mod check;
mod index;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use ftl_core::{Problem, ProblemKind};

use crate::model::config::DecoderConfig;
use crate::model::tensor_file::TensorFile;
use crate::quant::Nf4Tensor;

/// One file with everything.
pub const MODEL_SAFETENSORS: &str = "model.safetensors";
/// Which shard holds which tensor.
pub const MODEL_SAFETENSORS_INDEX: &str = "model.safetensors.index.json";

/// PyTorch's pickles, which can run code when loaded.
const PICKLES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// The open weight files of a model directory.
#[derive(Debug)]
pub struct WeightFiles {
    files: Vec<TensorFile>,
    /// Tensor to its place in `files`.
    file_of: BTreeMap<String, usize>,
}

impl WeightFiles {
    /// Opens the weights of a model directory and checks every file's header against its length.
    ///
    /// # Errors
    /// `NotFound` where there are none, `BrokenModel` where a file is damaged, missing, or not what the index says.
    pub fn open(dir: &Path) -> Result<Self, Problem> {
        let (single, index) = (dir.join(MODEL_SAFETENSORS), dir.join(MODEL_SAFETENSORS_INDEX));
        // As transformers does, where both are there.
        if single.exists() {
            let file = TensorFile::open(&single, ProblemKind::BrokenModel)?;
            let file_of = file.names().map(|name| (name.to_owned(), 0)).collect();
            return Ok(Self { files: vec![file], file_of });
        }
        if index.exists() {
            let index::Sharded { files, file_of } = index::open(dir, &index)?;
            return Ok(Self { files, file_of });
        }
        Err(no_weights(dir))
    }

    /// Compares the files with what `config` asks for: every tensor there, its shape and type, and nothing that the
    /// model would not use.
    ///
    /// # Errors
    /// Every problem, each with the tensor, its file and the config key that disagrees.
    pub fn check(&self, config: &DecoderConfig) -> Result<(), Vec<Problem>> {
        let problems = check::check(self, config);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file_of.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.file(name)?.shape(name)
    }

    /// How a tensor is stored: the name of its type, and its bytes.
    pub fn stored(&self, name: &str) -> Option<(String, u64)> {
        self.file(name)?.stored(name)
    }

    /// How many files there are.
    pub fn n_files(&self) -> usize {
        self.files.len()
    }

    /// Reads a tensor stored as f32, bf16 or f16, and gives its pages back.
    ///
    /// # Panics
    /// If [`check`](Self::check) was not asked before, or `out` has not the shape's length.
    pub fn read_f32_into(&self, name: &str, out: &mut [f32]) {
        self.file(name).expect("`check` saw the tensor").read_f32_into(name, out);
    }

    /// As [`read_f32_into`](Self::read_f32_into), but only as many values as `out` has, from number `start` on.
    ///
    /// # Panics
    /// If [`check`](Self::check) was not asked before, or the tensor has not as many values.
    pub fn read_f32_part_into(&self, name: &str, start: usize, out: &mut [f32]) {
        self.file(name).expect("`check` saw the tensor").read_f32_part_into(name, start, out);
    }

    /// Whether a matrix is stored in bitsandbytes' 4-bit form.
    pub fn is_nf4(&self, name: &str) -> bool {
        bitsandbytes::is_nf4(self, name)
    }

    /// Reads a matrix of `n_values` that is stored in 4 bits, its codes and scales as they are.
    ///
    /// # Panics
    /// If [`check`](Self::check) was not asked before.
    pub fn read_nf4(&self, name: &str, n_values: usize, device: &Device) -> Nf4Tensor {
        bitsandbytes::read(self, name, n_values, device).expect("`check` saw the tensor")
    }

    /// Reads a tensor into a new vector.
    ///
    /// # Panics
    /// If [`check`](Self::check) was not asked before.
    pub fn read_f32(&self, name: &str) -> Vec<f32> {
        self.file(name).expect("`check` saw the tensor").read_f32(name)
    }

    fn file(&self, name: &str) -> Option<&TensorFile> {
        self.file_of.get(name).map(|file_index| &self.files[*file_index])
    }
}

fn no_weights(dir: &Path) -> Problem {
    let at = dir.display().to_string();
    match PICKLES.iter().find(|name| dir.join(name).exists()) {
        Some(pickle) => Problem::new(
            ProblemKind::BrokenModel,
            format!("has its weights only as `{pickle}`, a pickle, which is never read"),
        )
        .at(at)
        .hint("convert it: load it with transformers and call `save_pretrained(…, safe_serialization=True)`"),
        None => Problem::new(
            ProblemKind::NotFound,
            format!("holds neither `{MODEL_SAFETENSORS}` nor `{MODEL_SAFETENSORS_INDEX}`"),
        )
        .at(at)
        .hint("give the directory that holds the model's safetensors files"),
    }
}
