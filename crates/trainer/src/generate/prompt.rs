//! From a text or a conversation to the tokens that a model goes on from, and the tokens that end its answer.

use std::path::Path;

use ftl_core::{Problem, ProblemKind};

use crate::data::encode::Encoder;
use crate::data::format::{Conversation, Role};
use crate::data::template::Ending;
use crate::data::tokenize::{Around, Tokenizer};
use crate::model::config::{DecoderConfig, eos_token_ids_for_generation};

/// The ids of a conversation up to where the model answers, or goes on with an answer that was begun. `dir` is the
/// model's directory, for the message.
///
/// # Errors
/// A model without a chat template, and a conversation that its template refuses.
pub fn chat_prompt(encoder: &Encoder, conversation: &Conversation, dir: &Path) -> Result<Vec<u32>, Problem> {
    if encoder.template.is_none() {
        let message = "the model has no chat template, which messages need";
        return Err(Problem::new(ProblemKind::BadTemplate, message)
            .at(dir.display().to_string())
            .hint("give a prompt without messages, or put a chat_template.jinja into the directory"));
    }
    let is_begun = conversation.messages.last().map(|message| message.role) == Some(Role::Assistant);
    let ending = if is_begun { Ending::ContinueFinalMessage } else { Ending::GenerationPrompt };
    Ok(encoder.prompt(conversation, ending)?.ids)
}

/// The ids of the beginning of a text: without the end token that some tokenizers add, and never empty.
///
/// # Errors
/// An empty text where the model has no token to begin with.
pub fn text_prompt(tokenizer: &Tokenizer, text: &str, config: &DecoderConfig) -> Result<Vec<u32>, Problem> {
    let mut ids = tokenizer.encode(text, Around::Specials)?;
    if ids.len() > 1 && tokenizer.eos().is_some() && ids.last().copied() == tokenizer.eos() {
        ids.pop();
    }
    if ids.is_empty() {
        let bos = tokenizer.bos().or(config.bos_token_id).ok_or_else(|| {
            Problem::new(
                ProblemKind::InvalidValue,
                "the prompt is empty and the model has no token to begin with",
            )
            .at("prompt")
            .hint("give it at least a word")
        })?;
        ids.push(bos);
    }
    Ok(ids)
}

/// The tokens that end an answer of the model in `dir`: those of its generation config and of its tokenizer.
///
/// # Errors
/// A generation config that can't be read.
pub fn stop_ids(
    dir: &Path,
    config: &DecoderConfig,
    tokenizer: Option<&Tokenizer>,
) -> Result<Vec<u32>, Problem> {
    let mut ids = eos_token_ids_for_generation(dir, config)?;
    if let Some(tokenizer) = tokenizer {
        ids.extend(tokenizer.stops());
    }
    Ok(ids)
}
