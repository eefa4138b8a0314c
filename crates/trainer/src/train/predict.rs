//! Answers to held-out prompts while a run goes on, to see what changes beside the loss.
//!
//! Greedy, so that the same weights always say the same; nothing of it touches training.

use ftl_core::event::Sampled;
use ftl_core::job::Phase;
use ftl_core::spec::resolved::{PredictionTimes, Predictions};
use ftl_core::{CheckedSpec, Event, Observer, Problem, StopSignal};

use crate::data::encode::Encoder;
use crate::data::prompts::HeldOutPrompt;
use crate::data::tokenize::{Specials, Tokenizer};
use crate::generate::prompt::stop_ids;
use crate::generate::{GenerateOptions, Prompt, Sampling, StopReason, generate};
use crate::model::decoder::Decoder;
use crate::train::progress::Progress;

/// Answers the same prompts again and again.
#[derive(Debug)]
pub struct Predictor {
    prompts: Vec<HeldOutPrompt>,
    tokenizer: Tokenizer,
    options: GenerateOptions,
    times: PredictionTimes,
}

/// How an answering of all prompts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// All.
    All,
    /// Only some: the run was asked to stop.
    Some,
}

impl Predictor {
    /// One that answers as `predictions` says.
    ///
    /// # Errors
    /// A generation config that can't be read.
    pub fn new(
        (spec, predictions): (&CheckedSpec, &Predictions),
        prompts: Vec<HeldOutPrompt>,
        encoder: Encoder,
        decoder: &Decoder,
    ) -> Result<Self, Problem> {
        let Predictions { count: _, times, max_new_tokens } = *predictions;
        let mut stop_ids = stop_ids(&spec.model.path, &decoder.config, Some(&encoder.tokenizer))?;
        stop_ids.extend(encoder.turn_end());
        let options = GenerateOptions {
            max_new_tokens: usize::try_from(max_new_tokens).unwrap_or(usize::MAX),
            sampling: Sampling::Greedy,
            stop_ids,
        };
        Ok(Self { prompts, tokenizer: encoder.tokenizer, options, times })
    }

    /// When it answers.
    pub fn times(&self) -> PredictionTimes {
        self.times
    }

    /// Answers all prompts with the weights after `step`.
    ///
    /// # Errors
    /// Weights that give no numbers, and a tokenizer that can't decode.
    pub fn answer(
        &self,
        decoder: &mut Decoder,
        step: u64,
        (observer, stop): (&mut dyn Observer, &StopSignal),
    ) -> Result<Answered, Problem> {
        // An answer may be longer than any sample.
        let longest = self.prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        decoder.reserve_positions(self.options.n_positions(decoder, longest));
        self.answer_all(decoder, step, (observer, stop))
    }

    fn answer_all(
        &self,
        decoder: &Decoder,
        step: u64,
        (observer, stop): (&mut dyn Observer, &StopSignal),
    ) -> Result<Answered, Problem> {
        let mut progress = Progress::start(observer, Phase::Sampling, (self.prompts.len(), "prompts"));
        for (index, HeldOutPrompt { ids, text: prompt, reference }) in self.prompts.iter().enumerate() {
            let asked = Prompt { ids, index: index as u64 };
            let answer = generate(decoder, asked, &self.options, (&mut |_| {}, stop))?;
            match answer.stop_reason {
                StopReason::Stopped => return Ok(Answered::Some),
                StopReason::Eos | StopReason::MaxNewTokens | StopReason::ContextFull => {}
            }
            let text = self.tokenizer.decode(&answer.ids, Specials::Hidden)?;
            let (prompt, reference) = (prompt.clone(), reference.clone());
            progress.observe(&Event::Sampled(Sampled { step, prompt, text, reference }));
            progress.done(index + 1);
        }
        Ok(Answered::All)
    }
}
