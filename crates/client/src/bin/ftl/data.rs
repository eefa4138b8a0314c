//! `ftl data`: datasets that the service knows. Their files stay where they are.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ftl_client::terminal::{Align, Table, age, bytes, clean, count, now_unix_ms};
use ftl_core::dataset::{Dataset, DatasetFacts, PreviewRow};
use ftl_core::spec::resolved::DataFormat;
use serde_json::json;

use crate::confirm::{Answer, ConfirmArgs};
use crate::connection::Context;
use crate::output::{CommandResult, Ended, Format, note, print, print_fields, print_json, print_table};
use crate::pages::{Items, Rest, all, first};
use crate::remove::Report;
use crate::{find, remove};

/// What to do with datasets. A DATASET is an id, the beginning of one (with or without `data-`), or a name.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Have the service read a file through and remember what it found.
    Import(ImportArgs),
    /// List datasets, newest first.
    #[command(visible_alias = "list")]
    Ls,
    /// Show what was found in a dataset.
    Show(DatasetArg),
    /// Print the first rows, and why one can't be trained on.
    Preview(PreviewArgs),
    /// Forget datasets; their files stay.
    Rm(RemoveArgs),
}

/// Flags of `data import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The file.
    path: PathBuf,
    /// What to call it. Default: the file's name.
    #[arg(long)]
    name: Option<String>,
    /// How its rows are laid out. Default: found out from the file.
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    format: Option<DataFormat>,
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
    PossibleValuesParser::new(FORMATS.map(format_name)).map(|text| {
        let format = FORMATS.into_iter().find(|format| format_name(*format) == text);
        format.expect("clap lets only names of formats through")
    })
}

fn format_name(format: DataFormat) -> &'static str {
    match format {
        DataFormat::Auto => "auto",
        DataFormat::Messages => "messages",
        DataFormat::Sharegpt => "sharegpt",
        DataFormat::Alpaca => "alpaca",
        DataFormat::PromptCompletion => "prompt_completion",
        DataFormat::QuestionAnswer => "question_answer",
        DataFormat::Text => "text",
        DataFormat::Preference => "preference",
        DataFormat::Tokens => "tokens",
    }
}

/// Runs it.
pub async fn run(command: Command, context: &Context) -> CommandResult {
    match command {
        Command::Import(args) => import(args, context).await,
        Command::Ls => list(context).await,
        Command::Show(args) => show(args, context).await,
        Command::Preview(args) => preview(args, context).await,
        Command::Rm(args) => forget(args, context).await,
    }
}

async fn import(args: ImportArgs, context: &Context) -> CommandResult {
    let ImportArgs { path, name, format } = args;
    let path = std::path::absolute(path)?;
    let client = context.client().await?;
    if std::io::stderr().is_terminal() {
        // A large file takes minutes.
        note(&format!("the service reads {} …", path.display()));
    }
    let format = format.unwrap_or(DataFormat::Auto);
    let dataset = client.import_dataset(&path, name.as_deref(), format).await?;
    print_dataset(&dataset, context.format)?;
    if context.format == Format::Text {
        note(&format!("name it in a spec as `data.train = \"{}\"`", dataset.id));
    }
    Ok(Ended::Done)
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
                ("IMPORTED", Align::Left),
            ]);
            for Dataset { id, name, path: _, facts, created_unix_ms } in &datasets {
                let DatasetFacts { format, n_rows, bytes: size, sha256: _ } = facts;
                table.row([
                    id.as_str().into(),
                    name.into(),
                    format_name(*format).into(),
                    count(*n_rows).into(),
                    bytes(*size).into(),
                    age(*created_unix_ms, now_unix_ms()).into(),
                ]);
            }
            print_table(&table)?;
        }
    }
    Ok(Ended::Done)
}

async fn show(args: DatasetArg, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let id = find::dataset(&client, &args.dataset).await?;
    print_dataset(&client.dataset(&id).await?, context.format)?;
    Ok(Ended::Done)
}

fn print_dataset(dataset: &Dataset, format: Format) -> std::io::Result<()> {
    if format == Format::Json {
        return print_json(&json!({"dataset": dataset}));
    }
    let Dataset { id, name, path, facts, created_unix_ms } = dataset;
    let DatasetFacts { format, n_rows, bytes: size, sha256 } = facts;
    print_fields(&[
        ("id", id.to_string()),
        ("name", name.clone()),
        ("path", path.display().to_string()),
        ("format", format_name(*format).to_owned()),
        ("rows", count(*n_rows)),
        ("size", bytes(*size)),
        ("SHA-256", sha256.clone()),
        ("imported", age(*created_unix_ms, now_unix_ms())),
    ])
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
    if confirm.ask(&format!("forget {}? The files stay.", remove::listed(&ids)))? == Answer::No {
        note("nothing was forgotten");
        return Ok(Ended::Negative);
    }
    let mut report = Report::new(context.format);
    for id in &ids {
        report.take(id, client.delete_dataset(id).await, "forgotten")?;
    }
    report.end_removed()
}
