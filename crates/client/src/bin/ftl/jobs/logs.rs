//! `ftl jobs logs`.

use std::io::IsTerminal as _;

use ftl_client::terminal::clean;
use serde_json::json;

use super::JobArg;
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Format, note, print_json, print_part};

/// Flags of `jobs logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArg,
    /// Of this attempt. Default: the last.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let id = find::job(&client, &args.job.job).await?;
    let (attempt, text) = client.log(&id, args.attempt).await?;
    match context.format {
        Format::Json => print_json(&json!({"attempt": attempt, "text": text}))?,
        Format::Text if text.is_empty() => note(&format!("attempt {attempt} of {id} wrote nothing")),
        Format::Text if std::io::stdout().is_terminal() => {
            for line in text.lines() {
                // Progress bars of other programs overwrite their line; the last state of it is the news.
                let line = line.rsplit('\r').next().unwrap_or_default();
                print_part(&format!("{}\n", clean(line)))?;
            }
        }
        Format::Text => print_part(&text)?,
    }
    Ok(Ended::Done)
}
