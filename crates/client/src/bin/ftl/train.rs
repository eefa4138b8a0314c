//! `ftl train`: judges a spec, and has the service queue a job.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::connection::Context;
use crate::follow::{follow, sum_up};
use crate::output::{CommandResult, Ended, note};
use crate::spec::SpecArgs;

/// Flags of `train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: SpecArgs,
    /// What to call the job.
    #[arg(long)]
    name: Option<String>,
    /// Stay and show how it goes on. Ctrl-C leaves, and the job goes on.
    #[arg(long, short)]
    follow: bool,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { spec, name, follow: stay } = args;
    let mut spec = spec.read(context).await?;
    if name.is_some() {
        spec.name = name;
    }
    // What is wrong on its face is told at once, without a service. The service judges again, with ids resolved.
    spec.check()?;
    let client = context.client().await?;
    // With an id of its own the request can be repeated, and makes one job all the same.
    let job = client.create_job(&spec, Some(&request_id())).await?;
    if stay {
        note(&format!("{} is queued", job.id));
        follow(&client, &job, context).await
    } else {
        sum_up(&client, &job, None, context.format).await?;
        Ok(Ended::Done)
    }
}

/// Random enough that two commands differ: std seeds its hash maps from the system.
pub fn request_id() -> String {
    format!("ftl-{:016x}", RandomState::new().build_hasher().finish())
}
