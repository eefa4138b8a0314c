//! `ftl jobs show`.

use ftl_client::Client;
use ftl_client::terminal::{age, duration, loss, now_unix_ms};
use ftl_core::job::{Artifact, Job, Progress};

use super::JobArg;
use super::list::steps;
use crate::connection::Context;
use crate::find;
use crate::follow::document;
use crate::jobs::metrics::eta;
use crate::output::{CommandResult, Ended, Failure, Format, print_fields, print_json};

/// Runs it.
pub async fn run(args: JobArg, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let id = find::job(&client, &args.job).await?;
    let job = client.job(&id).await?;
    match context.format {
        Format::Json => print_json(&document(&job))?,
        Format::Text => print_fields(&fields(&client, &job).await?)?,
    }
    Ok(Ended::Done)
}

async fn fields(client: &Client, job: &Job) -> Result<Vec<(&'static str, String)>, Failure> {
    let Job {
        id,
        name,
        spec,
        state,
        reason,
        problems,
        waiting,
        queue_place,
        parent,
        phase,
        progress,
        n_attempts,
        seq: _,
        directory,
        created_unix_ms,
        started_unix_ms,
        ended_unix_ms,
    } = job;
    let Progress { step: _, total_steps: _, loss_nats, eval_loss_before_nats, eval_loss_nats } = progress;
    let now = now_unix_ms();
    let mut fields = vec![("id", id.to_string()), ("name", name.clone()), ("state", state.to_string())];
    let mut add = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    add("why", reason.clone());
    add("place", queue_place.map(|place| format!("{place} of the queue")));
    add("waits", waiting.as_ref().map(|waiting| waiting.message.clone()));
    add("phase", phase.map(|phase| phase.to_string()));
    add("steps", Some(steps(progress)).filter(|steps| !steps.is_empty()));
    let eta = eta(client, job).await?;
    add(
        "ETA",
        eta.map(|eta| format!("{} (from {} steps measured)", duration(eta.left), eta.n_steps_measured)),
    );
    add("loss", loss_nats.map(loss));
    add(
        "held-out loss",
        match (eval_loss_before_nats, eval_loss_nats) {
            (Some(before), Some(after)) => Some(format!("{} → {}", loss(*before), loss(*after))),
            (Some(only), None) | (None, Some(only)) => Some(loss(*only)),
            (None, None) => None,
        },
    );
    add("model", spec.model.path.as_ref().map(|path| path.display().to_string()));
    let files: Vec<String> = spec.data.train.iter().map(|file| file.path.display().to_string()).collect();
    add("data", Some(files.join(", ")));
    add("from", parent.as_ref().map(|parent| format!("{}, step {}", parent.job, parent.step)));
    add("created", Some(age(*created_unix_ms, now)));
    add("started", started_unix_ms.map(|started| age(started, now)));
    add("ended", ended_unix_ms.map(|ended| age(ended, now)));
    add("attempts", Some(n_attempts.to_string()));
    add("directory", Some(directory.display().to_string()));
    for Artifact { kind, path, .. } in client.artifacts(id).await? {
        add("result", Some(format!("{} ({kind})", path.display())));
    }
    for problem in problems {
        add("problem", Some(problem.to_string()));
    }
    Ok(fields)
}
