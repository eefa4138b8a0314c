//! `ftl-train score`: the negative log-likelihood of given tokens.

use std::path::{Path, PathBuf};

use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Event, Observer, Problem, ProblemKind, StopSignal};
use ftl_trainer::data::cache::Cache;
use ftl_trainer::data::load::{Request, prepare};
use ftl_trainer::data::report::plain;
use ftl_trainer::data::tokenize::{Around, Tokenizer};
use ftl_trainer::data::{ids, read};
use ftl_trainer::error::TrainError;
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::score::{LogitsFile, ScoreRow, Scores, score};
use serde_json::json;

use crate::model::ModelArgs;
use crate::output::{CommandResult, Ended, Format, note, print};

/// Flags of `score`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    input: Input,
    /// Format of the data; found out from the file by default.
    #[arg(long, value_name = "FORMAT", requires = "data", value_parser = crate::check::data_format)]
    format: Option<DataFormat>,
    /// Write the logits of all tokens here, as tensor `logits`, f32 [rows, tokens, vocab].
    #[arg(long, value_name = "OUT.safetensors")]
    logits: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// JSON with `input_ids` and, if wanted, `attention_mask`, `labels` and `position_ids`.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// A dataset; scored is what training would learn: the assistant's tokens, completions, running text.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// A text, taken as one. Beyond the model's context it is scored in windows that overlap by half.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let rows = args.rows()?;
    let mut decoder = args.model.open()?;
    let mut file = match &args.logits {
        None => None,
        Some(path) => {
            let n_tokens = rows.iter().map(ScoreRow::n_tokens).max().unwrap_or(0);
            Some(LogitsFile::create(path, [rows.len(), n_tokens, decoder.config.vocab_size])?)
        }
    };
    let scores = score(&mut decoder, &rows, file.as_mut()).map_err(|error| args.input.name_file(error))?;
    if let Some(file) = file {
        file.finish()?;
    }
    match format {
        Format::Text => print(&text(&scores)),
        Format::Json => print(
            &json!({
                "loss_nats": scores.loss_nats(),
                "tokens": scores.n_tokens(),
                "token_nll": scores.token_nll,
            })
            .to_string(),
        ),
    }
    Ok(Ended::Done)
}

fn text(scores: &Scores) -> String {
    let n_rows = match scores.token_nll.len() {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    };
    match scores.loss_nats() {
        None => format!("no token of {n_rows} was scored"),
        Some(loss_nats) => format!(
            "loss {loss_nats:.6} nats per token, perplexity {:.4}, {} tokens scored in {n_rows}",
            loss_nats.exp(),
            scores.n_tokens()
        ),
    }
}

impl Input {
    /// Problems with rows do not know the file that the rows are from.
    fn name_file(&self, error: TrainError) -> TrainError {
        let Self { ids, data, text } = self;
        let path = ids.as_ref().or(data.as_ref()).or(text.as_ref()).map(|path| path.display().to_string());
        let named = |problem: Problem| Problem { field: problem.field.or_else(|| path.clone()), ..problem };
        match error {
            TrainError::Refused(problems) => TrainError::Refused(problems.into_iter().map(named).collect()),
            TrainError::File { .. } | TrainError::Diverged(_) | TrainError::OutOfMemory { .. } => error,
        }
    }
}

impl Args {
    /// What is to be scored, read before the weights are loaded.
    fn rows(&self) -> Result<Vec<ScoreRow>, TrainError> {
        let dir = &self.model.model;
        let config = self.model.config()?;
        let Input { ids, data, text } = &self.input;
        if let Some(path) = ids {
            return Ok(ids::read(path, config.vocab_size)?.into_iter().map(ScoreRow::from).collect());
        }
        if let Some(path) = data {
            return self.samples(path, &config);
        }
        let path = text.as_ref().expect("clap asks for one of the three");
        let tokenizer = Tokenizer::load(dir)?;
        let text = read_text(path)?;
        if text.is_empty() {
            let problem = Problem::new(ProblemKind::BadData, "the file is empty");
            return Err(problem.at(path.display().to_string()).into());
        }
        let ids = tokenizer.encode(&text, Around::Specials)?;
        Ok(vec![ScoreRow::of_text(&ids, config.max_positions, tokenizer.bos())])
    }

    fn samples(&self, path: &Path, config: &DecoderConfig) -> Result<Vec<ScoreRow>, TrainError> {
        let data = plain([path.to_owned()], self.format.unwrap_or(DataFormat::Auto));
        let encoder = self.model.encoder()?;
        let request = Request {
            data: &data,
            encoder: &encoder,
            // Nothing is cut here: samples beyond the context are refused below.
            max_length: usize::MAX,
            vocab_size: config.vocab_size,
            seed: 0,
            n_prompts: 0,
            cache: &Cache::Off,
        };
        let prepared = prepare(&request, &mut Quiet, &StopSignal::new())?.expect("nobody asks it to stop");
        for text in &prepared.notes {
            note(&format!("note: {text}"));
        }
        if prepared.train.are_pairs().any(|is_pair| is_pair) {
            let message = "the data are pairs of a chosen and a rejected answer, which are not scored";
            let problem = Problem::new(ProblemKind::BadData, message).at(path.display().to_string());
            return Err(problem.hint("give data of single answers").into());
        }
        let too_long = |(index, n_tokens): (usize, usize)| {
            let limit = config.max_positions;
            let message = format!(
                "sample {} of `{}` has {n_tokens} tokens, more than the model's context of {limit}",
                index + 1,
                read::file_name(path)
            );
            Problem::new(ProblemKind::InvalidValue, message)
                .at(path.display().to_string())
                .hint("shorten it, or choose a model with more context")
        };
        let lengths = prepared.train.lengths().enumerate();
        let problems: Vec<Problem> =
            lengths.filter(|(_, n_tokens)| *n_tokens > config.max_positions).map(too_long).collect();
        if !problems.is_empty() {
            return Err(problems.into());
        }
        Ok(prepared.train.iter().map(|sample| ScoreRow::from(&sample)).collect())
    }
}

/// Reading a file to score takes a moment; nobody watches.
struct Quiet;

impl Observer for Quiet {
    fn observe(&mut self, _event: &Event) {}
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let problem = |kind, message: String| Problem::new(kind, message).at(path.display().to_string());
    let bytes = std::fs::read(path)
        .map_err(|error| problem(ProblemKind::NotFound, format!("the file can't be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        problem(ProblemKind::BadData, format!("the file is not UTF-8 at byte {place}"))
            .hint("save it as UTF-8")
    })
}
