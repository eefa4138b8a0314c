//! `ftl jobs attempts`.

use std::time::Duration;

use ftl_client::terminal::{Align, Table, age, duration, now_unix_ms};
use ftl_core::job::{Attempt, Exit};
use serde_json::json;

use super::JobArg;
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Format, note, print_json, print_table};

/// Runs it.
pub async fn run(args: JobArg, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let id = find::job(&client, &args.job).await?;
    let attempts = client.attempts(&id).await?;
    match context.format {
        Format::Json => print_json(&json!({"attempts": attempts}))?,
        Format::Text if attempts.is_empty() => note(&format!("no worker has begun on {id} yet")),
        Format::Text => print_table(&table(&attempts))?,
    }
    Ok(Ended::Done)
}

fn table(attempts: &[Attempt]) -> Table {
    let mut table = Table::new(&[
        ("ATTEMPT", Align::Right),
        ("STARTED", Align::Left),
        ("TOOK", Align::Right),
        ("EXIT", Align::Left),
        ("LAST LINE OF ITS LOG", Align::Left),
    ]);
    for Attempt { number, started_unix_ms, ended_unix_ms, exit, log_tail } in attempts {
        let took = ended_unix_ms.map(|ended| Duration::from_millis(ended.saturating_sub(*started_unix_ms)));
        let last_line = log_tail.as_deref().and_then(|tail| tail.trim_end().lines().next_back());
        table.row([
            number.to_string().into(),
            age(*started_unix_ms, now_unix_ms()).into(),
            took.map(duration).unwrap_or_default().into(),
            exit.map_or_else(|| "works".to_owned(), exit_text).into(),
            last_line.unwrap_or_default().into(),
        ]);
    }
    table
}

fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Ok => "done".to_owned(),
        Exit::Stopped => "saved and stopped".to_owned(),
        Exit::Data => "refused its input".to_owned(),
        Exit::Nan => "diverged".to_owned(),
        Exit::OomGpu => "out of GPU memory".to_owned(),
        Exit::OomHost => "out of memory".to_owned(),
        Exit::Crashed { signal: Some(signal), code: _ } => format!("crashed, signal {signal}"),
        Exit::Crashed { signal: None, code: Some(code) } => format!("crashed, code {code}"),
        Exit::Crashed { signal: None, code: None } => "crashed".to_owned(),
        Exit::SpawnFailed => "could not be started".to_owned(),
        Exit::Lost => "lost".to_owned(),
        Exit::Cancelled => "killed, the job was cancelled".to_owned(),
    }
}
