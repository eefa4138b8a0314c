//! `ftl-train generate`: text after a prompt.

use std::path::PathBuf;

use ftl_core::inference::SamplingSpec;
use ftl_core::{Problem, ProblemKind, StopSignal};
use ftl_trainer::data::ids;
use ftl_trainer::data::tokenize::{Specials, Tokenizer};
use ftl_trainer::error::TrainError;
use ftl_trainer::generate::prompt::{chat_prompt, stop_ids, text_prompt};
use ftl_trainer::generate::{DEFAULT_MAX_NEW_TOKENS, GenerateOptions, Prompt, StopReason, generate};
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::decoder::Decoder;
use serde_json::{Value, json};

use crate::messages::read_conversations;
use crate::model::ModelArgs;
use crate::output::{CommandResult, Ended, Format, note, print, print_part};

/// Flags of `generate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    input: Input,
    /// At most this many tokens.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_NEW_TOKENS)]
    max_new_tokens: usize,
    /// Higher is more varied; 0 is greedy, and the default, unless --top-p or --top-k is given (then 1).
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Draw from the fewest tokens whose probabilities add up to this.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Draw from this many of the likeliest tokens; 0: from all.
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Where random numbers come from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// The beginning of a text.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// JSON with a conversation, or a list of them. A last message of the assistant is gone on with.
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// JSON with `input_ids`.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let dir = &args.model.model;
    let config = args.model.config()?;
    let Asked { prompts, tokenizer, turn_end } = args.prompts(&config)?;
    let mut stop_ids = stop_ids(dir, &config, tokenizer.as_ref())?;
    stop_ids.extend(turn_end);
    let options = GenerateOptions::new(&args.sampling(), stop_ids);
    options.check()?;
    let mut decoder = args.model.open()?;
    let n_positions = prompts.iter().map(|prompt| options.n_positions(&decoder, prompt.len()));
    decoder.reserve_positions(n_positions.max().unwrap_or(0));
    let speaker = Speaker { decoder: &decoder, options: &options, tokenizer: tokenizer.as_ref(), format };
    let mut sequences = Vec::new();
    for (index, prompt) in prompts.iter().enumerate() {
        if format == Format::Text && prompts.len() > 1 {
            note(&format!("sequence {} of {}", index + 1, prompts.len()));
        }
        sequences.push(speaker.sequence(Prompt { ids: prompt, index: index as u64 })?);
    }
    if format == Format::Json {
        print(&json!({"sequences": sequences}).to_string());
    }
    Ok(Ended::Done)
}

impl Args {
    fn sampling(&self) -> SamplingSpec {
        SamplingSpec {
            max_new_tokens: Some(self.max_new_tokens as u64),
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k.map(|k| k as u64),
            seed: Some(self.seed),
        }
    }

    fn prompts(&self, config: &DecoderConfig) -> Result<Asked, TrainError> {
        let dir = &self.model.model;
        let Input { prompt, messages, ids } = &self.input;
        if let Some(path) = ids {
            let mut prompts = Vec::new();
            for (index, row) in ids::read(path, config.vocab_size)?.into_iter().enumerate() {
                if row.batch.segments.len() > 1 {
                    let message = format!("row {index} has several segments; a prompt is one");
                    let problem = Problem::new(ProblemKind::BadData, message);
                    return Err(problem.at(path.display().to_string()).into());
                }
                prompts.push(row.batch.ids);
            }
            let has_tokenizer = dir.join("tokenizer.json").exists();
            let tokenizer = if has_tokenizer { Some(Tokenizer::load(dir)?) } else { None };
            return Ok(Asked { prompts, tokenizer, turn_end: None });
        }
        let encoder = self.model.encoder()?;
        let prompts = match (prompt, messages) {
            (Some(text), _) => vec![text_prompt(&encoder.tokenizer, text, config)?],
            (None, messages) => {
                let path = messages.as_ref().expect("clap asks for one of the three");
                let conversations = read_conversations(path)?;
                conversations
                    .iter()
                    .map(|conversation| chat_prompt(&encoder, conversation, dir))
                    .collect::<Result<_, Problem>>()?
            }
        };
        let turn_end = encoder.turn_end();
        Ok(Asked { prompts, tokenizer: Some(encoder.tokenizer), turn_end })
    }
}

/// What is to be gone on with.
struct Asked {
    /// As ids.
    prompts: Vec<Vec<u32>>,
    /// Ids need none.
    tokenizer: Option<Tokenizer>,
    /// What the chat template ends an answer with.
    turn_end: Option<u32>,
}

struct Speaker<'a> {
    decoder: &'a Decoder,
    options: &'a GenerateOptions,
    tokenizer: Option<&'a Tokenizer>,
    format: Format,
}

impl Speaker<'_> {
    fn sequence(&self, prompt: Prompt<'_>) -> Result<Value, TrainError> {
        let mut stream = self.tokenizer.map(|tokenizer| tokenizer.stream(Specials::Hidden));
        let mut broken = None;
        let mut say = |id: u32| {
            if self.options.stop_ids.contains(&id) || self.format == Format::Json {
                return;
            }
            let text = match &mut stream {
                Some(stream) => stream.push(id),
                None => Ok(format!("{id} ")),
            };
            match text {
                Ok(text) => print_part(&text),
                Err(problem) => broken = Some(problem),
            }
        };
        let generated = generate(self.decoder, prompt, self.options, (&mut say, &StopSignal::new()))?;
        if let Some(problem) = broken {
            return Err(problem.into());
        }
        if self.format == Format::Text {
            print(&stream.map_or_else(|| Ok(String::new()), |stream| stream.finish())?);
        }
        let spoken = match generated.stop_reason {
            StopReason::Eos => &generated.ids[..generated.ids.len() - 1],
            StopReason::MaxNewTokens | StopReason::ContextFull | StopReason::Stopped => &generated.ids,
        };
        let text = self.tokenizer.map(|tokenizer| tokenizer.decode(spoken, Specials::Hidden)).transpose()?;
        Ok(json!({"ids": generated.ids, "text": text, "stop_reason": generated.stop_reason}))
    }
}
