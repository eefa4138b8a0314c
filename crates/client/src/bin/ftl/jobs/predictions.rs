//! `ftl jobs predictions`: what the model answered to held-out prompts, on its way through the training.

use ftl_client::terminal::{clean, count};
use ftl_core::event::Sampled;
use ftl_core::job::Prediction;
use serde_json::json;

use super::JobArg;
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Format, note, print, print_json};
use crate::pages::{self, Items, Rest};

/// Flags of `jobs predictions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArg,
    /// At most so many, the newest.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let id = find::job(&client, &args.job.job).await?;
    let Items { items, rest } =
        pages::first(args.limit, async |page| client.predictions(&id, &page).await).await?;
    match context.format {
        Format::Json => print_json(&json!({"predictions": items, "has_more": rest == Rest::More}))?,
        Format::Text if items.is_empty() => {
            note(&format!("{id} has answered nothing; the section `predictions` of a spec asks for answers"));
        }
        Format::Text => {
            // As they were given: who reads on sees the model get better.
            for prediction in items.iter().rev() {
                print(&text(prediction))?;
            }
            if rest == Rest::More {
                note("there are older ones; see --limit");
            }
        }
    }
    Ok(Ended::Done)
}

fn text(prediction: &Prediction) -> String {
    let Prediction { seq: _, attempt: _, time_unix_ms: _, sampled } = prediction;
    let Sampled { step, prompt, text, reference } = sampled;
    let mut lines =
        format!("step {}\n  prompt     {}\n  answer     {}", count(*step), clean(prompt), clean(text));
    if let Some(reference) = reference {
        lines.push_str(&format!("\n  reference  {}", clean(reference)));
    }
    lines
}
