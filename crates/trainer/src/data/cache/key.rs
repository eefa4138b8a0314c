//! What samples follow from, and its hash. Whatever is forgotten here makes a cache stale, so everything is taken apart
//! with full patterns: a new field stops the compiler.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use ftl_core::spec::resolved::{Data, Eval, ExcessLength, LossOn, TrainFile};
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Key;
use crate::data::encode::Encoder;
use crate::data::load::Request;
use crate::data::read::expand;
use crate::sha256::hex;

/// Counts up when the same files give other tokens, labels, notes or prompts than before: with each change to readers,
/// formats, templates, masks or lengths that shows. `tests/data_cache.rs` fails where it should have been and was not.
pub const DATA_PATH_VERSION: u32 = 1;

/// Bytes of a file that are read at once.
const READ_BYTES: usize = 1 << 20;

/// The key of what `request` asks for; `None`: nobody can tell it, as the chat template reads the clock in a way that only
/// it knows.
///
/// # Errors
/// A file that can't be read; who reads the data says which one in a way that helps.
pub fn key(request: &Request<'_>) -> io::Result<Option<Key>> {
    Ok(recipe(request)?.map(|recipe| Key(Sha256::digest(recipe.to_string()).into())))
}

/// What the samples follow from, readable.
///
/// # Errors
/// As [`key`].
pub fn recipe(request: &Request<'_>) -> io::Result<Option<Value>> {
    // The cache itself decides nothing.
    let Request { data, encoder, max_length, vocab_size, seed, n_prompts, cache: _ } = *request;
    let Data {
        train,
        format,
        eval,
        // What it came to is `max_length` above, and which template was read is `encoder`'s.
        max_length: _,
        chat_template: _,
        excess_length_strategy,
        loss_on,
        // What is done with samples is no business of theirs.
        rows: _,
        order: _,
        max_samples,
    } = data;
    let Some(encoder) = of_encoder(encoder) else { return Ok(None) };
    // A fraction is taken of the samples, and is not theirs; which prompts are chosen depends on where they come from.
    let (eval_file, prompts_of) = match eval {
        Eval::Never => (None, None),
        Eval::Fraction(_) => (None, Some("train")),
        Eval::File(path) => (Some(path), Some("eval")),
    };
    let prompts = prompts_of.filter(|_| n_prompts > 0);
    let prompts = prompts.map(|of| json!({ "of": of, "count": n_prompts, "seed": seed }));
    let mut files = Vec::new();
    for TrainFile { path, weight: _, max_samples } in train {
        files.push(json!({ "content": of_path(path)?, "max_samples": max_samples }));
    }
    Ok(Some(json!({
        "version": [env!("CARGO_PKG_VERSION"), DATA_PATH_VERSION],
        "train": files,
        "eval": eval_file.map(|path| of_path(path)).transpose()?,
        "format": format,
        "max_samples": max_samples,
        "max_length": max_length,
        "excess_length": match excess_length_strategy {
            ExcessLength::Error => "error",
            ExcessLength::Drop => "drop",
            ExcessLength::Truncate => "truncate",
            ExcessLength::Split => "split",
        },
        "loss_on": match loss_on {
            LossOn::AssistantTokens => "assistant_tokens",
            LossOn::AllTokens => "all_tokens",
        },
        "vocab_size": vocab_size,
        "encoder": encoder,
        "prompts": prompts,
    })))
}

/// The bytes of all data files on disk.
///
/// # Errors
/// As [`key`].
pub fn data_bytes(request: &Request<'_>) -> io::Result<u64> {
    let eval = match &request.data.eval {
        Eval::Never | Eval::Fraction(_) => None,
        Eval::File(path) => Some(path),
    };
    request.data.train.iter().map(|file| &file.path).chain(eval).map(|path| bytes_below(path)).sum()
}

fn bytes_below(path: &Path) -> io::Result<u64> {
    let (files, _) = expand(path).map_err(|problem| io::Error::other(problem.message))?;
    files.iter().map(|file| Ok(fs::metadata(file)?.len())).sum()
}

fn of_encoder(Encoder { tokenizer, template, arguments }: &Encoder) -> Option<Value> {
    let template = match template {
        None => Value::Null,
        Some(template) => json!({
            "origin": template.origin(),
            "sources": template.sources(),
            "clock": template.clock()?,
        }),
    };
    Some(json!({ "tokenizer": tokenizer.fingerprint(), "template": template, "arguments": arguments }))
}

/// The files that a name stands for, by name and content, and which were left out.
fn of_path(path: &Path) -> io::Result<Value> {
    let (files, left_out) = expand(path).map_err(|problem| io::Error::other(problem.message))?;
    let contents: io::Result<Vec<String>> = files.par_iter().map(|file| sha256_of(file)).collect();
    // Names decide how files are read, and reports say them.
    Ok(json!({ "name": path, "files": files, "contents": contents?, "left_out": left_out }))
}

fn sha256_of(path: &Path) -> io::Result<String> {
    // What a pipe holds is gone once it was read.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut some = vec![0; READ_BYTES];
    loop {
        let n = match file.read(&mut some) {
            Ok(0) => return Ok(hex(hash)),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&some[..n]);
    }
}
