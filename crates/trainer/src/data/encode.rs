//! One example to tokens: which text the model sees, and which of its tokens the loss counts.
//!
//! - A conversation goes through the chat template and is tokenized as one text, without further special tokens:
//!   the template writes them.
//! - A prompt is tokenized with the special tokens that the model puts at the beginning; completion and prompt
//!   are tokenized as one text where that leaves the prompt's tokens as they are, else apart. The end token
//!   follows and is learned.
//! - Both answers of a pair are encoded so, each with its prompt, which is not learned.
//! - Running text has the model's special tokens around it and the end token behind it, which is learned.

use std::ops::Range;
use std::path::Path;

use ftl_core::spec::resolved::LossOn;
use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

use super::format::{Conversation, Example, Role};
use super::sample::{IGNORED, Sample};
use super::template::{ChatTemplate, Ending, Rendered};
use super::tokenize::{Around, Encoded, Tokenizer};
use super::turns::{Span, Turns, common_prefix};

/// A model's way from examples to tokens.
#[derive(Debug)]
pub struct Encoder {
    /// The model's tokenizer.
    pub tokenizer: Tokenizer,
    /// The chat template, where there is one.
    pub template: Option<ChatTemplate>,
    /// Further template variables.
    pub arguments: Map<String, Value>,
}

/// A conversation as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The text.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Which of them are trained.
    pub mask: Vec<bool>,
}

impl Encoder {
    /// Reads the tokenizer and the chat template of `model_dir`; `chat_template` is the user's own.
    ///
    /// # Errors
    /// What [`Tokenizer::load`] and [`ChatTemplate::load`] say.
    pub fn load(model_dir: &Path, chat_template: Option<&Path>) -> Result<Self, Problem> {
        let tokenizer = Tokenizer::load(model_dir)?;
        let template = ChatTemplate::load(model_dir, chat_template, tokenizer.special_tokens())?;
        Ok(Self { tokenizer, template, arguments: Map::new() })
    }

    /// Turns `example` into tokens.
    ///
    /// # Errors
    /// [`ProblemKind::BadData`] or [`ProblemKind::BadTemplate`]; the message does not name the row.
    pub fn sample(&self, example: &Example, loss_on: LossOn) -> Result<Sample, Problem> {
        match example {
            Example::Conversation(conversation) => self.conversation(conversation, loss_on),
            Example::Instruction { instruction, input, output } => {
                if self.template.is_some() {
                    self.conversation(&Conversation::of_instruction(instruction, input, output), loss_on)
                } else {
                    self.prompt_completion(&alpaca_prompt(instruction, input), output, loss_on)
                }
            }
            Example::PromptCompletion { prompt, completion } => {
                self.prompt_completion(prompt, completion, loss_on)
            }
            Example::Text(text) => {
                let mut ids = self.tokenizer.encode(text, Around::Specials)?;
                self.end(&mut ids);
                let labels = ids.iter().map(|id| *id as i32).collect();
                Ok(Sample::new(ids, labels))
            }
            Example::Tokens(sample) => Ok(sample.clone()),
            Example::Pair { chosen, rejected } => {
                Ok(Sample::pair(self.sample(chosen, loss_on)?, self.sample(rejected, loss_on)?))
            }
        }
    }

    /// Renders `conversation` and marks what is trained when the loss is on the assistant's tokens.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`]: there is no template, or it fails.
    pub fn view(&self, conversation: &Conversation, ending: Ending) -> Result<View, Problem> {
        let (rendered, encoded) = self.render(conversation, ending)?;
        if ending == Ending::Complete {
            let spans = self.turns(conversation, &rendered, &encoded)?.trained()?;
            let mask = mask_of(&encoded, &spans, rendered.text.len());
            return Ok(View { text: rendered.text, ids: encoded.ids, mask });
        }
        // Only whole conversations are trained on; marked is what this text has in common with the whole one.
        let (whole, whole_encoded) = self.render(conversation, Ending::Complete)?;
        let spans = self.turns(conversation, &whole, &whole_encoded)?.trained()?;
        let mask = mask_of(&encoded, &spans, common_prefix(&rendered.text, &whole.text));
        Ok(View { text: rendered.text, ids: encoded.ids, mask })
    }

    fn render(&self, conversation: &Conversation, ending: Ending) -> Result<(Rendered, Encoded), Problem> {
        let rendered = self.chat_template()?.render(conversation, ending, &self.arguments)?;
        let encoded = self.tokenizer.encode_with_offsets(&rendered.text, Around::Nothing)?;
        Ok((rendered, encoded))
    }

    fn chat_template(&self) -> Result<&ChatTemplate, Problem> {
        self.template.as_ref().ok_or_else(|| {
            Problem::new(ProblemKind::BadTemplate, "the model has no chat template, which messages need")
                .at("data.chat_template")
                .hint("give `data.chat_template` the path of a Jinja file, or use data of prompts and completions")
        })
    }

    /// Checks that the template leaves no message out.
    fn turns<'a>(
        &'a self,
        conversation: &'a Conversation,
        rendered: &'a Rendered,
        encoded: &Encoded,
    ) -> Result<Turns<'a>, Problem> {
        let template = self.chat_template()?;
        let controls = self.controls(encoded);
        let turns = Turns { template, conversation, arguments: &self.arguments, rendered, controls };
        match turns.left_out() {
            None => Ok(turns),
            Some(index) => Err(Problem::new(
                ProblemKind::BadTemplate,
                format!(
                    "the chat template leaves out message {} (role `{}`)",
                    index + 1,
                    conversation.messages[index].role
                ),
            )
            .at(template.origin())
            .hint("use a template that knows this role, or take the message out of the data")),
        }
    }

    fn conversation(&self, conversation: &Conversation, loss_on: LossOn) -> Result<Sample, Problem> {
        if loss_on == LossOn::AssistantTokens && conversation.n_trained() == 0 {
            let has_answer = conversation.messages.iter().any(|message| message.role == Role::Assistant);
            let what = if has_answer {
                "no assistant message that is to be learned"
            } else {
                "no assistant message"
            };
            return Err(Problem::new(
                ProblemKind::BadData,
                format!("there is {what}, so there is nothing to learn"),
            ));
        }
        let (rendered, encoded) = self.render(conversation, Ending::Complete)?;
        let turns = self.turns(conversation, &rendered, &encoded)?;
        let weights = match loss_on {
            LossOn::AssistantTokens => weights_of(&encoded, (&turns.trained()?, 0.0), rendered.text.len()),
            LossOn::AllTokens => weights_of(&encoded, (&turns.given()?, 1.0), rendered.text.len()),
        };
        let label = |(id, weight): (&u32, &f32)| if *weight > 0.0 { *id as i32 } else { IGNORED };
        let labels = encoded.ids.iter().zip(&weights).map(label).collect();
        let is_usual = weights.iter().all(|weight| [0.0, 1.0].contains(weight));
        let weights = (!is_usual).then(|| weights.into_boxed_slice());
        Ok(Sample { weights, ..Sample::new(encoded.ids, labels) })
    }

    fn prompt_completion(&self, prompt: &str, completion: &str, loss_on: LossOn) -> Result<Sample, Problem> {
        let mut ids = self.tokenizer.encode(prompt, Around::Specials)?;
        self.drop_end(&mut ids);
        let n_prompt = ids.len();
        let mut joint = self.tokenizer.encode(&format!("{prompt}{completion}"), Around::Specials)?;
        self.drop_end(&mut joint);
        if joint.starts_with(&ids) {
            ids = joint;
        } else {
            ids.extend(self.tokenizer.encode(completion, Around::Nothing)?);
        }
        self.end(&mut ids);
        let mut labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        match loss_on {
            LossOn::AssistantTokens => labels[..n_prompt].fill(IGNORED),
            LossOn::AllTokens => {}
        }
        Ok(Sample::new(ids, labels))
    }

    /// Puts the end token behind `ids`, unless the tokenizer did.
    fn end(&self, ids: &mut Vec<u32>) {
        if let Some(eos) = self.tokenizer.eos()
            && ids.last() != Some(&eos)
        {
            ids.push(eos);
        }
    }

    /// A prompt goes on, so an end token that the tokenizer adds has to go. A prompt of the text's own end token
    /// alone stays.
    pub(super) fn drop_end(&self, ids: &mut Vec<u32>) {
        if ids.len() > 1 && self.tokenizer.eos().is_some() && ids.last().copied() == self.tokenizer.eos() {
            ids.pop();
        }
    }

    fn controls(&self, encoded: &Encoded) -> Vec<Range<usize>> {
        encoded
            .ids
            .iter()
            .zip(&encoded.offsets)
            .filter(|(id, _)| self.tokenizer.is_special(**id))
            .map(|(_, span)| span.clone())
            .collect()
    }
}

/// How much each token counts: as the first of `spans`, which are in order, of which it stands for at least one byte
/// before `end`, else as `others`.
fn weights_of(encoded: &Encoded, (spans, others): (&[Span], f32), end: usize) -> Vec<f32> {
    let weight = |token: &Range<usize>| {
        let next = spans.partition_point(|span| span.bytes.end <= token.start);
        let span = spans.get(next).filter(|span| span.bytes.start < token.end);
        span.filter(|_| !token.is_empty() && token.end <= end).map_or(others, |span| span.weight)
    };
    encoded.offsets.iter().map(weight).collect()
}

fn mask_of(encoded: &Encoded, spans: &[Span], end: usize) -> Vec<bool> {
    weights_of(encoded, (spans, 0.0), end).into_iter().map(|weight| weight > 0.0).collect()
}

/// The prompt of Stanford Alpaca (Taori et al. 2023, prompt.txt of the training code).
pub(super) fn alpaca_prompt(instruction: &str, input: &str) -> String {
    if input.is_empty() {
        return format!(
            "Below is an instruction that describes a task. Write a response that appropriately completes the \
             request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
        );
    }
    format!(
        "Below is an instruction that describes a task, paired with an input that provides further context. Write \
         a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### \
         Input:\n{input}\n\n### Response:\n"
    )
}
