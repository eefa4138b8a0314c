//! `ftl jobs stop`, `cancel` and `rm`: what changes jobs.

use ftl_client::Client;
use ftl_core::JobId;

use crate::confirm::{Answer, ConfirmArgs};
use crate::connection::Context;
use crate::find;
use crate::follow::value;
use crate::output::{CommandResult, Ended, Failure, note};
use crate::remove::{Report, listed, once};

/// The jobs that a command is about.
#[derive(Debug, clap::Args)]
pub struct JobArgs {
    /// Ids, beginnings of ids (with or without `job-`), names, or `last`.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

impl JobArgs {
    /// Each once. Where one means nothing, nothing is done to the others either.
    async fn find(&self, client: &Client) -> Result<Vec<JobId>, Failure> {
        let mut ids = Vec::new();
        for text in &self.jobs {
            once(&mut ids, find::job(client, text).await?);
        }
        Ok(ids)
    }
}

/// Flags of `jobs cancel` and `jobs rm`.
#[derive(Debug, clap::Args)]
pub struct LossArgs {
    #[command(flatten)]
    jobs: JobArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Asks workers to save and stop.
pub async fn stop(args: JobArgs, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let mut report = Report::new(context.format);
    for id in args.find(&client).await? {
        match client.stop_job(&id).await {
            Ok(job) => report.done(&format!("{id} {}", job.state), value(&job))?,
            Err(error) => report.problem(&id, error.into()),
        }
    }
    report.end("jobs")
}

/// Gives jobs up.
pub async fn cancel(args: LossArgs, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let ids = args.jobs.find(&client).await?;
    if args.confirm.ask(&format!("give up {}?", listed(&ids)))? == Answer::No {
        note("nothing was cancelled");
        return Ok(Ended::Negative);
    }
    let mut report = Report::new(context.format);
    for id in ids {
        match client.cancel_job(&id).await {
            Ok(job) => report.done(&format!("{id} {}", job.state), value(&job))?,
            Err(error) => report.problem(&id, error.into()),
        }
    }
    report.end("jobs")
}

/// Removes jobs with their files.
pub async fn remove(args: LossArgs, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let ids = args.jobs.find(&client).await?;
    if args.confirm.ask(&format!("remove {} with all files?", listed(&ids)))? == Answer::No {
        note("nothing was removed");
        return Ok(Ended::Negative);
    }
    let mut report = Report::new(context.format);
    for id in ids {
        report.take(&id, client.delete_job(&id).await, "removed")?;
    }
    report.end_removed()
}
