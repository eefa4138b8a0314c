//! `ftl data`: data that are judged, kept, shown, divided and forgotten. One file for each of the larger commands.

mod check;
mod import;
mod render;
mod show;
mod split;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ftl_client::terminal::{Align, Table, age, bytes, clean, count, now_unix_ms};
use ftl_core::dataset::{Dataset, DatasetFacts, PreviewRow};
use ftl_core::spec::resolved::DataFormat;
use serde_json::json;

use crate::confirm::{Answer, ConfirmArgs};
use crate::connection::Context;
use crate::output::{CommandResult, Ended, Format, note, print, print_json, print_table};
use crate::pages::{Items, Rest, all, first};
use crate::remove::Report;
use crate::{find, remove};

/// What to do with datasets. A DATASET is an id, the beginning of one (with or without `data-`), or a name.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say whether data can be trained on, row by row, and what is in them. Exits with 2 where they can't.
    Check(check::Args),
    /// Have the service keep a dataset with the report on it.
    Import(import::Args),
    /// List datasets, newest first.
    #[command(visible_alias = "list")]
    Ls,
    /// Show a dataset and the reports on it.
    Show(show::Args),
    /// Print the first rows, and why one can't be trained on.
    Preview(PreviewArgs),
    /// Show a row as a model is trained on it.
    Render(render::Args),
    /// Write the rows of a dataset into two new ones, to train on and to hold out.
    Split(split::Args),
    /// Forget datasets. Their files stay, but for those that were sent to the service or made by a split.
    Rm(RemoveArgs),
}

/// The dataset that a command is about.
#[derive(Debug, clap::Args)]
pub struct DatasetArg {
    /// An id, the beginning of one (with or without `data-`), or a name.
    dataset: String,
}

/// Flags of `data preview`.
#[derive(Debug, clap::Args)]
pub struct PreviewArgs {
    #[command(flatten)]
    dataset: DatasetArg,
    /// How many rows.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Flags of `data rm`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Ids, beginnings of ids (with or without `data-`), or names.
    #[arg(required = true, value_name = "DATASET")]
    datasets: Vec<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Formats in the words of the spec.
const FORMATS: [DataFormat; 9] = [
    DataFormat::Auto,
    DataFormat::Messages,
    DataFormat::Sharegpt,
    DataFormat::Alpaca,
    DataFormat::PromptCompletion,
    DataFormat::QuestionAnswer,
    DataFormat::Text,
    DataFormat::Preference,
    DataFormat::Tokens,
];

fn format_parser() -> impl TypedValueParser<Value = DataFormat> {
    PossibleValuesParser::new(FORMATS.map(DataFormat::name)).map(|text| {
        let format = FORMATS.into_iter().find(|format| format.name() == text);
        format.expect("clap lets only names of formats through")
    })
}

/// Runs it.
pub async fn run(command: Command, context: &Context) -> CommandResult {
    match command {
        Command::Check(args) => check::run(args, context).await,
        Command::Import(args) => import::run(args, context).await,
        Command::Ls => list(context).await,
        Command::Show(args) => show::run(args, context).await,
        Command::Preview(args) => preview(args, context).await,
        Command::Render(args) => render::run(args, context).await,
        Command::Split(args) => split::run(args, context).await,
        Command::Rm(args) => forget(args, context).await,
    }
}

async fn list(context: &Context) -> CommandResult {
    let client = context.client().await?;
    let datasets = all(async |page| client.datasets(&page).await).await?;
    match context.format {
        Format::Json => print_json(&json!({"datasets": datasets}))?,
        Format::Text if datasets.is_empty() => note("no datasets; `ftl data import PATH` adds one"),
        Format::Text => {
            let mut table = Table::new(&[
                ("ID", Align::Left),
                ("NAME", Align::Left),
                ("FORMAT", Align::Left),
                ("ROWS", Align::Right),
                ("SIZE", Align::Right),
                ("FIT", Align::Left),
                ("IMPORTED", Align::Left),
            ]);
            for Dataset { id, name, path: _, owner: _, facts, report, created_unix_ms } in &datasets {
                let DatasetFacts { format, n_rows, bytes: size, sha256: _ } = facts;
                table.row([
                    id.as_str().into(),
                    name.into(),
                    format.name().into(),
                    count(*n_rows).into(),
                    bytes(*size).into(),
                    show::fitness(report.as_ref()).into(),
                    age(*created_unix_ms, now_unix_ms()).into(),
                ]);
            }
            print_table(&table)?;
        }
    }
    Ok(Ended::Done)
}

async fn preview(args: PreviewArgs, context: &Context) -> CommandResult {
    let PreviewArgs { dataset: DatasetArg { dataset }, limit } = args;
    let client = context.client().await?;
    let id = find::dataset(&client, &dataset).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let Items { items: rows, rest } =
        first(limit, async |page| client.preview_dataset(&id, &page).await).await?;
    match context.format {
        Format::Json => print_json(&json!({"rows": rows, "more": rest == Rest::More}))?,
        Format::Text => {
            for PreviewRow { number, json, problem } in &rows {
                print(&format!("{number}  {}", clean(json)))?;
                if let Some(problem) = problem {
                    print(&format!("   problem: {}", clean(problem)))?;
                }
            }
            if rest == Rest::More {
                note("there are more rows; see --limit");
            }
        }
    }
    Ok(Ended::Done)
}

async fn forget(args: RemoveArgs, context: &Context) -> CommandResult {
    let RemoveArgs { datasets, confirm } = args;
    let client = context.client().await?;
    let mut ids = Vec::new();
    for text in &datasets {
        remove::once(&mut ids, find::dataset(&client, text).await?);
    }
    let question =
        format!("forget {}? Files that you did not send to the service stay.", remove::listed(&ids));
    if confirm.ask(&question)? == Answer::No {
        note("nothing was forgotten");
        return Ok(Ended::Negative);
    }
    let mut report = Report::new(context.format);
    for id in &ids {
        report.take(id, client.delete_dataset(id).await, "forgotten")?;
    }
    report.end_removed()
}
