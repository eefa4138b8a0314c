//! The chat templates that come with the program, for base models, which have none.
//!
//! Each is a Jinja file beside this one, which `transformers` and other programs read too: what a model was trained
//! with goes with it as `chat_template.jinja`. All mark with `{% generation %}` what the assistant says, with the
//! token that ends its turn. Some need control tokens. Where a tokenizer lacks them they would be taken apart like
//! any other word, and the model would not learn to stop: that is refused.

use std::path::Path;

use ftl_core::spec::BUILT_IN_TEMPLATES;
use ftl_core::{Problem, ProblemKind};

use crate::data::tokenize::Tokenizer;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// What `data.chat_template` says.
    pub name: &'static str,
    /// The Jinja file.
    pub source: &'static str,
    needs: Needs,
}

/// What the tokenizer must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// These control tokens.
    Tokens(&'static [&'static str]),
    /// A token for the end of a text.
    End,
}

const BUILT_IN: [BuiltIn; BUILT_IN_TEMPLATES.len()] = [
    BuiltIn {
        name: "chatml",
        source: include_str!("builtin/chatml.jinja"),
        needs: Needs::Tokens(&["<|im_start|>", "<|im_end|>"]),
    },
    BuiltIn {
        name: "llama3",
        source: include_str!("builtin/llama3.jinja"),
        needs: Needs::Tokens(&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    },
    BuiltIn { name: "llama2", source: include_str!("builtin/llama2.jinja"), needs: Needs::End },
    BuiltIn { name: "mistral", source: include_str!("builtin/mistral.jinja"), needs: Needs::End },
    BuiltIn {
        name: "gemma",
        source: include_str!("builtin/gemma.jinja"),
        needs: Needs::Tokens(&["<start_of_turn>", "<end_of_turn>"]),
    },
    BuiltIn {
        name: "phi3",
        source: include_str!("builtin/phi3.jinja"),
        needs: Needs::Tokens(&["<|user|>", "<|assistant|>", "<|end|>"]),
    },
    BuiltIn { name: "zephyr", source: include_str!("builtin/zephyr.jinja"), needs: Needs::End },
    BuiltIn { name: "vicuna", source: include_str!("builtin/vicuna.jinja"), needs: Needs::End },
    BuiltIn { name: "alpaca", source: include_str!("builtin/alpaca.jinja"), needs: Needs::End },
];

impl BuiltIn {
    /// The one that `path` names in place of a file; `None`: it is no name, or there is a file of that name, which
    /// beats it.
    pub fn named_by(path: &Path) -> Option<Self> {
        if path.exists() {
            return None;
        }
        BUILT_IN.into_iter().find(|built_in| path.to_str() == Some(built_in.name))
    }

    /// Compares what it needs with what `tokenizer` has.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`] at `data.chat_template`.
    pub fn check(self, tokenizer: &Tokenizer) -> Result<(), Problem> {
        let name = self.name;
        let refuse = |message: String, hint: String| {
            Err(Problem::new(ProblemKind::BadTemplate, message).at("data.chat_template").hint(hint))
        };
        match self.needs {
            Needs::End if tokenizer.special_tokens().contains_key("eos_token") => Ok(()),
            Needs::End => refuse(
                format!(
                    "the built-in template `{name}` ends answers with the end token, and the tokenizer names none"
                ),
                "name it as `eos_token` in tokenizer_config.json".to_owned(),
            ),
            Needs::Tokens(needed) => {
                let lacking: Vec<String> = needed
                    .iter()
                    .filter(|token| tokenizer.control(token).is_none())
                    .map(|token| format!("`{token}`"))
                    .collect();
                if lacking.is_empty() {
                    return Ok(());
                }
                let others: Vec<&str> = BUILT_IN
                    .iter()
                    .filter(|other| other.needs == Needs::End)
                    .map(|other| other.name)
                    .collect();
                refuse(
                    format!(
                        "the built-in template `{name}` needs control tokens that the tokenizer does not have: {}",
                        lacking.join(", ")
                    ),
                    format!(
                        "choose one that needs only an end token ({}), or add the tokens to tokenizer.json",
                        others.join(", ")
                    ),
                )
            }
        }
    }
}

/// The names, for messages.
pub fn names() -> String {
    BUILT_IN_TEMPLATES.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_spec_are_the_templates_there_are() {
        assert_eq!(BUILT_IN.map(|built_in| built_in.name), BUILT_IN_TEMPLATES);
    }
}
