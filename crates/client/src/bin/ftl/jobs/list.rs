//! `ftl jobs ls`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ftl_client::terminal::{Align, Cell, Table, age, count, loss, now_unix_ms, state_color};
use ftl_core::job::{Job, Progress, State};
use serde_json::{Value, json};

use crate::connection::Context;
use crate::follow::value;
use crate::output::{CommandResult, Ended, Format, note, print_json, print_table};
use crate::pages::{Items, Rest, first};

/// Flags of `jobs ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only jobs in this state; several may be given.
    #[arg(long, value_name = "STATE", ignore_case = true, value_parser = state_parser())]
    state: Vec<State>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Reads a state by its name, small or capital.
fn state_parser() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(state_name)).map(|text| {
        let state = State::ALL.into_iter().find(|state| state_name(*state).eq_ignore_ascii_case(&text));
        state.expect("clap lets only names of states through")
    })
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Starting => "starting",
        State::Running => "running",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Interrupted => "interrupted",
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { state: states, limit } = args;
    let client = context.client().await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let Items { items: jobs, rest } = first(limit, async |page| client.jobs(&page, &states).await).await?;
    match context.format {
        Format::Json => {
            let values: Vec<Value> = jobs.iter().map(value).collect();
            print_json(&json!({"jobs": values, "more": rest == Rest::More}))?;
        }
        Format::Text if jobs.is_empty() => note("no jobs; `ftl train SPEC` makes one"),
        Format::Text => {
            print_table(&table(&jobs))?;
            if rest == Rest::More {
                note("there are older ones; see --limit");
            }
        }
    }
    Ok(Ended::Done)
}

fn table(jobs: &[Job]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("STEPS", Align::Right),
        ("LOSS", Align::Right),
        ("HELD-OUT", Align::Right),
        ("CREATED", Align::Left),
    ]);
    for Job { id, name, state, progress, created_unix_ms, .. } in jobs {
        let Progress { step: _, total_steps: _, loss_nats, eval_loss_before_nats: _, eval_loss_nats } =
            progress;
        table.row([
            id.as_str().into(),
            name.into(),
            Cell::colored(state.to_string(), Some(state_color(*state))),
            steps(progress).into(),
            loss_nats.map(loss).unwrap_or_default().into(),
            eval_loss_nats.map(loss).unwrap_or_default().into(),
            age(*created_unix_ms, now_unix_ms()).into(),
        ]);
    }
    table
}

/// `120/300`, `120`, or nothing.
pub fn steps(progress: &Progress) -> String {
    match progress.total_steps {
        Some(total) => format!("{}/{}", count(progress.step), count(total)),
        None if progress.step > 0 => count(progress.step),
        None => String::new(),
    }
}
