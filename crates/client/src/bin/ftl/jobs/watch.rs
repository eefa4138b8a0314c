//! `ftl jobs watch`.

use super::JobArg;
use crate::connection::Context;
use crate::find;
use crate::follow::follow;
use crate::output::CommandResult;

/// Runs it.
pub async fn run(args: JobArg, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let id = find::job(&client, &args.job).await?;
    let job = client.job(&id).await?;
    follow(&client, &job, context).await
}
