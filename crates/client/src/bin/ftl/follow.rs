//! Follows a job until it is at rest, or until the user has seen enough.

use std::pin::pin;
use std::time::Duration;

use ftl_client::Client;
use ftl_client::terminal::{Follow, Run, Summary};
use ftl_core::job::{Job, State};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::connection::Context;
use crate::output::{CommandResult, Ended, Failure, Format, note, print, print_json};

/// Between two pictures: fluent, and a small load for a slow terminal.
const PICTURE_EVERY: Duration = Duration::from_millis(150);

/// Shows a job from its beginning until it is at rest, then sums it up. Ctrl-C leaves the job alone.
pub async fn follow(client: &Client, job: &Job, context: &Context) -> CommandResult {
    let mut leave = Leave::new()?;
    let mut view = Follow::new(job);
    let mut events = pin!(client.watch_events(&job.id, 0));
    let mut pictures = interval(PICTURE_EVERY);
    pictures.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seen = loop {
        tokio::select! {
            // A flood of events must not keep Ctrl-C waiting.
            biased;
            signal = leave.asked() => break Seen::Left(signal),
            _ = pictures.tick() => view.tick(),
            event = events.next() => match event {
                Some(Ok(event)) => view.show(&event),
                Some(Err(error)) => break Seen::Broken(error.into()),
                None => break Seen::All,
            },
        }
    };
    let run = view.end();
    match seen {
        Seen::All => {
            let job = client.job(&job.id).await?;
            sum_up(client, &job, Some(&run), context.format).await?;
            Ok(ended(job.state))
        }
        Seen::Left(signal) => {
            let id = &job.id;
            note(&format!(
                "{id} goes on; `ftl jobs watch {id}` comes back to it, `ftl jobs stop {id}` stops it"
            ));
            if context.format == Format::Json {
                print_json(&document(&client.job(id).await?))?;
            }
            Ok(Ended::Left(signal))
        }
        Seen::Broken(failure) => {
            let id = &job.id;
            note(&format!("{id} can't be followed any more; `ftl jobs watch {id}` comes back to it"));
            Err(failure)
        }
    }
}

/// How much of a job was seen.
enum Seen {
    /// Up to where it is at rest.
    All,
    /// The user left.
    Left(SignalKind),
    /// The service left.
    Broken(Failure),
}

/// Prints what became of a job, and what to do next.
pub async fn sum_up(client: &Client, job: &Job, run: Option<&Run>, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print_json(&document(job))?,
        Format::Text => {
            let artifacts = client.artifacts(&job.id).await?;
            let summary = Summary::new(job, &artifacts, run);
            print(&summary.text)?;
            note(&format!("next:\n{}", summary.hints()));
        }
    }
    Ok(())
}

/// How a command ends that waited for a job.
fn ended(state: State) -> Ended {
    match state {
        State::Succeeded => Ended::Done,
        State::Stopped => Ended::Stopped,
        State::Failed | State::Cancelled => Ended::Negative,
        // Not at rest: the service ended the stream for another reason, and the job goes on.
        State::Queued | State::Starting | State::Running | State::Stopping | State::Interrupted => {
            Ended::Negative
        }
    }
}

/// `{"job":{…}}`.
pub fn document(job: &Job) -> Value {
    json!({"job": value(job)})
}

/// A job as JSON, with its progress beside its state.
pub fn value(job: &Job) -> Value {
    let mut value = serde_json::to_value(job).unwrap_or_default();
    let progress = serde_json::to_value(&job.progress).unwrap_or_default();
    if let (Value::Object(job), Value::Object(progress)) = (&mut value, progress) {
        job.shift_remove("progress");
        job.extend(progress);
    }
    value
}

/// The signals that ask the program to end.
struct Leave {
    signals: [Signal; 3],
}

impl Leave {
    fn new() -> Result<Self, Failure> {
        let signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { signals })
    }

    async fn asked(&mut self) -> SignalKind {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        }
    }
}
