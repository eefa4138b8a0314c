//! From a prompt to new tokens, one by one, with a cache of keys and values.
//!
//! Knows ids; text is [`tokenize`](crate::data::tokenize)'s business. What transformers calls `generate`, for one
//! sequence: greedy, or drawn after temperature, top-k and top-p in this order.

pub mod prompt;
mod sample;

use ftl_core::inference::{FinishReason, SamplingSpec};
use ftl_core::{Problem, ProblemKind, StopSignal};
use serde::Serialize;

use crate::model::decoder::Decoder;
use sample::Sampler;

/// How to go on from a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// At most this many tokens.
    pub max_new_tokens: usize,
    /// How each is chosen.
    pub sampling: Sampling,
    /// Tokens that end the text; the one that does is part of the result.
    pub stop_ids: Vec<u32>,
}

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The most likely one; of equals the one with the lowest id.
    Greedy,
    /// Drawn.
    Random(Random),
}

/// How a token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Random {
    /// Logits are divided by this, above 0; a low one favours likely tokens.
    pub temperature: f64,
    /// Only the fewest tokens whose probabilities add up to this stay, above 0 and at most 1.
    pub top_p: f64,
    /// Only this many of the most likely stay, and those equal to the last of them.
    pub top_k: Option<usize>,
    /// Where the random numbers come from. Each sequence has a stream of its own.
    pub seed: u64,
}

/// What was generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens.
    pub ids: Vec<u32>,
    /// Why there are no more.
    pub stop_reason: StopReason,
}

/// New tokens where nothing else is asked for.
pub const DEFAULT_MAX_NEW_TOKENS: usize = 256;

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended its text.
    Eos,
    /// As many as were asked for.
    MaxNewTokens,
    /// The model has no position for another token.
    ContextFull,
    /// Somebody asked to stop.
    Stopped,
}

/// What is to be gone on from.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// Its tokens.
    pub ids: &'a [u32],
    /// Which of several sequences it is; with the seed it decides about the random numbers.
    pub index: u64,
}

impl From<StopReason> for FinishReason {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Eos => Self::Eos,
            StopReason::MaxNewTokens => Self::MaxNewTokens,
            StopReason::ContextFull => Self::ContextFull,
            StopReason::Stopped => Self::Stopped,
        }
    }
}

impl From<&SamplingSpec> for Sampling {
    fn from(spec: &SamplingSpec) -> Self {
        let SamplingSpec { max_new_tokens: _, temperature, top_p, top_k, seed } = *spec;
        let is_narrowed = top_p.is_some() || top_k.is_some();
        let temperature = temperature.unwrap_or(if is_narrowed { 1.0 } else { 0.0 });
        if temperature == 0.0 {
            return Self::Greedy;
        }
        Self::Random(Random {
            temperature,
            top_p: top_p.unwrap_or(1.0),
            top_k: top_k.filter(|k| *k > 0).map(|k| usize::try_from(k).unwrap_or(usize::MAX)),
            seed: seed.unwrap_or(0),
        })
    }
}

impl GenerateOptions {
    /// What `spec` asks for, with its defaults filled in.
    pub fn new(spec: &SamplingSpec, stop_ids: Vec<u32>) -> Self {
        let asked = spec.max_new_tokens.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Self {
            max_new_tokens: asked.unwrap_or(DEFAULT_MAX_NEW_TOKENS),
            sampling: Sampling::from(spec),
            stop_ids,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// All that are out of range, each with the name of the flag at fault.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        let Random { temperature, top_p, top_k, seed: _ } = match self.sampling {
            Sampling::Greedy => return Ok(()),
            Sampling::Random(random) => random,
        };
        let mut problems = Vec::new();
        let mut refuse = |flag: &str, message: String| {
            problems.push(Problem::new(ProblemKind::InvalidValue, message).at(flag));
        };
        if !(temperature.is_finite() && temperature > 0.0) {
            let message = format!(
                "a temperature of {temperature} is out of range; choose one above 0, or 0 for greedy"
            );
            refuse("temperature", message);
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            refuse("top_p", format!("{top_p} is no share of probability; choose one above 0 and up to 1"));
        }
        if top_k == Some(0) {
            refuse("top_k", "no token would be left; choose 1 or more".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Positions that a sequence of `n_prompt` tokens needs in `decoder`: what
    /// [`reserve_positions`](Decoder::reserve_positions) is to be called with.
    pub fn n_positions(&self, decoder: &Decoder, n_prompt: usize) -> usize {
        n_prompt.saturating_add(self.max_new_tokens).min(decoder.config.max_positions)
    }
}

/// Goes on from `prompt` until something ends it; `on_token` is given each new token at once.
///
/// # Errors
/// An empty prompt, one that leaves no room in the model's context, an id that the model does not have, or weights
/// that give no numbers.
///
/// # Panics
/// If the positions are not reserved.
pub fn generate(
    decoder: &Decoder,
    prompt: Prompt<'_>,
    options: &GenerateOptions,
    (on_token, stop): (&mut dyn FnMut(u32), &StopSignal),
) -> Result<Generated, Problem> {
    let room = room(decoder, prompt.ids)?;
    let mut sampler = Sampler::new(options.sampling, prompt.index);
    let mut cache = decoder.cache();
    let mut unseen = prompt.ids.to_vec();
    let mut ids = Vec::new();
    let stop_reason = loop {
        if ids.len() == options.max_new_tokens {
            break StopReason::MaxNewTokens;
        }
        if ids.len() == room {
            break StopReason::ContextFull;
        }
        if stop.raised().is_some() {
            break StopReason::Stopped;
        }
        let logits = decoder.next_logits(&unseen, &mut cache);
        let logits: Vec<f32> = logits.into_data().try_into_vec().expect("the engine computes in f32");
        let id = sampler.choose(&logits).ok_or_else(not_finite)?;
        ids.push(id);
        on_token(id);
        if options.stop_ids.contains(&id) {
            break StopReason::Eos;
        }
        unseen = vec![id];
    };
    Ok(Generated { ids, stop_reason })
}

/// How many tokens fit behind the prompt.
///
/// # Errors
/// As [`generate`] refuses prompts.
pub fn room(decoder: &Decoder, prompt: &[u32]) -> Result<usize, Problem> {
    let (context, vocab_size) = (decoder.config.max_positions, decoder.config.vocab_size);
    if prompt.is_empty() {
        return Err(Problem::new(ProblemKind::BadData, "the prompt has no tokens"));
    }
    if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab_size) {
        let message = format!("the prompt has the id {id}; the model has {vocab_size} ids from 0");
        return Err(Problem::new(ProblemKind::BadData, message));
    }
    if prompt.len() >= context {
        let message = format!(
            "the prompt has {} tokens and leaves no room in the model's context of {context}",
            prompt.len()
        );
        return Err(Problem::new(ProblemKind::InvalidValue, message)
            .hint("shorten it, or choose a model with more context"));
    }
    Ok(context - prompt.len())
}

fn not_finite() -> Problem {
    Problem::new(ProblemKind::BrokenModel, "the model's logits are not numbers; its weights are damaged")
}
