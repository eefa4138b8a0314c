//! `ftl jobs metrics`, and the ETA that comes from them.

use std::pin::pin;

use clap::ValueEnum;
use ftl_client::terminal::{Align, Eta, Pace, Table, count, learning_rate, loss, now_unix_ms};
use ftl_client::{Client, Follow};
use ftl_core::job::{Job, JobEvent, State};
use ftl_core::metrics::{Evaluated, Rewards, Stepped};
use ftl_core::{Event, EventRecord, Problem, ProblemKind};
use futures_util::StreamExt as _;
use serde_json::json;

use super::JobArg;
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Failure, Format, note, print, print_json, print_table};

/// Events that an ETA looks back on; some are no steps.
const ETA_EVENTS: u64 = 200;

/// Flags of `jobs metrics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArg,
    /// How to print them. Default: table.
    #[arg(long, value_name = "FORMAT")]
    format: Option<MetricsFormat>,
}

/// How numbers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MetricsFormat {
    /// Aligned columns, the numbers that are looked at most.
    Table,
    /// All numbers, a row for each step and evaluation.
    Csv,
    /// All numbers, a JSON object for each step and evaluation.
    Jsonl,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let format = match (context.format, args.format) {
        (Format::Text, format) => Some(format.unwrap_or(MetricsFormat::Table)),
        (Format::Json, None) => None,
        (Format::Json, Some(_)) => {
            let problem = Problem::new(ProblemKind::InvalidValue, "--json prints one JSON document");
            return Err(problem.at("--format").hint("use `--format jsonl`, or `--json`, alone").into());
        }
    };
    let client = context.client().await?;
    let id = find::job(&client, &args.job.job).await?;
    let mut metrics = pin!(client.stream_metrics(&id, 0, Follow::Committed));
    let mut kept = Vec::new();
    if format == Some(MetricsFormat::Csv) {
        print(&CSV_COLUMNS.join(","))?;
    }
    while let Some(metric) = metrics.next().await {
        let metric = metric?;
        match format {
            Some(MetricsFormat::Csv) => {
                if let Some(row) = csv_row(&metric) {
                    print(&row)?;
                }
            }
            Some(MetricsFormat::Jsonl) => print(&json!(metric).to_string())?,
            Some(MetricsFormat::Table) | None => kept.push(metric),
        }
    }
    match format {
        None => print_json(&json!({"metrics": kept}))?,
        Some(MetricsFormat::Table) if kept.is_empty() => note(&format!("{id} has taken no step yet")),
        Some(MetricsFormat::Table) => print_table(&table(&kept))?,
        Some(MetricsFormat::Csv | MetricsFormat::Jsonl) => {}
    }
    Ok(Ended::Done)
}

/// When a job that runs will be done, from its last steps.
///
/// # Errors
/// The service does not answer.
pub async fn eta(client: &Client, job: &Job) -> Result<Option<Eta>, Failure> {
    let (State::Running, Some(total)) = (job.state, job.progress.total_steps) else { return Ok(None) };
    let after = job.seq.saturating_sub(ETA_EVENTS);
    let mut metrics = pin!(client.stream_metrics(&job.id, after, Follow::Committed));
    let mut pace = Pace::default();
    while let Some(metric) = metrics.next().await {
        let JobEvent { attempt, record: EventRecord { seq: _, time_unix_ms, event } } = metric?;
        if let Event::Stepped(stepped) = &event {
            pace.take(attempt, stepped, time_unix_ms);
        }
    }
    Ok(pace.eta(total, now_unix_ms()))
}

const CSV_COLUMNS: [&str; 22] = [
    "seq",
    "attempt",
    "time_unix_ms",
    "type",
    "step",
    "epoch",
    "loss_nats",
    "grad_norm",
    "learning_rate",
    "tokens",
    "supervised_tokens",
    "samples",
    "tokens_per_sec",
    "samples_per_sec",
    "step_millis",
    "data_millis",
    "perplexity",
    "token_accuracy",
    "rewards_chosen",
    "rewards_rejected",
    "reward_margin",
    "reward_accuracy",
];

/// The cells in the order of [`CSV_COLUMNS`]; what an event does not have is empty. Numbers need no quotes.
fn csv_row(metric: &JobEvent) -> Option<String> {
    let JobEvent { attempt, record: EventRecord { seq, time_unix_ms, event } } = metric;
    let none = String::new;
    let (cells, rewards): ([String; 15], _) = match event {
        Event::Stepped(Stepped {
            step,
            epoch,
            loss_nats,
            grad_norm,
            learning_rate,
            tokens,
            supervised_tokens,
            samples,
            tokens_per_sec,
            samples_per_sec,
            step_millis,
            data_millis,
            rewards,
        }) => (
            [
                "stepped".to_owned(),
                step.to_string(),
                epoch.to_string(),
                loss_nats.to_string(),
                grad_norm.to_string(),
                learning_rate.to_string(),
                tokens.to_string(),
                supervised_tokens.to_string(),
                samples.to_string(),
                tokens_per_sec.to_string(),
                samples_per_sec.to_string(),
                step_millis.to_string(),
                data_millis.to_string(),
                none(),
                none(),
            ],
            rewards,
        ),
        Event::Evaluated(Evaluated { step, loss_nats, perplexity, token_accuracy, tokens, rewards }) => (
            [
                "evaluated".to_owned(),
                step.to_string(),
                none(),
                loss_nats.to_string(),
                none(),
                none(),
                tokens.to_string(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                perplexity.to_string(),
                token_accuracy.to_string(),
            ],
            rewards,
        ),
        Event::State { .. }
        | Event::Phase { .. }
        | Event::Note { .. }
        | Event::Sampled(_)
        | Event::Saved { .. }
        | Event::Removed { .. }
        | Event::Damaged { .. }
        | Event::Exported { .. } => return None,
    };
    let of_pairs: [String; 4] = match rewards {
        Some(Rewards { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy }) => {
            [rewards_chosen, rewards_rejected, reward_margin, reward_accuracy].map(f64::to_string)
        }
        None => [none(), none(), none(), none()],
    };
    Some(format!("{seq},{attempt},{time_unix_ms},{},{}", cells.join(","), of_pairs.join(",")))
}

fn table(metrics: &[JobEvent]) -> Table {
    let mut table = Table::new(&[
        ("STEP", Align::Right),
        ("EPOCH", Align::Right),
        ("LOSS", Align::Right),
        ("HELD-OUT", Align::Right),
        ("GRAD NORM", Align::Right),
        ("RATE", Align::Right),
        ("TOKENS/S", Align::Right),
    ]);
    for metric in metrics {
        match &metric.record.event {
            Event::Stepped(stepped) => table.row([
                count(stepped.step).into(),
                format!("{:.2}", stepped.epoch).into(),
                loss(stepped.loss_nats).into(),
                "".into(),
                format!("{:.3}", stepped.grad_norm).into(),
                learning_rate(stepped.learning_rate).into(),
                count(stepped.tokens_per_sec as u64).into(),
            ]),
            Event::Evaluated(evaluated) => table.row([
                count(evaluated.step).into(),
                "".into(),
                "".into(),
                loss(evaluated.loss_nats).into(),
                "".into(),
                "".into(),
                "".into(),
            ]),
            Event::State { .. }
            | Event::Phase { .. }
            | Event::Note { .. }
            | Event::Sampled(_)
            | Event::Saved { .. }
            | Event::Removed { .. }
            | Event::Damaged { .. }
            | Event::Exported { .. } => {}
        }
    }
    table
}
