//! `ftl data show`: a dataset, and the reports on it.

use ftl_client::terminal::{age, bytes, count, now_unix_ms};
use ftl_core::dataset::{Dataset, DatasetFacts, FileOwner, ReportSummary};
use serde_json::json;

use super::DatasetArg;
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Format, print, print_fields, print_json};

/// Flags of `data show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dataset: DatasetArg,
    /// Print a report on it: the one with this number, or the newest.
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, default_missing_value = "0")]
    report: Option<u64>,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { dataset: DatasetArg { dataset }, report } = args;
    let client = context.client().await?;
    let id = find::dataset(&client, &dataset).await?;
    if let Some(number) = report {
        let kept = client.dataset_report(&id, Some(number).filter(|number| *number != 0)).await?;
        match context.format {
            Format::Json => print_json(&json!({"report": kept}))?,
            Format::Text => print(&kept.report.to_string())?,
        }
        return Ok(Ended::Done);
    }
    let dataset = client.dataset(&id).await?;
    let reports = client.dataset_reports(&id).await?;
    match context.format {
        Format::Json => print_json(&json!({"dataset": dataset, "reports": reports}))?,
        Format::Text => {
            print_dataset(&dataset, Format::Text)?;
            for report in &reports {
                print(&line(report))?;
            }
        }
    }
    Ok(Ended::Done)
}

/// Prints what is known of a dataset.
///
/// # Errors
/// Those of stdout.
pub fn print_dataset(dataset: &Dataset, format: Format) -> std::io::Result<()> {
    if format == Format::Json {
        return print_json(&json!({"dataset": dataset}));
    }
    let Dataset { id, name, path, owner, facts, report, created_unix_ms } = dataset;
    let DatasetFacts { format, n_rows, bytes: size, sha256 } = facts;
    let owner = match owner {
        FileOwner::User => "yours; it stays when the dataset is forgotten",
        FileOwner::Service => "the service's; it goes with the dataset",
    };
    let mut fields = vec![
        ("id", id.to_string()),
        ("name", name.clone()),
        ("path", path.display().to_string()),
        ("file", owner.to_owned()),
        ("format", format.name().to_owned()),
        ("rows", count(*n_rows)),
        ("size", bytes(*size)),
        ("SHA-256", sha256.clone()),
        ("imported", age(*created_unix_ms, now_unix_ms())),
    ];
    if let Some(report) = report {
        fields.push(("fit", found(report)));
    }
    print_fields(&fields)
}

/// Whether data can be trained on, in a few words.
pub fn fitness(report: Option<&ReportSummary>) -> &'static str {
    match report {
        Some(report) if report.is_fit => "yes",
        Some(_) => "NO",
        // It was imported by a version that refused data with errors.
        None => "-",
    }
}

fn found(report: &ReportSummary) -> String {
    let ReportSummary { number: _, created_unix_ms: _, model: _, is_fit: _, rows, n_errors, n_warnings } =
        report;
    format!(
        "{}; {} of {} rows can be trained on, {} errors, {} warnings",
        fitness(Some(report)),
        count(rows.accepted),
        count(rows.read),
        count(*n_errors),
        count(*n_warnings)
    )
}

fn line(report: &ReportSummary) -> String {
    let against = report.model.as_deref().map(|model| format!(", for {model}")).unwrap_or_default();
    let made = age(report.created_unix_ms, now_unix_ms());
    format!("report {}  {made}  fit: {}{against}", report.number, found(report))
}
