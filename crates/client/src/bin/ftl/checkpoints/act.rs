//! `ftl checkpoints now`, `pin`, `unpin`, `verify`, `export` and `rm`: what is done to checkpoints.

use std::path::PathBuf;

use ftl_client::Client;
use ftl_client::terminal::bytes;
use ftl_core::job::CheckpointState;
use serde_json::json;

use super::list::{remarks, value};
use super::name::{self, Named};
use crate::confirm::{Answer, ConfirmArgs};
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Failure, Format, note, print, print_json};
use crate::remove::{Report, listed, once};

/// The job that a command is about.
#[derive(Debug, clap::Args)]
pub struct JobArg {
    /// An id, the beginning of one (with or without `job-`), a name, or `last`.
    job: String,
}

/// The checkpoints that a command is about.
#[derive(Debug, clap::Args)]
pub struct CheckpointArgs {
    /// JOB/STEP, JOB/last, JOB/best, or JOB/NAME.
    #[arg(required = true, value_name = "CHECKPOINT")]
    checkpoints: Vec<String>,
}

impl CheckpointArgs {
    /// Each once. Where one means nothing, nothing is done to the others either.
    async fn find(&self, client: &Client) -> Result<Vec<Named>, Failure> {
        let mut found = Vec::new();
        for text in &self.checkpoints {
            once(&mut found, name::find(client, text).await?);
        }
        Ok(found)
    }
}

/// Flags of `checkpoints rm`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    checkpoints: CheckpointArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Flags of `checkpoints export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// JOB/STEP, JOB/last, JOB/best, or JOB/NAME.
    checkpoint: String,
    /// The new directory.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Has a job save, and waits for that.
pub async fn now(args: JobArg, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let id = find::job(&client, &args.job).await?;
    if context.format == Format::Text {
        note(&format!("{id} saves after the step under way …"));
    }
    let checkpoint = client.save_checkpoint(&id).await?;
    match context.format {
        Format::Json => print_json(&json!({ "checkpoint": value(&checkpoint) }))?,
        Format::Text => print(&format!(
            "saved after step {} in {} ({})",
            checkpoint.step,
            checkpoint.path.display(),
            bytes(checkpoint.bytes)
        ))?,
    }
    Ok(Ended::Done)
}

/// Keeps checkpoints.
pub async fn pin(args: CheckpointArgs, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let mut report = Report::new(context.format);
    for named in args.find(&client).await? {
        match client.pin_checkpoint(&named.job, &named.name).await {
            Ok(checkpoint) => report.done(&format!("{named} pinned"), value(&checkpoint))?,
            Err(error) => report.problem(&named, error.into()),
        }
    }
    report.end("checkpoints")
}

/// Lets checkpoints go again.
pub async fn unpin(args: CheckpointArgs, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let mut report = Report::new(context.format);
    for named in args.find(&client).await? {
        match client.unpin_checkpoint(&named.job, &named.name).await {
            Ok(checkpoint) => report.done(&format!("{named} unpinned"), value(&checkpoint))?,
            Err(error) => report.problem(&named, error.into()),
        }
    }
    report.end("checkpoints")
}

/// Compares checkpoints with what was written; ends with 1 where one is damaged.
pub async fn verify(args: CheckpointArgs, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let mut report = Report::new(context.format);
    let mut are_whole = true;
    for named in args.find(&client).await? {
        match client.verify_checkpoint(&named.job, &named.name).await {
            Ok(checkpoint) => {
                let text = match checkpoint.state {
                    CheckpointState::Complete => format!("{named} is as it was written"),
                    CheckpointState::Damaged | CheckpointState::Removed => {
                        are_whole = false;
                        format!("{named} {}", remarks(&checkpoint))
                    }
                };
                report.done(&text, value(&checkpoint))?;
            }
            Err(error) => report.problem(&named, error.into()),
        }
    }
    match report.end("checkpoints")? {
        Ended::Done if !are_whole => Ok(Ended::Negative),
        ended => Ok(ended),
    }
}

/// Copies what other programs load.
pub async fn export(args: ExportArgs, context: &Context) -> CommandResult {
    let ExportArgs { checkpoint, out } = args;
    let client = context.client().await?;
    let Named { job, name } = name::find(&client, &checkpoint).await?;
    let path = std::path::absolute(out)?;
    let n_bytes = client.export_checkpoint(&job, &name, &path).await?;
    match context.format {
        Format::Json => print_json(&json!({ "path": path, "bytes": n_bytes }))?,
        Format::Text => print(&format!("exported to {} ({})", path.display(), bytes(n_bytes)))?,
    }
    Ok(Ended::Done)
}

/// Removes checkpoints.
pub async fn remove(args: RemoveArgs, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let checkpoints = args.checkpoints.find(&client).await?;
    if args.confirm.ask(&format!("remove {}?", listed(&checkpoints)))? == Answer::No {
        note("nothing was removed");
        return Ok(Ended::Negative);
    }
    let mut report = Report::new(context.format);
    for named in checkpoints {
        let removed = client.delete_checkpoint(&named.job, &named.name).await;
        report.take(&named, removed, "removed")?;
    }
    report.end_removed()
}
