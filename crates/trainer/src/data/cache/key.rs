//! What samples follow from, and its hash. Whatever is forgotten here makes a cache stale, so everything is taken apart
//! with full patterns: a new field stops the compiler.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ftl_core::spec::resolved::{Data, Eval, ExcessLength, LossOn};
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Key;
use crate::data::encode::Encoder;
use crate::data::format::Source;
use crate::data::load::Request;
use crate::data::pass::{Named, Part, inputs};
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
        // What is said of files is in their sources, below.
        train: _,
        format: _,
        columns: _,
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
    let prompts_of = match eval {
        Eval::Never => None,
        Eval::Fraction(_) => Some("train"),
        Eval::File(_) => Some("eval"),
    };
    let prompts = prompts_of.filter(|_| n_prompts > 0);
    let prompts = prompts.map(|of| json!({ "of": of, "count": n_prompts, "seed": seed }));
    let sources: io::Result<Vec<Value>> = inputs(data).into_iter().map(of_source).collect();
    Ok(Some(json!({
        "version": [env!("CARGO_PKG_VERSION"), DATA_PATH_VERSION],
        "sources": sources?,
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
    let mut bytes = 0;
    for (_, source) in inputs(request.data) {
        for file in files_of(&source.map_err(|(_, fault)| io::Error::other(fault.what))?)?.0 {
            bytes += fs::metadata(file)?.len();
        }
    }
    Ok(bytes)
}

/// A file or folder as the pass reads it: which side it is on, what is said of its rows, what is in it, and what is told of it.
fn of_source((part, source): Named) -> io::Result<Value> {
    let source = source.map_err(|(_, fault)| io::Error::other(fault.what))?;
    let (files, of_folder) = files_of(&source)?;
    let contents: io::Result<Vec<Value>> = files.par_iter().map(|file| of_file(file)).collect();
    let Source { path: _, asked, max_samples, notes } = source;
    Ok(json!({
        "part": match part {
            Part::Train => "train",
            Part::Eval => "eval",
        },
        // With all its fields, also those that are added later.
        "asked": format!("{asked:?}"),
        "files": contents?,
        "max_samples": max_samples,
        "notes": [notes, of_folder],
    }))
}

fn files_of(source: &Source) -> io::Result<(Vec<PathBuf>, Vec<String>)> {
    expand(&source.path).map_err(|problem| io::Error::other(problem.message))
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

/// A file by name and content: the name may decide how it is read, and reports say it.
fn of_file(path: &Path) -> io::Result<Value> {
    Ok(json!([path.to_string_lossy(), sha256_of(path)?]))
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
