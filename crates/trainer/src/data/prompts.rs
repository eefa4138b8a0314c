//! Held-out prompts that are answered while a run goes on: which samples, and which part of them is the prompt.
//!
//! - Of a conversation: all before its last learned answer, with the words that make the model answer; the answer is
//!   the reference.
//! - Of a prompt with a completion, of an instruction: as it says.
//! - Of running text: the first half of its tokens; the rest is the reference.
//! - Of tokens: what stands before the last part that is learned; where all of it is learned, the first half.
//!
//! Chosen are those that come first by a hash of seed and content, so that other samples change nothing.

use std::collections::BTreeMap;

use ftl_core::Problem;

use super::encode::{Encoder, Prompt, alpaca_prompt};
use super::format::{Conversation, Example, Message, Role};
use super::holdout::{ContentHash, score};
use super::sample::{IGNORED, Sample};
use super::spelled::encode_text;
use super::template::Ending;
use super::tokenize::{Around, Specials};

/// A prompt and the answer that the data give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOutPrompt {
    /// The tokens that the model goes on from.
    pub ids: Vec<u32>,
    /// The same as text.
    pub text: String,
    /// The answer in the data; `None`: it is not text.
    pub reference: Option<String>,
}

/// The prompts chosen so far.
#[derive(Debug)]
pub struct Chosen {
    count: usize,
    seed: u64,
    /// A prompt leaves room for an answer in this many tokens.
    context: usize,
    /// By what decides the choice. The content tells duplicates apart from others of one score.
    prompts: BTreeMap<(u64, ContentHash), HeldOutPrompt>,
}

impl Chosen {
    /// Chooses up to `count` prompts.
    pub fn new(count: usize, seed: u64, context: usize) -> Self {
        Self { count, seed, context, prompts: BTreeMap::new() }
    }

    /// Whether `example`s are needed at all.
    pub fn wants_any(&self) -> bool {
        self.count > 0
    }

    /// Takes the prompt of `example` if it comes before those that were taken, and has one.
    pub fn offer(&mut self, content: ContentHash, example: &Example, encoder: &Encoder) {
        let key = (score(content, self.seed), content);
        let is_late = self.prompts.len() == self.count
            && self.prompts.last_key_value().is_none_or(|(last, _)| key > *last);
        if is_late || self.prompts.contains_key(&key) {
            return;
        }
        // What can't be a prompt was judged as a sample already.
        let Ok(Some(prompt)) = encoder.held_out_prompt(example) else { return };
        if prompt.ids.is_empty() || prompt.ids.len() >= self.context {
            return;
        }
        self.prompts.insert(key, prompt);
        if self.prompts.len() > self.count {
            self.prompts.pop_last();
        }
    }

    /// The prompts, of contents that `is_held_out` says yes to.
    pub fn into_prompts(self, is_held_out: impl Fn(ContentHash) -> bool) -> Vec<HeldOutPrompt> {
        self.prompts
            .into_iter()
            .filter(|((_, content), _)| is_held_out(*content))
            .map(|(_, prompt)| prompt)
            .collect()
    }
}

impl Encoder {
    /// The prompt of a held-out example; `None` where nothing of it can be asked.
    ///
    /// # Errors
    /// What the template or the tokenizer say.
    pub fn held_out_prompt(&self, example: &Example) -> Result<Option<HeldOutPrompt>, Problem> {
        match example {
            Example::Conversation(conversation) => self.prompt_of_conversation(conversation),
            Example::Instruction { instruction, input, output } => {
                if self.template.is_some() {
                    self.prompt_of_conversation(&Conversation::of_instruction(instruction, input, output))
                } else {
                    let prompt = alpaca_prompt(instruction, input);
                    let (ids, _) = encode_text(&self.tokenizer, &prompt, Around::Specials)?;
                    Ok(Some(self.asked(ids, &prompt, output)))
                }
            }
            Example::PromptCompletion { prompt, completion } => self.prompt_of_text(prompt, completion),
            Example::Text(text) => self.half(&self.tokenizer.encode(text, Around::Specials)?),
            Example::Tokens(sample) => self.prompt_of_tokens(sample),
            // Its prompt is that of the other side too.
            Example::Pair { chosen, rejected: _ } => self.held_out_prompt(chosen),
        }
    }

    fn prompt_of_conversation(&self, conversation: &Conversation) -> Result<Option<HeldOutPrompt>, Problem> {
        let messages = &conversation.messages;
        let answer = messages
            .iter()
            .rposition(Message::is_trained)
            .or_else(|| messages.iter().rposition(|message| message.role == Role::Assistant));
        let (Some(answer), true) = (answer.filter(|answer| *answer > 0), self.template.is_some()) else {
            return Ok(None);
        };
        let Prompt { text, ids } = self.prompt(&conversation.head(answer), Ending::GenerationPrompt)?;
        let reference = Some(messages[answer].content().to_owned()).filter(|content| !content.is_empty());
        Ok(Some(HeldOutPrompt { ids, text, reference }))
    }

    fn prompt_of_text(&self, prompt: &str, completion: &str) -> Result<Option<HeldOutPrompt>, Problem> {
        Ok(Some(self.asked(self.tokenizer.encode(prompt, Around::Specials)?, prompt, completion)))
    }

    fn asked(&self, mut ids: Vec<u32>, prompt: &str, completion: &str) -> HeldOutPrompt {
        self.drop_end(&mut ids);
        HeldOutPrompt { ids, text: prompt.to_owned(), reference: Some(completion.to_owned()) }
    }

    fn prompt_of_tokens(&self, sample: &Sample) -> Result<Option<HeldOutPrompt>, Problem> {
        let Sample { ids, labels, .. } = sample;
        let is_learned = |label: &i32| *label != IGNORED;
        let Some(last) = labels.iter().rposition(is_learned) else { return Ok(None) };
        match labels[..last].iter().rposition(|label| !is_learned(label)) {
            Some(before) => self.cut(&ids[..=last], before + 1),
            None => self.half(&ids[..=last]),
        }
    }

    fn half(&self, ids: &[u32]) -> Result<Option<HeldOutPrompt>, Problem> {
        self.cut(ids, ids.len() / 2)
    }

    fn cut(&self, ids: &[u32], at: usize) -> Result<Option<HeldOutPrompt>, Problem> {
        let (prompt, reference) = ids.split_at(at);
        Ok(Some(HeldOutPrompt {
            ids: prompt.to_vec(),
            text: self.tokenizer.decode(prompt, Specials::Shown)?,
            reference: Some(self.tokenizer.decode(reference, Specials::Hidden)?),
        }))
    }
}
