//! What the demo brings along: the project's own small model and conversations, inside the program, so that one file
//! is enough to show everything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A bundled file and where it goes.
macro_rules! bundled {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!("../../../../examples/", $path)).as_slice())),*]
    };
}

const MODEL: [(&str, &[u8]); 6] = bundled![
    "base-model/README.md",
    "base-model/config.json",
    "base-model/generation_config.json",
    "base-model/model.safetensors",
    "base-model/tokenizer.json",
    "base-model/tokenizer_config.json",
];

const JOB: [(&str, &[u8]); 3] = bundled!["first-run.toml", "first-run/train.jsonl", "first-run/eval.jsonl"];

/// Where the bundled files were put.
pub(super) struct Bundle {
    /// The spec that trains the model on the conversations.
    pub(super) spec: PathBuf,
    /// The model's directory.
    pub(super) model: PathBuf,
    /// Conversations to train on.
    pub(super) train: PathBuf,
    /// Conversations that are held out.
    pub(super) eval: PathBuf,
}

/// Writes the bundled files below `directory`.
pub(super) fn unpack(directory: &Path) -> io::Result<Bundle> {
    for (name, bytes) in MODEL.into_iter().chain(JOB) {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(Bundle {
        spec: directory.join("first-run.toml"),
        model: directory.join("base-model"),
        train: directory.join("first-run/train.jsonl"),
        eval: directory.join("first-run/eval.jsonl"),
    })
}
