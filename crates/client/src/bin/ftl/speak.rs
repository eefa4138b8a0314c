//! Has a model speak: which weights are meant, and the answer as it comes.

use std::path::{Path, PathBuf};

use ftl_client::Client;
use ftl_core::inference::{FinishReason, InferencePart, InferenceRequest, JobWeights, WeightsRef};
use ftl_core::{ModelId, Problem, ProblemKind};
use futures_util::StreamExt as _;
use serde::Serialize;
use std::io::IsTerminal as _;

use crate::find;
use crate::output::{Failure, Format, print_part};
use crate::spec::is_cached_name;

/// Flags that name weights.
#[derive(Debug, clap::Args)]
pub struct WeightsArgs {
    /// A job (an id, the beginning of one, a name, or `last`), or a model (a directory, the id or name of an imported
    /// one, or `org/name` of the Hugging Face cache).
    #[arg(value_name = "JOB|MODEL")]
    source: String,
    /// A PEFT adapter directory for a MODEL.
    #[arg(long, value_name = "DIR", conflicts_with = "base")]
    adapter: Option<PathBuf>,
    /// Of a JOB, the model that it began with instead of what it made.
    #[arg(long)]
    base: bool,
}

impl WeightsArgs {
    /// The weights as the service takes them.
    ///
    /// # Errors
    /// Nothing or several things are meant, or a flag does not go with what is meant.
    pub async fn find(&self, client: &Client) -> Result<WeightsRef, Failure> {
        let Self { source, adapter, base } = self;
        let model = |model: String| -> Result<WeightsRef, Failure> {
            if *base {
                return Err(misplaced("--base", "is for a job", "drop it: a model is its own base").into());
            }
            let adapter = adapter.as_deref().map(std::path::absolute).transpose()?;
            Ok(WeightsRef::Model { model, adapter })
        };
        let path = Path::new(source);
        if path.is_dir() {
            return model(absolute_text(path)?);
        }
        if let Ok(id) = source.parse::<ModelId>() {
            return model(id.to_string());
        }
        if let Some(id) = find::job_if_any(client, source).await? {
            if adapter.is_some() {
                return Err(misplaced("--adapter", "is for a model", "drop it: a job has its own").into());
            }
            let weights = if *base { JobWeights::Base } else { JobWeights::Trained };
            return Ok(WeightsRef::Job { id, weights });
        }
        if let Some(id) = find::imported_model(client, source).await? {
            return model(id.to_string());
        }
        if is_cached_name(path) {
            return model(source.clone());
        }
        let message = format!("`{source}` is no job, no model that the service knows, and no directory");
        let problem = Problem::new(ProblemKind::NotFound, message);
        Err(problem.hint("see `ftl jobs ls` and `ftl models ls`").into())
    }
}

fn misplaced(flag: &str, what: &str, hint: &str) -> Problem {
    Problem::new(ProblemKind::InvalidValue, what).at(flag).hint(hint)
}

/// An absolute path as text.
pub fn absolute_text(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path)?;
    absolute.into_os_string().into_string().map_err(|path| {
        let message = format!("`{}` is not UTF-8", path.display());
        Problem::new(ProblemKind::InvalidValue, message).hint("rename it").into()
    })
}

/// An answer, whole.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answer {
    /// What was said.
    pub text: String,
    /// Where it was computed.
    pub device: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Why it ended; `None`: it was cut off here.
    pub stop_reason: Option<FinishReason>,
    /// Tokens of the answer.
    pub new_tokens: Option<u64>,
    /// From the first to the last token.
    pub elapsed_millis: Option<u64>,
}

/// Gives a request to the service and prints the answer as it comes. `answer` holds what came so far, also where
/// the caller gives up waiting.
pub async fn speak(
    client: &Client,
    request: &InferenceRequest,
    format: Format,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let mut parts = client.infer(request);
    while let Some(part) = parts.next().await {
        match part? {
            InferencePart::Started { device, prompt_tokens } => {
                answer.device = Some(device);
                answer.prompt_tokens = Some(prompt_tokens);
            }
            InferencePart::Text { text } => {
                if format == Format::Text {
                    print_part(&shown(&text))?;
                }
                answer.text.push_str(&text);
            }
            InferencePart::Finished { stop_reason, new_tokens, elapsed_millis } => {
                answer.stop_reason = Some(stop_reason);
                answer.new_tokens = Some(new_tokens);
                answer.elapsed_millis = Some(elapsed_millis);
            }
        }
    }
    Ok(())
}

/// What a model says may hold anything; a terminal gets no control characters but line breaks and tabs.
fn shown(text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let is_harmless = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_harmless(&c) { c } else { '\u{fffd}' }).collect()
}
