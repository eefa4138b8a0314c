//! `generation_config.json`: only the tokens that end a text are taken from it.

use std::path::Path;

use ftl_core::{Problem, ProblemKind};

use crate::model::config::DecoderConfig;
use crate::model::config::keys::token_ids;
use crate::model::json_file;

/// What a generation starts from.
pub const GENERATION_CONFIG_JSON: &str = "generation_config.json";

/// The tokens that end a generated text: those of `generation_config.json` and those of `config.json`, sorted.
///
/// transformers asks only the first file where it exists; a chat model often lists its end of turn there alone, and
/// a fine-tuned one in `config.json` alone, so both count here.
///
/// # Errors
/// `BrokenModel` if the file is there but is not JSON or names ids outside of the vocabulary.
pub fn eos_token_ids_for_generation(dir: &Path, config: &DecoderConfig) -> Result<Vec<u32>, Problem> {
    let path = dir.join(GENERATION_CONFIG_JSON);
    let mut ids = config.eos_token_ids.clone();
    if path.exists() {
        let map = json_file::read_object(&path, ProblemKind::BrokenModel)?;
        if let Some(value) = map.get("eos_token_id").filter(|value| !value.is_null()) {
            let vocab_size = config.vocab_size;
            ids.extend(token_ids(value, vocab_size).ok_or_else(|| {
                let message = format!(
                    "`eos_token_id` is {value}, but must be token ids below `vocab_size` = {vocab_size}"
                );
                Problem::new(ProblemKind::BrokenModel, message).at(path.display().to_string())
            })?);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
