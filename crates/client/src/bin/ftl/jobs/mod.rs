//! `ftl jobs`: one file for each command.

mod act;
mod attempts;
mod list;
mod logs;
mod metrics;
mod predictions;
mod queue;
mod resume;
mod show;
mod watch;

pub use list::steps;
pub use metrics::eta;

use crate::connection::Context;
use crate::output::CommandResult;

/// What to do with jobs. A JOB is an id, the beginning of one (with or without `job-`), a name, or `last`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List jobs, newest first.
    #[command(visible_alias = "list")]
    Ls(list::Args),
    /// Show where a job stands.
    Show(JobArg),
    /// Show how a job went and goes on. Ctrl-C leaves, and the job goes on.
    Watch(JobArg),
    /// Save and stop jobs.
    Stop(act::JobArgs),
    /// Queue a stopped or failed job again; it goes on from its newest checkpoint. With --set, a new job goes on from
    /// there with changed settings.
    Resume(resume::Args),
    /// Show the queue in its order, and what its jobs wait for.
    Queue(queue::Args),
    /// Change a job's place in the queue.
    Move(queue::MoveArgs),
    /// Give jobs up. Their workers are killed, their checkpoints stay.
    Cancel(act::LossArgs),
    /// Remove jobs at rest with all their files.
    Rm(act::LossArgs),
    /// Print the end of what a job's worker wrote to stdout and stderr.
    Logs(logs::Args),
    /// Print the numbers of a job's steps and evaluations.
    Metrics(metrics::Args),
    /// Print what a job's model answered to held-out prompts.
    Predictions(predictions::Args),
    /// List the processes that worked on a job.
    Attempts(JobArg),
}

/// The job that a command is about.
#[derive(Debug, clap::Args)]
pub struct JobArg {
    /// An id, the beginning of one (with or without `job-`), a name, or `last`.
    pub job: String,
}

/// Runs it.
pub async fn run(command: Command, context: &Context) -> CommandResult {
    match command {
        Command::Ls(args) => list::run(args, context).await,
        Command::Show(args) => show::run(args, context).await,
        Command::Watch(args) => watch::run(args, context).await,
        Command::Stop(args) => act::stop(args, context).await,
        Command::Resume(args) => resume::run(args, context).await,
        Command::Queue(args) => queue::run(args, context).await,
        Command::Move(args) => queue::change(args, context).await,
        Command::Cancel(args) => act::cancel(args, context).await,
        Command::Rm(args) => act::remove(args, context).await,
        Command::Logs(args) => logs::run(args, context).await,
        Command::Metrics(args) => metrics::run(args, context).await,
        Command::Predictions(args) => predictions::run(args, context).await,
        Command::Attempts(args) => attempts::run(args, context).await,
    }
}
