//! `ftl data check`: whether data can be trained on, and what is in them.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ftl_client::Client;
use ftl_client::terminal::{bytes, count};
use ftl_core::DatasetId;
use ftl_core::dataset::{CheckPart, CheckProgress, DataCheck, DatasetReport};
use ftl_core::spec::resolved::{DataFormat, ExcessLength};
use ftl_core::spec::{DataSpec, EvalSpec, names_built_in_template};
use ftl_core::{Problem, ProblemKind};
use futures_util::StreamExt as _;
use serde_json::json;

use super::format_parser;
use crate::connection::Context;
use crate::find;
use crate::output::{CommandResult, Ended, Failure, Format, print, print_json};
use crate::speak::absolute_text;
use crate::spec::SpecArgs;

/// Flags of `data check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders, or datasets: an id, the beginning of one (with or without `data-`), or a name. The report on
    /// one dataset is kept.
    #[arg(required_unless_present = "spec", value_name = "DATA")]
    data: Vec<String>,
    /// A spec, or a kept config: checked is what such a job would train on, for its model.
    #[arg(long, value_name = "SPEC", conflicts_with_all = ["data", "model", "format", "eval", "eval_fraction", "max_length", "excess_length_strategy", "chat_template"])]
    spec: Option<PathBuf>,
    /// The model that they are for: a directory, the id or name of an imported one, or `org/name` of the Hugging Face
    /// cache. With it tokens are counted too.
    #[arg(long)]
    model: Option<String>,
    /// How rows are laid out. Default: found out from each file.
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    format: Option<DataFormat>,
    /// A file or dataset that is held out: rows of it that are trained on too are found.
    #[arg(long, value_name = "DATA")]
    eval: Option<String>,
    /// Hold out this share of the rows.
    #[arg(long, value_name = "FRACTION", conflicts_with = "eval")]
    eval_fraction: Option<f64>,
    /// Longest sample in tokens. Default: the model's context, at most 2048.
    #[arg(long, value_name = "TOKENS", requires = "model")]
    max_length: Option<u64>,
    /// What happens to a sample that is longer.
    #[arg(long, value_name = "STRATEGY", requires = "model", value_parser = strategy_parser())]
    excess_length_strategy: Option<ExcessLength>,
    /// A Jinja file that replaces the model's chat template, or the name of a built-in one.
    #[arg(long, value_name = "FILE", requires = "model")]
    chat_template: Option<PathBuf>,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let check = args.check(&client, context).await?;
    let report = report(&client, &check).await?;
    match context.format {
        Format::Json => print_json(&json!({"fit": report.is_fit(), "report": report}))?,
        Format::Text => print(&report.to_string())?,
    }
    Ok(if report.is_fit() { Ended::Done } else { Ended::Refused })
}

/// Has data judged, and shows on a terminal how far that is.
///
/// # Errors
/// What the service says.
pub async fn report(client: &Client, check: &DataCheck) -> Result<DatasetReport, Failure> {
    let mut parts = client.check_data(check);
    let bar = Bar::new();
    while let Some(part) = parts.next().await {
        match part? {
            CheckPart::Progress(progress) => bar.show(&progress),
            CheckPart::Report(report) => {
                bar.clear();
                return Ok(*report);
            }
        }
    }
    let problem = Problem::new(ProblemKind::Worker, "the service ended the check without a report");
    Err(Failure::Failed(problem.hint("try again")))
}

impl Args {
    async fn check(self, client: &Client, context: &Context) -> Result<DataCheck, Failure> {
        let Self {
            data,
            spec,
            model,
            format,
            eval,
            eval_fraction,
            max_length,
            excess_length_strategy,
            chat_template,
        } = self;
        if let Some(spec) = spec {
            let spec = SpecArgs::of(spec).read(context).await?;
            let model = spec.model.path.map(|path| path.to_string_lossy().into_owned());
            return Ok(DataCheck { data: spec.data, model });
        }
        let mut train = Vec::new();
        for text in &data {
            train.push(meant(client, text).await?.into());
        }
        let eval = match (eval, eval_fraction) {
            (Some(text), _) => Some(EvalSpec { fraction: None, path: Some(meant(client, &text).await?) }),
            (None, Some(fraction)) => Some(EvalSpec { fraction: Some(fraction), path: None }),
            (None, None) => None,
        };
        let model = match model {
            Some(model) => Some(meant_model(client, model).await?),
            None => None,
        };
        let data = DataSpec {
            train,
            format,
            eval,
            max_length,
            excess_length_strategy,
            chat_template: chat_template.map(template).transpose()?,
            ..DataSpec::default()
        };
        Ok(DataCheck { data, model })
    }
}

/// The file or dataset that `text` means, as the service takes it.
async fn meant(client: &Client, text: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(text);
    let reads_like_a_path = path.is_absolute() || path.components().count() > 1 || text.contains(['*', '?']);
    if text.parse::<DatasetId>().is_ok() {
        return Ok(path.to_owned());
    }
    if path.exists() || reads_like_a_path {
        return Ok(std::path::absolute(path)?);
    }
    match find::dataset_if_any(client, text).await? {
        Some(id) => Ok(PathBuf::from(id.as_str())),
        None => {
            let message = "there is no such file here, and no dataset with this id or name";
            let problem = Problem::new(ProblemKind::NotFound, message).at(text);
            Err(problem.hint("see `ftl data ls`").into())
        }
    }
}

/// A template as the service takes it: the name of a built-in one, or a path.
///
/// # Errors
/// There is no working directory.
pub fn template(path: PathBuf) -> std::io::Result<PathBuf> {
    if names_built_in_template(&path) { Ok(path) } else { std::path::absolute(path) }
}

/// The model that `text` means, as the service takes it.
///
/// # Errors
/// It means several.
pub async fn meant_model(client: &Client, text: String) -> Result<String, Failure> {
    let path = Path::new(&text);
    if path.is_dir() {
        return absolute_text(path);
    }
    // What is no imported model may be in the cache; the service knows.
    Ok(find::imported_model(client, &text).await?.map_or(text, |id| id.to_string()))
}

const STRATEGIES: [(&str, ExcessLength); 4] = [
    ("error", ExcessLength::Error),
    ("drop", ExcessLength::Drop),
    ("truncate", ExcessLength::Truncate),
    ("split", ExcessLength::Split),
];

fn strategy_parser() -> impl TypedValueParser<Value = ExcessLength> {
    PossibleValuesParser::new(STRATEGIES.map(|(name, _)| name)).map(|text| {
        let found = STRATEGIES.into_iter().find(|(name, _)| *name == text);
        found.expect("clap lets only names of strategies through").1
    })
}

/// One line on stderr that is written again and again, where somebody looks.
struct Bar {
    is_shown: bool,
}

impl Bar {
    fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, CheckProgress { phase, done, total, unit }: &CheckProgress) {
        if !self.is_shown {
            return;
        }
        let amount = |n: u64| match unit.as_deref() {
            Some("bytes") => bytes(n),
            Some(_) | None => count(n),
        };
        let doing = phase.to_string().to_lowercase();
        let text = match (done, total) {
            (Some(done), Some(total)) if *total > 0 => {
                let percent = 100 * done.min(total) / total;
                format!("{doing}  {percent} %  {} of {}", amount(*done), amount(*total))
            }
            (Some(done), _) => format!("{doing}  {}", amount(*done)),
            (None, _) => doing,
        };
        self.write(&text);
    }

    fn clear(&self) {
        if self.is_shown {
            self.write("");
        }
    }

    fn write(&self, text: &str) {
        // To the beginning of the line, the text, and away with what stood behind it. Nobody reads it any more where
        // that fails.
        let _ = write!(std::io::stderr(), "\r{text}\u{1b}[K");
    }
}
