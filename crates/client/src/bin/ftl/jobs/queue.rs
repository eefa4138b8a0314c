//! `ftl jobs queue` and `ftl jobs move`: what will be worked on next, and why it is not yet.

use ftl_client::Client;
use ftl_client::terminal::{Align, Table, bytes};
use ftl_core::JobId;
use ftl_core::job::{Job, Move, MoveTo, QueueSettings, State};
use ftl_core::spec::MaxMemory;
use serde_json::{Value, json};

use super::JobArg;
use crate::connection::Context;
use crate::find;
use crate::follow::{document, value};
use crate::output::{CommandResult, Ended, Failure, Format, note, print, print_json, print_table};
use crate::pages;

/// Flags of `jobs queue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Start jobs only while the disk of the data directory has this much room: bytes, or as in `5GiB`. Kept until it
    /// is changed again.
    #[arg(long, value_name = "SIZE")]
    min_free_disk: Option<String>,
}

/// Flags of `jobs move`.
#[derive(Debug, clap::Args)]
pub struct MoveArgs {
    #[command(flatten)]
    job: JobArg,
    #[command(flatten)]
    to: To,
    /// Only if the job is at this place now.
    #[arg(long, value_name = "N")]
    from_place: Option<u64>,
}

/// Where to: one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// Before all others.
    #[arg(long)]
    first: bool,
    /// Behind all others.
    #[arg(long)]
    last: bool,
    /// Right before this queued job.
    #[arg(long, value_name = "JOB")]
    before: Option<String>,
    /// Right behind this queued job.
    #[arg(long, value_name = "JOB")]
    after: Option<String>,
}

/// Shows the queue, after a change of its settings where one is asked for.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let settings = match args.min_free_disk {
        Some(text) => {
            let min_free_disk_bytes = size(text).map_err(Failure::from)?;
            client.update_queue_settings(QueueSettings { min_free_disk_bytes }).await?
        }
        None => client.queue_settings().await?,
    };
    let mut jobs = pages::all(async |page| client.jobs(&page, &[State::Queued]).await).await?;
    // A job that was started while the pages were read has no place any more.
    jobs.sort_by_key(|job| job.queue_place.unwrap_or(0));
    match context.format {
        Format::Json => {
            let values: Vec<Value> = jobs.iter().map(value).collect();
            print_json(&json!({"settings": settings, "jobs": values}))?;
        }
        Format::Text => {
            if jobs.is_empty() {
                note("no job is queued");
            } else {
                print_table(&table(&jobs))?;
            }
            note(&format!(
                "jobs start while {} are free in the data directory; see --min-free-disk",
                bytes(settings.min_free_disk_bytes)
            ));
        }
    }
    Ok(Ended::Done)
}

/// Moves a job.
pub async fn change(args: MoveArgs, context: &Context) -> CommandResult {
    let MoveArgs { job, to, from_place } = args;
    let client = context.client().await?;
    let job = find::job(&client, &job.job).await?;
    let to = destination(&client, to).await?;
    let moved = client.move_job(Move { job, to, from_place }).await?;
    match (context.format, moved.queue_place) {
        (Format::Json, _) => print_json(&document(&moved))?,
        (Format::Text, Some(place)) => print(&format!("{} is at place {place} of the queue", moved.id))?,
        (Format::Text, None) => print(&format!("{} is {}", moved.id, moved.state))?,
    }
    Ok(Ended::Done)
}

async fn destination(client: &Client, to: To) -> Result<MoveTo, Failure> {
    let other = async |text: String| -> Result<JobId, Failure> { find::job(client, &text).await };
    let To { first, last: _, before, after } = to;
    Ok(match (before, after) {
        (Some(before), _) => MoveTo::Before(other(before).await?),
        (None, Some(after)) => MoveTo::After(other(after).await?),
        // clap lets exactly one through.
        (None, None) if first => MoveTo::First,
        (None, None) => MoveTo::Last,
    })
}

/// An amount of disk as people write it; plain digits are bytes, and 0 asks for none.
fn size(text: String) -> Result<u64, ftl_core::Problem> {
    match text.parse::<u64>() {
        Ok(bytes) => Ok(bytes),
        Err(_) => MaxMemory::Text(text).bytes().map_err(|problem| problem.at("--min-free-disk")),
    }
}

fn table(jobs: &[Job]) -> Table {
    let mut table = Table::new(&[
        ("PLACE", Align::Right),
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("DEVICE", Align::Left),
        ("WAITS", Align::Left),
    ]);
    for Job { id, name, spec, waiting, queue_place, .. } in jobs {
        table.row([
            queue_place.map(|place| place.to_string()).unwrap_or_default().into(),
            id.as_str().into(),
            name.into(),
            spec.device.kind.clone().unwrap_or_default().into(),
            waiting.as_ref().map(|waiting| waiting.message.clone()).unwrap_or_default().into(),
        ]);
    }
    table
}
