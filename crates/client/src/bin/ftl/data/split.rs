//! `ftl data split`: the rows of a dataset in two new ones.

use ftl_client::terminal::count;
use ftl_core::dataset::{Dataset, SplitBy};
use serde_json::json;

use super::DatasetArg;
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Format, note, print, print_json};

/// Flags of `data split`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dataset: DatasetArg,
    #[command(flatten)]
    by: By,
    /// Of a fraction: another seed chooses other rows.
    #[arg(long, value_name = "N", default_value_t = 42, conflicts_with = "last_rows")]
    seed: u64,
    /// What to call the rows to train on. Default: the dataset's name with `-train`.
    #[arg(long, value_name = "NAME")]
    train_name: Option<String>,
    /// What to call the rows that are held out. Default: the dataset's name with `-eval`.
    #[arg(long, value_name = "NAME")]
    eval_name: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct By {
    /// Hold out this share of the rows, by their content: rows that say the same stay together, and rows that are added
    /// later move none.
    #[arg(long, value_name = "FRACTION")]
    fraction: Option<f64>,
    /// Hold out the last N rows.
    #[arg(long, value_name = "N")]
    last_rows: Option<u64>,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { dataset: DatasetArg { dataset }, by: By { fraction, last_rows }, seed, train_name, eval_name } =
        args;
    let by = match (fraction, last_rows) {
        (Some(eval), _) => SplitBy::Fraction { eval, seed },
        (None, rows) => SplitBy::LastRows { eval: rows.unwrap_or(0) },
    };
    let client = context.client().await?;
    let id = find::dataset(&client, &dataset).await?;
    let (train, eval) = client.split_dataset(&id, by, (train_name.as_deref(), eval_name.as_deref())).await?;
    match context.format {
        Format::Json => print_json(&json!({"train": train, "eval": eval}))?,
        Format::Text => {
            for (what, Dataset { id, name, facts, .. }) in [("train", &train), ("eval", &eval)] {
                print(&format!("{what:5}  {id}  {name}  {} rows", count(facts.n_rows)))?;
            }
            let (train, eval) = (&train.id, &eval.id);
            note(&format!(
                "name them in a spec as `data.train = \"{train}\"` and `data.eval = {{ path = \"{eval}\" }}`"
            ));
        }
    }
    Ok(Ended::Done)
}
