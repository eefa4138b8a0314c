//! `ftl jobs resume`: the same job goes on, or a new one goes on from its checkpoint with changed settings.

use ftl_client::Client;
use ftl_core::JobId;
use ftl_core::job::{Job, StartFrom};

use super::JobArg;
use crate::connection::Context;
use crate::find;
use crate::follow::{follow, sum_up};
use crate::output::{CommandResult, Ended, Failure, note};
use crate::spec::changed;
use crate::train::request_id;

/// Flags of `jobs resume`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArg,
    /// Make a new job that goes on from this one's checkpoint, with a key of its spec changed: `--set
    /// train.learning_rate=1e-5`. This one stays as it is.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Go on from the checkpoint of this step instead of the newest, as a new job.
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// What to call the new job.
    #[arg(long)]
    name: Option<String>,
    /// Stay and show how it goes on. Ctrl-C leaves, and the job goes on.
    #[arg(long, short)]
    follow: bool,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { job, overrides, step, name, follow: stay } = args;
    let client = context.client().await?;
    let id = find::job(&client, &job.job).await?;
    let job = if overrides.is_empty() && step.is_none() && name.is_none() {
        client.resume_job(&id).await?
    } else {
        anew(&client, id, &overrides, (step, name)).await?
    };
    if stay {
        note(&format!("{} is queued", job.id));
        return follow(&client, &job, context).await;
    }
    sum_up(&client, &job, None, context.format).await?;
    Ok(Ended::Done)
}

/// Makes the new job.
async fn anew(
    client: &Client,
    id: JobId,
    overrides: &[String],
    (step, name): (Option<u64>, Option<String>),
) -> Result<Job, Failure> {
    let mut spec = changed(&client.job(&id).await?.spec, overrides)?;
    if name.is_some() {
        spec.name = name;
    }
    // What is wrong on its face is told at once; the service judges again.
    spec.check()?;
    Ok(client.create_job_from(&spec, StartFrom { job: id, step }, &request_id()).await?)
}
