//! `ftl checkpoints ls`.

use ftl_client::Show;
use ftl_client::terminal::{Align, Table, age, bytes, clean, count, loss, now_unix_ms};
use ftl_core::job::{Checkpoint, CheckpointState};
use serde_json::{Value, json};

use crate::connection::Context;
use crate::output::{CommandResult, Ended, Format, note, print_json, print_table};
use crate::{find, pages};

/// Flags of `checkpoints ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An id, the beginning of one (with or without `job-`), a name, or `last`.
    job: String,
    /// Also those that are not on disk any more.
    #[arg(long, short)]
    all: bool,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { job, all } = args;
    let client = context.client().await?;
    let id = find::job(&client, &job).await?;
    let show = if all { Show::Removed } else { Show::OnDisk };
    let checkpoints = pages::all(async |page| client.checkpoints(&id, &page, show).await).await?;
    match context.format {
        Format::Json => {
            let checkpoints: Vec<Value> = checkpoints.iter().map(value).collect();
            print_json(&json!({ "checkpoints": checkpoints }))?;
        }
        Format::Text if checkpoints.is_empty() => note(&format!("{id} has no checkpoint on disk")),
        Format::Text => print_table(&table(&checkpoints))?,
    }
    Ok(Ended::Done)
}

/// A checkpoint in a JSON document.
pub fn value(checkpoint: &Checkpoint) -> Value {
    let mut value = serde_json::to_value(checkpoint).expect("a checkpoint is plain data");
    value["name"] = json!(checkpoint.name());
    value
}

/// What stands out of a checkpoint, in some words.
pub fn remarks(checkpoint: &Checkpoint) -> String {
    let mut remarks: Vec<String> = Vec::new();
    for (is_so, word) in [(checkpoint.last, "last"), (checkpoint.best, "best"), (checkpoint.pinned, "pinned")]
    {
        if is_so {
            remarks.push(word.to_owned());
        }
    }
    match (checkpoint.state, &checkpoint.damage) {
        (CheckpointState::Complete, _) => {}
        (CheckpointState::Damaged, damage) => {
            remarks.push(format!("damaged: {}", clean(damage.as_deref().unwrap_or_default())));
        }
        (CheckpointState::Removed, _) => remarks.push("removed".to_owned()),
    }
    remarks.join(", ")
}

fn table(checkpoints: &[Checkpoint]) -> Table {
    let mut table = Table::new(&[
        ("STEP", Align::Right),
        ("ATTEMPT", Align::Right),
        ("SIZE", Align::Right),
        ("HELD-OUT", Align::Right),
        ("SAVED", Align::Left),
        ("PATH", Align::Left),
        ("REMARKS", Align::Left),
    ]);
    for checkpoint in checkpoints {
        table.row([
            count(checkpoint.step).into(),
            checkpoint.attempt.to_string().into(),
            bytes(checkpoint.bytes).into(),
            checkpoint.eval_loss_nats.map(loss).unwrap_or_default().into(),
            age(checkpoint.created_unix_ms, now_unix_ms()).into(),
            checkpoint.path.display().to_string().into(),
            remarks(checkpoint).into(),
        ]);
    }
    table
}
