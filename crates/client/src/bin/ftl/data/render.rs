//! `ftl data render`: a row as a model is trained on it.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use ftl_client::terminal::count;
use ftl_core::dataset::{RenderedRow, RenderedText};
use serde_json::json;

use super::DatasetArg;
use super::check::{meant_model, template};
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Format, note, print, print_json};

/// Flags of `data render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dataset: DatasetArg,
    /// The model: a directory, the id or name of an imported one, or `org/name` of the Hugging Face cache.
    #[arg(long)]
    model: String,
    /// Which row, from 1.
    #[arg(long, value_name = "N", default_value_t = 1)]
    row: u64,
    /// A Jinja file that replaces the model's chat template, or the name of a built-in one.
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { dataset: DatasetArg { dataset }, model, row, chat_template } = args;
    let client = context.client().await?;
    let id = find::dataset(&client, &dataset).await?;
    let model = meant_model(&client, model).await?;
    let chat_template = chat_template.map(template).transpose()?;
    let rendered = client.render_sample(&id, row, &model, chat_template.as_deref()).await?;
    match context.format {
        Format::Json => print_json(&json!({"row": rendered}))?,
        Format::Text => show(&rendered)?,
    }
    Ok(Ended::Done)
}

fn show(row: &RenderedRow) -> std::io::Result<()> {
    let marks = Marks::for_stdout();
    for text in &row.texts {
        if row.texts.len() > 1 {
            print(&format!("{}:", text.role))?;
        }
        print(&marked(text, marks))?;
        let n_trained = text.tokens.iter().filter(|token| token.is_trained).count();
        note(&format!(
            "{} of {} tokens are trained ({})",
            count(n_trained as u64),
            count(text.tokens.len() as u64),
            marks.name
        ));
    }
    Ok(())
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

fn marked(rendered: &RenderedText, marks: Marks) -> String {
    let mut text = String::new();
    let mut is_open = false;
    for token in &rendered.tokens {
        if token.is_trained != is_open {
            text.push_str(if token.is_trained { marks.start } else { marks.end });
            is_open = token.is_trained;
        }
        text.push_str(&visible(&token.text));
    }
    if is_open {
        text.push_str(marks.end);
    }
    text
}

/// Text of others without the characters that could move the cursor or change colours; lines stay lines.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}
