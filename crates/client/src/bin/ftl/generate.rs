//! `ftl generate`: goes on from the beginning of a text.

use ftl_core::inference::{InferenceRequest, Prompt};
use serde_json::json;

use crate::connection::Context;
use crate::output::{CommandResult, Ended, Format, print, print_json};
use crate::sampling::SamplingArgs;
use crate::speak::{Answer, WeightsArgs, speak};

/// Flags of `generate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    weights: WeightsArgs,
    /// The beginning of a text.
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { weights, prompt, sampling } = args;
    let client = context.client().await?;
    let request = InferenceRequest {
        weights: weights.find(&client).await?,
        prompt: Prompt::Text(prompt),
        sampling: sampling.spec(),
        device: sampling.device,
    };
    let mut answer = Answer::default();
    speak(&client, &request, context.format, &mut answer).await?;
    match context.format {
        Format::Json => print_json(&json!(answer))?,
        Format::Text => print("")?,
    }
    Ok(Ended::Done)
}
