//! `ftl-train generate`: text after a prompt.

use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind, StopSignal};
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::data::format::{Conversation, Role};
use ftl_trainer::data::ids;
use ftl_trainer::data::template::Ending;
use ftl_trainer::data::tokenize::{Around, Specials, Tokenizer};
use ftl_trainer::error::TrainError;
use ftl_trainer::generate::{GenerateOptions, Prompt, Random, Sampling, StopReason, generate};
use ftl_trainer::model::config::{DecoderConfig, eos_token_ids_for_generation};
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
    #[arg(long, value_name = "N", default_value_t = 256)]
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
    let config = DecoderConfig::read(dir)?;
    let (prompts, tokenizer) = args.prompts(&config)?;
    let mut stop_ids = eos_token_ids_for_generation(dir, &config)?;
    if let Some(tokenizer) = &tokenizer {
        stop_ids.extend(tokenizer.stops());
    }
    let options =
        GenerateOptions { max_new_tokens: args.max_new_tokens, sampling: args.sampling(), stop_ids };
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
    fn sampling(&self) -> Sampling {
        let is_narrowed = self.top_p.is_some() || self.top_k.is_some();
        let temperature = self.temperature.unwrap_or(if is_narrowed { 1.0 } else { 0.0 });
        if temperature == 0.0 {
            return Sampling::Greedy;
        }
        Sampling::Random(Random {
            temperature,
            top_p: self.top_p.unwrap_or(1.0),
            top_k: self.top_k.filter(|k| *k > 0),
            seed: self.seed,
        })
    }

    /// The prompts as ids, and the tokenizer; ids need none.
    fn prompts(&self, config: &DecoderConfig) -> Result<(Vec<Vec<u32>>, Option<Tokenizer>), TrainError> {
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
            return Ok((prompts, tokenizer));
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
        Ok((prompts, Some(encoder.tokenizer)))
    }
}

/// The ids of a conversation up to where the model answers, or goes on with an answer that was begun.
fn chat_prompt(encoder: &Encoder, conversation: &Conversation, dir: &Path) -> Result<Vec<u32>, Problem> {
    let template = encoder.template.as_ref().ok_or_else(|| {
        Problem::new(ProblemKind::BadTemplate, "the model has no chat template, which messages need")
            .at(dir.display().to_string())
            .hint("use `--prompt`, or put a chat_template.jinja into the directory")
    })?;
    let is_begun = conversation.messages.last().map(|message| message.role) == Some(Role::Assistant);
    let ending = if is_begun { Ending::ContinueFinalMessage } else { Ending::GenerationPrompt };
    let rendered = template.render(conversation, ending, &encoder.arguments)?;
    encoder.tokenizer.encode(&rendered.text, Around::Nothing)
}

/// The ids of the beginning of a text: without the end token that some tokenizers add, and never empty.
fn text_prompt(tokenizer: &Tokenizer, text: &str, config: &DecoderConfig) -> Result<Vec<u32>, Problem> {
    let mut ids = tokenizer.encode(text, Around::Specials)?;
    if ids.len() > 1 && tokenizer.eos().is_some() && ids.last().copied() == tokenizer.eos() {
        ids.pop();
    }
    if ids.is_empty() {
        let bos = tokenizer.bos().or(config.bos_token_id).ok_or_else(|| {
            Problem::new(
                ProblemKind::InvalidValue,
                "the prompt is empty and the model has no token to begin with",
            )
            .at("prompt")
            .hint("give it at least a word")
        })?;
        ids.push(bos);
    }
    Ok(ids)
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
