//! `ftl jobs checkpoints`.

use ftl_client::terminal::{Align, Table, age, bytes, count, now_unix_ms};
use ftl_core::job::Checkpoint;
use serde_json::json;

use super::JobArg;
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Format, note, print_json, print_table};

/// Runs it.
pub async fn run(args: JobArg, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let id = find::job(&client, &args.job).await?;
    let checkpoints = client.checkpoints(&id).await?;
    match context.format {
        Format::Json => print_json(&json!({"checkpoints": checkpoints}))?,
        Format::Text if checkpoints.is_empty() => note(&format!("{id} has no checkpoint on disk")),
        Format::Text => {
            let mut table = Table::new(&[
                ("STEP", Align::Right),
                ("ATTEMPT", Align::Right),
                ("SIZE", Align::Right),
                ("SAVED", Align::Left),
                ("PATH", Align::Left),
            ]);
            for Checkpoint { step, attempt, path, bytes: size, created_unix_ms } in &checkpoints {
                table.row([
                    count(*step).into(),
                    attempt.to_string().into(),
                    bytes(*size).into(),
                    age(*created_unix_ms, now_unix_ms()).into(),
                    path.display().to_string().into(),
                ]);
            }
            print_table(&table)?;
        }
    }
    Ok(Ended::Done)
}
