//! `ftl-train render`: conversations as the model will see them.

use std::io::IsTerminal;
use std::path::PathBuf;

use ftl_core::{Problem, ProblemKind};
use ftl_trainer::data::encode::{Encoder, View};
use ftl_trainer::data::template::Ending;
use ftl_trainer::data::tokenize::Around;
use ftl_trainer::error::TrainError;
use serde_json::{Value, json};

use crate::messages::{read_conversations, read_map};
use crate::output::{CommandResult, Ended, Format, note, print};

/// Flags of `render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model directory; only its tokenizer files are read.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// JSON with a conversation, or a list of them.
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// What replaces the model's chat template: a Jinja file, or the name of a built-in one.
    #[arg(long, value_name = "FILE|NAME")]
    template: Option<PathBuf>,
    /// End with the words that make the model answer.
    #[arg(long, conflicts_with = "continue_final_message")]
    add_generation_prompt: bool,
    /// End inside the last message, which the model is to go on with.
    #[arg(long)]
    continue_final_message: bool,
    /// JSON object with further template variables.
    #[arg(long, value_name = "FILE")]
    template_args: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let mut encoder = Encoder::load(&args.model, args.template.as_deref())?;
    if encoder.template.is_none() {
        let message = "the model has no chat template, which messages need";
        return Err(Problem::new(ProblemKind::BadTemplate, message)
            .at(args.model.display().to_string())
            .hint("give one with `--template FILE`")
            .into());
    }
    if let Some(path) = &args.template_args {
        encoder.arguments = read_map(path)?;
    }
    let ending = match (args.add_generation_prompt, args.continue_final_message) {
        (true, _) => Ending::GenerationPrompt,
        (false, true) => Ending::ContinueFinalMessage,
        (false, false) => Ending::Complete,
    };
    let mut views = Vec::new();
    for conversation in read_conversations(&args.messages)? {
        views.push(encoder.view(&conversation, ending)?);
    }
    match format {
        Format::Json => print(&Value::from_iter(views.iter().map(document)).to_string()),
        Format::Text => {
            let marks = Marks::for_stdout();
            for view in &views {
                print(&marked(&encoder, view, marks)?);
                let n_trained = view.mask.iter().filter(|trained| **trained).count();
                note(&format!("{n_trained} of {} tokens are trained ({})", view.ids.len(), marks.name));
            }
        }
    }
    Ok(Ended::Done)
}

fn document(view: &View) -> Value {
    let View { text, ids, offsets: _, mask } = view;
    let mask: Vec<u8> = mask.iter().map(|trained| u8::from(*trained)).collect();
    json!({"text": text, "ids": ids, "mask": mask})
}

/// What stands around trained tokens.
#[derive(Clone, Copy)]
struct Marks {
    start: &'static str,
    end: &'static str,
    name: &'static str,
}

impl Marks {
    const GREEN: Self = Self { start: "\u{1b}[32m", end: "\u{1b}[0m", name: "green" };
    const BRACKETS: Self = Self { start: "⟦", end: "⟧", name: "between ⟦ and ⟧" };

    /// Colour for people, who may not want it (no-color.org).
    fn for_stdout() -> Self {
        let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wants_colour && std::io::stdout().is_terminal() { Self::GREEN } else { Self::BRACKETS }
    }
}

/// The text with marks around each stretch of trained tokens.
fn marked(encoder: &Encoder, view: &View, marks: Marks) -> Result<String, TrainError> {
    let encoded = encoder.tokenizer.encode_with_offsets(&view.text, Around::Nothing)?;
    let mut text = String::new();
    let mut done = 0;
    let mut is_open = false;
    for (span, trained) in encoded.offsets.iter().zip(&view.mask) {
        // Tokens of one character's bytes share its place.
        if *trained != is_open && span.start >= done {
            text.push_str(&view.text[done..span.start]);
            text.push_str(if *trained { marks.start } else { marks.end });
            done = span.start;
            is_open = *trained;
        }
    }
    text.push_str(&view.text[done..]);
    if is_open {
        text.push_str(marks.end);
    }
    Ok(text)
}
