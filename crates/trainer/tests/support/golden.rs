//! Reference numbers made by other programs, from directories that environment variables name.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use ftl_trainer::device::OpenDevice;
use ftl_trainer::model::build::{Source, build};
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::decoder::Decoder;
use ftl_trainer::model::weights::WeightFiles;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The directory that `variable` names. Without it there is nothing to compare with, and the test says so.
#[expect(clippy::print_stdout, reason = "a test that did nothing should not look like one that passed")]
pub fn directory(variable: &str) -> Option<PathBuf> {
    let directory = env::var_os(variable).map(PathBuf::from);
    if directory.is_none() {
        println!("skipped: {variable} does not name the directory of reference numbers");
    }
    directory
}

/// A JSON file.
pub fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a golden file is JSON")
}

/// The numbers of a JSON list.
pub fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().expect("a list");
    list.iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// A list of token ids.
pub fn ids(list: &Value) -> Vec<u32> {
    numbers(list).into_iter().map(|id| id as u32).collect()
}

/// A model directory as a decoder.
pub fn decoder(dir: &Path) -> Decoder {
    let config = DecoderConfig::read(dir).expect("the golden model is supported");
    let files = WeightFiles::open(dir).expect("the golden model has weights");
    files.check(&config).expect("the weights fit the config");
    let mut decoder = build(&config, &Source::Files(&files), &OpenDevice::cpu());
    decoder.reserve_positions(config.max_positions);
    decoder
}

/// The tokens that follow `prompt` if the most likely one is always taken.
pub fn greedy(decoder: &Decoder, prompt: &[u32], n: usize) -> Vec<u32> {
    let mut cache = decoder.cache();
    let (mut next, mut said) = (prompt.to_vec(), Vec::with_capacity(n));
    for _ in 0..n {
        let logits = decoder.next_logits(&next, &mut cache);
        let best = logits.argmax(1).into_scalar::<i64>() as u32;
        said.push(best);
        next = vec![best];
    }
    said
}

/// The tensors of a safetensors file.
pub struct Tensors(Vec<u8>);

impl Tensors {
    /// Reads a file.
    pub fn read(path: &Path) -> Self {
        Self(fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.0).expect("a golden file is sound").tensor(name).is_ok()
    }

    /// The values of a tensor in rows of its last dimension.
    pub fn rows(&self, name: &str) -> Vec<Vec<f64>> {
        let file = SafeTensors::deserialize(&self.0).expect("a golden file is sound");
        let tensor = file.tensor(name).expect("the golden file has the tensor");
        let values: Vec<f64> = match tensor.dtype() {
            Dtype::F32 => tensor.data().chunks(4).map(|b| f32::from_le_bytes(four(b)).into()).collect(),
            Dtype::I64 => tensor.data().chunks(8).map(|b| i64::from_le_bytes(eight(b)) as f64).collect(),
            other => panic!("{name} has the type {other:?}"),
        };
        let width = *tensor.shape().last().expect("a golden tensor has a dimension");
        values.chunks(width).map(<[f64]>::to_vec).collect()
    }
}

fn four(bytes: &[u8]) -> [u8; 4] {
    bytes.try_into().expect("four bytes")
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    bytes.try_into().expect("eight bytes")
}
