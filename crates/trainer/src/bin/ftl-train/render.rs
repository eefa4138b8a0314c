//! `ftl-train render`: conversations, or a row of a data file, as the model will see them.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::PathBuf;

use ftl_core::spec::resolved::{DataFormat, LossOn};
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::data::encode::{Encoder, View, Words};
use ftl_trainer::data::render::{RenderedText, row};
use ftl_trainer::data::spelled::Spelled;
use ftl_trainer::data::template::Ending;
use serde_json::{Value, json};

use crate::check::data_format;
use crate::messages::{read_conversations, read_map};
use crate::output::{CommandResult, Ended, Format, note, print};

/// Flags of `render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model directory; only its tokenizer files are read.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    input: Input,
    /// Which row of the data file, from 1.
    #[arg(long, value_name = "N", requires = "data", default_value_t = 1)]
    row: u64,
    /// The format of the data file. Default: found out.
    #[arg(long, value_name = "FORMAT", requires = "data", value_parser = data_format)]
    format: Option<DataFormat>,
    /// What replaces the model's chat template: a Jinja file, or the name of a built-in one.
    #[arg(long, value_name = "FILE|NAME")]
    template: Option<PathBuf>,
    /// End with the words that make the model answer.
    #[arg(long, conflicts_with_all = ["continue_final_message", "data"])]
    add_generation_prompt: bool,
    /// End inside the last message, which the model is to go on with.
    #[arg(long, conflicts_with = "data")]
    continue_final_message: bool,
    /// JSON object with further template variables.
    #[arg(long, value_name = "FILE")]
    template_args: Option<PathBuf>,
}

/// What is rendered.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// JSON with a conversation, or a list of them.
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// A data file of any format, of which one row is shown.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
}

/// A text with its tokens.
struct Shown {
    text: String,
    tokens: Vec<Token>,
}

struct Token {
    id: u32,
    /// Its bytes of the text.
    bytes: Range<usize>,
    is_trained: bool,
    is_control: bool,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let mut encoder = Encoder::load(&args.model, args.template.as_deref())?;
    if let Some(path) = &args.template_args {
        encoder.arguments = read_map(path)?;
    }
    let mut shown = Vec::new();
    match (&args.input.messages, &args.input.data) {
        (Some(path), _) => {
            if encoder.template.is_none() {
                let message = "the model has no chat template, which messages need";
                return Err(Problem::new(ProblemKind::BadTemplate, message)
                    .at(args.model.display().to_string())
                    .hint("give one with `--template FILE`, or a built-in one by its name, as in `--template chatml`")
                    .into());
            }
            let ending = match (args.add_generation_prompt, args.continue_final_message) {
                (true, _) => Ending::GenerationPrompt,
                (false, true) => Ending::ContinueFinalMessage,
                (false, false) => Ending::Complete,
            };
            for conversation in read_conversations(path)? {
                let view = encoder.view(&conversation, ending, Words::AsWritten)?;
                if let Spelled::AsControls(words) = &view.spelled {
                    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                    note(&format!(
                        "a message spells {}: a control token here, as in transformers, and plain text in training; see `--data`",
                        words.join(", ")
                    ));
                }
                shown.push(of_view(&encoder, view));
            }
        }
        (None, data) => {
            let path = data.as_ref().expect("clap asks for one of the two");
            let data_format = args.format.unwrap_or(DataFormat::Auto);
            let rendered = row((path, args.row), data_format, &encoder, LossOn::AssistantTokens)?;
            shown.extend(rendered.texts.into_iter().map(of_row));
            for notice in rendered.notices {
                note(&format!("row {} {notice}", args.row));
            }
        }
    }
    match format {
        Format::Json => print(&Value::from_iter(shown.iter().map(document)).to_string()),
        Format::Text => {
            let is_coloured = wants_colour();
            for shown in &shown {
                print(&if is_coloured { coloured(shown) } else { marked(shown) });
                let n_trained = shown.tokens.iter().filter(|token| token.is_trained).count();
                let how = if is_coloured { "green; control tokens are bold" } else { "between ⟦ and ⟧" };
                note(&format!("{n_trained} of {} tokens are trained ({how})", shown.tokens.len()));
            }
        }
    }
    Ok(Ended::Done)
}

fn of_view(encoder: &Encoder, view: View) -> Shown {
    let View { text, ids, offsets, mask, spelled: _ } = view;
    let tokens = ids.into_iter().zip(offsets).zip(mask).map(|((id, bytes), is_trained)| Token {
        id,
        bytes,
        is_trained,
        is_control: encoder.tokenizer.is_special(id),
    });
    Shown { tokens: tokens.collect(), text }
}

fn of_row(rendered: RenderedText) -> Shown {
    let RenderedText { text, tokens } = rendered;
    let mut end = 0;
    let tokens = tokens.into_iter().map(|token| {
        let start = end;
        end += token.text.len();
        Token {
            id: token.id,
            bytes: start..end,
            is_trained: token.weight > 0.0,
            is_control: token.is_control,
        }
    });
    Shown { tokens: tokens.collect(), text }
}

fn document(shown: &Shown) -> Value {
    let Shown { text, tokens } = shown;
    let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
    let mask: Vec<u8> = tokens.iter().map(|token| u8::from(token.is_trained)).collect();
    json!({"text": text, "ids": ids, "mask": mask})
}

/// Colour for people, who may not want it (no-color.org).
fn wants_colour() -> bool {
    let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    is_wanted && std::io::stdout().is_terminal()
}

/// The text with marks around each stretch of trained tokens.
fn marked(shown: &Shown) -> String {
    let mut text = String::new();
    let mut done = 0;
    let mut is_open = false;
    for token in &shown.tokens {
        // Tokens of one character's bytes share its place.
        if token.is_trained != is_open && token.bytes.start >= done {
            text.push_str(&shown.text[done..token.bytes.start]);
            text.push(if token.is_trained { '⟦' } else { '⟧' });
            done = token.bytes.start;
            is_open = token.is_trained;
        }
    }
    text.push_str(&shown.text[done..]);
    if is_open {
        text.push('⟧');
    }
    text
}

/// The text in colour: trained tokens green, control tokens bold, and every other token on a shade, so that one sees
/// where they begin.
fn coloured(shown: &Shown) -> String {
    const RESET: &str = "\u{1b}[0m";
    let mut text = String::new();
    let mut done = 0;
    for (index, token) in shown.tokens.iter().enumerate() {
        // Some tokens stand for no text, or share the place of one before.
        if token.bytes.start > done {
            text.push_str(&shown.text[done..token.bytes.start]);
        }
        let piece = shown.text.get(token.bytes.start.max(done)..token.bytes.end).unwrap_or_default();
        done = done.max(token.bytes.end);
        let style = format!(
            "\u{1b}[{}{}{}m",
            if token.is_trained { "32" } else { "39" },
            if token.is_control { ";1" } else { "" },
            if index % 2 == 0 { "" } else { ";48;5;236" },
        );
        // A shade that goes on over the end of a line would fill the rest of it.
        for line in piece.split_inclusive('\n') {
            let words = line.trim_end_matches('\n');
            if line.len() > words.len() {
                text.push_str(&format!("{style}{words}↵{RESET}\n"));
            } else {
                text.push_str(&format!("{style}{words}{RESET}"));
            }
        }
    }
    text.push_str(&shown.text[done..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        let token =
            |bytes: Range<usize>, is_trained, is_control| Token { id: 0, bytes, is_trained, is_control };
        Shown {
            text: "<u>a\n<e>é".to_owned(),
            tokens: vec![
                token(0..3, false, true),
                token(3..5, true, false),
                token(5..8, true, true),
                token(8..10, false, false),
                token(8..10, false, false),
            ],
        }
    }

    #[test]
    fn trained_tokens_stand_between_marks() {
        assert_eq!(marked(&shown()), "<u>⟦a\n<e>⟧é");
    }

    #[test]
    fn every_token_has_its_colour_and_no_text_is_lost() {
        assert_eq!(
            coloured(&shown()),
            "\u{1b}[39;1m<u>\u{1b}[0m\u{1b}[32;48;5;236ma↵\u{1b}[0m\n\u{1b}[32;1m<e>\u{1b}[0m\
             \u{1b}[39;48;5;236mé\u{1b}[0m"
        );
    }
}
