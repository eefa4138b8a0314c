//! A job's data as tokens: from the cache, or made and kept there.

use std::io;

use ftl_core::event::NoteLevel;
use ftl_core::{Event, Observer, Problem, ProblemKind};
use serde::{Deserialize, Serialize};

use super::key::{data_bytes, key};
use super::{Cache, Found, Key};
use crate::data::load::Request;
use crate::data::prompts::Candidate;
use crate::data::report::Gathered;
use crate::data::samples::{Samples, Writer};

/// Data of fewer bytes are not kept: they are tokenized before anybody looks up.
const SMALL_BYTES: u64 = 64 << 10;

/// What is known of samples beside the tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// What was counted of the data that they were made from.
    pub gathered: Gathered,
    /// Prompts that may be asked during a run.
    pub prompts: Vec<Candidate>,
}

/// The samples of `request`: those of the cache, or those that `make` gives to the writer. `None`: `make` was asked to stop.
///
/// # Errors
/// What `make` says, and a disk that does not give back what was written to it.
pub fn tokenized(
    request: &Request<'_>,
    observer: &mut dyn Observer,
    make: impl FnOnce(&mut Writer, &mut dyn Observer) -> Result<Option<About>, Vec<Problem>>,
) -> Result<Option<(Samples, About)>, Vec<Problem>> {
    let cache = request.cache;
    // What can't be read is told by who reads it for the samples.
    let wanted = worth_keeping(request).unwrap_or(None);
    if let Some(key) = &wanted {
        match cache.find(key) {
            Found::Samples(samples) => {
                if let Ok(about) = serde_json::from_slice(samples.about()) {
                    say(observer, NoteLevel::Info, "tokenized data from cache".to_owned());
                    return Ok(Some((samples, about)));
                }
            }
            Found::Nothing => {}
            Found::Damaged(message) => say(observer, NoteLevel::Warning, message),
        }
    }
    let mut writer = cache.writer();
    let Some(about) = make(&mut writer, observer)? else { return Ok(None) };
    let bytes = serde_json::to_vec(&about).expect("plain data");
    let written = writer.finish(&wanted.unwrap_or_default(), &bytes).map_err(|error| vec![lost(&error)])?;
    let Some(wanted) = wanted else {
        written.notes.into_iter().for_each(|note| say(observer, NoteLevel::Warning, note));
        return Ok(Some((written.samples, about)));
    };
    // Files that were written to meanwhile, or midnight: the samples may be those of neither before nor after.
    if worth_keeping(request).ok().flatten() != Some(wanted) {
        let message = "the data changed while they were read, so their tokens are not kept".to_owned();
        say(observer, NoteLevel::Warning, message);
        return Ok(Some((written.samples, about)));
    }
    let (samples, notes) = cache.keep(&wanted, written);
    notes.into_iter().for_each(|note| say(observer, NoteLevel::Warning, note));
    Ok(Some((samples, about)))
}

/// The key to look for; `None`: this is not to be kept.
fn worth_keeping(request: &Request<'_>) -> io::Result<Option<Key>> {
    match request.cache {
        Cache::Off => Ok(None),
        Cache::Dir { .. } if data_bytes(request)? < SMALL_BYTES => Ok(None),
        Cache::Dir { .. } => key(request),
    }
}

fn say(observer: &mut dyn Observer, level: NoteLevel, message: String) {
    observer.observe(&Event::Note { level, message });
}

fn lost(error: &io::Error) -> Problem {
    Problem::new(
        ProblemKind::BadData,
        format!("tokens that were written to a file can't be read back: {error}"),
    )
    .hint("another disk for the cache may help: set FTL_DATA_CACHE to a directory there")
}
