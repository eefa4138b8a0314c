//! `ftl checkpoints`: one file for each way to treat them.

mod act;
mod list;
mod name;

use crate::connection::Context;
use crate::output::CommandResult;

/// What to do with checkpoints. A JOB is an id, the beginning of one, a name, or `last`; a CHECKPOINT is JOB/STEP,
/// JOB/last, JOB/best, or JOB/NAME.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List a job's checkpoints, newest first.
    #[command(visible_alias = "list")]
    Ls(list::Args),
    /// Have a job that trains save after the step under way and go on.
    Now(act::JobArg),
    /// Keep checkpoints, whatever `train.save_total_limit` says.
    Pin(act::CheckpointArgs),
    /// Let checkpoints go again, as `train.save_total_limit` says.
    Unpin(act::CheckpointArgs),
    /// Compare every file of checkpoints with what was written.
    Verify(act::CheckpointArgs),
    /// Copy what other programs load, a PEFT adapter or a model, into a new directory.
    Export(act::ExportArgs),
    /// Remove checkpoints from the disk.
    Rm(act::RemoveArgs),
}

/// Runs it.
pub async fn run(command: Command, context: &Context) -> CommandResult {
    match command {
        Command::Ls(args) => list::run(args, context).await,
        Command::Now(args) => act::now(args, context).await,
        Command::Pin(args) => act::pin(args, context).await,
        Command::Unpin(args) => act::unpin(args, context).await,
        Command::Verify(args) => act::verify(args, context).await,
        Command::Export(args) => act::export(args, context).await,
        Command::Rm(args) => act::remove(args, context).await,
    }
}
