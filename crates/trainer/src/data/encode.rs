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

use ftl_core::dataset::Code;
use ftl_core::spec::resolved::LossOn;
use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

use super::dropped::dropped;
use super::fault::Fault;
use super::format::{Conversation, Example, Role};
use super::sample::{IGNORED, Sample};
use super::spelled::{Spelled, encode_rendered, encode_text, spelled_by, spelled_in};
use super::template::{BuiltIn, ChatTemplate, Ending, Rendered, Scene, no_template};
use super::tokenize::{Around, Tokenized, Tokenizer};
use super::turns::{Search, Span, Turns, common_prefix};

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

/// An example as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The tokens.
    pub sample: Sample,
    /// What a person should know of it, though it can be trained on; each code at most once.
    pub notices: Vec<Fault>,
}

/// Why there are no tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// This row can't be used.
    Row(Fault),
    /// No row like it can: something is wrong with the job.
    Job(Problem),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Row(fault)
    }
}

/// What control tokens are that a text spells out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Control tokens: who wrote the text put them there. So transformers reads a rendered conversation.
    AsWritten,
    /// Ordinary text: the template alone, or a prompt of ours, says where a turn ends. So conversations are trained on.
    Text,
}

/// A conversation as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The text.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The bytes of the text that each token stands for.
    pub offsets: Vec<Range<usize>>,
    /// Which of them are trained.
    pub mask: Vec<bool>,
    /// Which control tokens the messages spell, and what became of them.
    pub spelled: Spelled,
}

/// A conversation up to where the model goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
}

impl Encoder {
    /// Reads the tokenizer and the chat template of `model_dir`; `chat_template` is the user's own, a Jinja file or the
    /// name of a built-in one.
    ///
    /// # Errors
    /// What [`Tokenizer::load`], [`ChatTemplate::load`] and [`BuiltIn::check`] say.
    pub fn load(model_dir: &Path, chat_template: Option<&Path>) -> Result<Self, Problem> {
        let tokenizer = Tokenizer::load(model_dir)?;
        if let Some(built_in) = chat_template.and_then(BuiltIn::named_by) {
            built_in.check(&tokenizer)?;
        }
        let template = ChatTemplate::load(model_dir, chat_template, tokenizer.special_tokens())?;
        Ok(Self { tokenizer, template, arguments: Map::new() })
    }

    /// Turns `example` into tokens.
    ///
    /// # Errors
    /// [`Refusal::Job`]: there is no chat template, which the example needs. [`Refusal::Row`] for everything else.
    pub fn sample(&self, example: &Example, loss_on: LossOn) -> Result<Encoded, Refusal> {
        match example {
            Example::Conversation(conversation) => self.conversation(conversation, loss_on),
            Example::Instruction { instruction, input, output } => {
                if self.template.is_some() {
                    self.conversation(&Conversation::of_instruction(instruction, input, output), loss_on)
                } else {
                    let prompt = alpaca_prompt(instruction, input);
                    self.prompt_completion((&prompt, output), Words::Text, loss_on).map_err(not_tokenized)
                }
            }
            Example::PromptCompletion { prompt, completion } => {
                self.prompt_completion((prompt, completion), Words::AsWritten, loss_on).map_err(not_tokenized)
            }
            Example::Text(text) => self.text(text).map_err(not_tokenized),
            Example::Tokens(sample) => Ok(Encoded { sample: sample.clone(), notices: Vec::new() }),
            Example::Pair { chosen, rejected } => {
                let (chosen, rejected) = (self.sample(chosen, loss_on)?, self.sample(rejected, loss_on)?);
                let mut notices = chosen.notices;
                for notice in rejected.notices {
                    if notices.iter().all(|known| known.code != notice.code) {
                        notices.push(notice);
                    }
                }
                Ok(Encoded { sample: Sample::pair(chosen.sample, rejected.sample), notices })
            }
        }
    }

    /// Renders `conversation` and marks what is trained when the loss is on the assistant's tokens. `words` that spell
    /// control tokens are what training takes them for, or what transformers does.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`]: there is no template, or it fails.
    pub fn view(&self, conversation: &Conversation, ending: Ending, words: Words) -> Result<View, Problem> {
        let n_messages = conversation.messages.len();
        let scene = self.scene(conversation)?;
        let whole = scene.render(n_messages, Ending::Complete)?;
        let (tokens, spelled) = self.tokens((&scene, &whole), Ending::Complete, words)?;
        let spans =
            self.found_turns(&scene, &whole, &tokens).and_then(|turns| turns.trained()).map_err(|fault| {
                Problem::new(ProblemKind::BadTemplate, format!("the conversation {fault}")).at(self.origin())
            })?;
        if ending == Ending::Complete {
            let mask = mask_of(&tokens, &spans, whole.text.len());
            return Ok(View { text: whole.text, ids: tokens.ids, offsets: tokens.offsets, mask, spelled });
        }
        // Only whole conversations are trained on; marked is what this text has in common with the whole one.
        let rendered = scene.render(n_messages, ending)?;
        let (tokens, spelled) = self.tokens((&scene, &rendered), ending, words)?;
        let mask = mask_of(&tokens, &spans, common_prefix(&rendered.text, &whole.text));
        Ok(View { text: rendered.text, ids: tokens.ids, offsets: tokens.offsets, mask, spelled })
    }

    fn tokens(
        &self,
        (scene, rendered): (&Scene<'_>, &Rendered),
        ending: Ending,
        words: Words,
    ) -> Result<(Tokenized, Spelled), Problem> {
        match words {
            Words::Text => encode_rendered(&self.tokenizer, scene, rendered, ending),
            Words::AsWritten => {
                let tokens = self.tokenizer.encode_with_offsets(&rendered.text, Around::Nothing)?;
                let words = spelled_by(&self.tokenizer, &tokens.ids, scene.conversation());
                let spelled = if words.is_empty() { Spelled::Nothing } else { Spelled::AsControls(words) };
                Ok((tokens, spelled))
            }
        }
    }

    /// What the model goes on from after `conversation`, or within its last message.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`]: there is no template, or it fails.
    pub fn prompt(&self, conversation: &Conversation, ending: Ending) -> Result<Prompt, Problem> {
        let scene = self.scene(conversation)?;
        let rendered = scene.render(conversation.messages.len(), ending)?;
        let (tokens, _) = encode_rendered(&self.tokenizer, &scene, &rendered, ending)?;
        Ok(Prompt { text: rendered.text, ids: tokens.ids })
    }

    /// The control token with which the chat template ends an answer: what the model learns to stop with. `None`: there is
    /// no template, or it ends answers with words.
    pub fn turn_end(&self) -> Option<u32> {
        let view = self
            .view(&Conversation::question_answer("Hello", "Hello"), Ending::Complete, Words::Text)
            .ok()?;
        let answer = view.ids.iter().zip(&view.mask).filter(|(_, trained)| **trained);
        answer.map(|(id, _)| *id).find(|id| self.tokenizer.is_special(*id))
    }

    fn scene<'a>(&'a self, conversation: &'a Conversation) -> Result<Scene<'a>, Problem> {
        Scene::new(self.template.as_ref().ok_or_else(no_template)?, conversation, &self.arguments)
    }

    fn origin(&self) -> String {
        self.template.as_ref().map_or_else(String::new, |template| template.origin().to_owned())
    }

    /// Checks that the template leaves no message out.
    fn found_turns<'a>(
        &self,
        scene: &'a Scene<'a>,
        rendered: &'a Rendered,
        tokens: &Tokenized,
    ) -> Result<Turns<'a>, Fault> {
        let turns = Turns::new(scene, rendered, self.controls(tokens), Search::Remembered);
        match turns.left_out() {
            None => Ok(turns),
            Some(index) => {
                let role = scene.conversation().messages[index].role;
                let what =
                    format!("has a message {} (role `{role}`) that the chat template leaves out", index + 1);
                Err(Fault::new(Code::TemplateLeavesOut, what)
                    .hint("use a template that knows this role, or take the message out of the data"))
            }
        }
    }

    fn conversation(&self, conversation: &Conversation, loss_on: LossOn) -> Result<Encoded, Refusal> {
        let Some(template) = &self.template else { return Err(Refusal::Job(no_template())) };
        if loss_on == LossOn::AssistantTokens && conversation.n_trained() == 0 {
            let has_answer = conversation.messages.iter().any(|message| message.role == Role::Assistant);
            return Err(Refusal::Row(if has_answer {
                let what = "has no assistant message that is to be learned, so there is nothing to learn";
                Fault::new(Code::NothingToLearn, what)
            } else {
                Fault::new(Code::NoAnswer, "has no assistant message, so there is nothing to learn")
            }));
        }
        let failed = |problem: Problem| {
            Fault::new(Code::TemplateFails, format!("can't be rendered: {}", problem.message))
        };
        let scene = self.scene(conversation).map_err(failed)?;
        let rendered = scene.render(conversation.messages.len(), Ending::Complete).map_err(failed)?;
        let (tokens, spelled) =
            encode_rendered(&self.tokenizer, &scene, &rendered, Ending::Complete).map_err(not_tokenized)?;
        let turns = self.found_turns(&scene, &rendered, &tokens)?;
        let weights = match loss_on {
            LossOn::AssistantTokens => weights_of(&tokens, (&turns.trained()?, 0.0), rendered.text.len()),
            LossOn::AllTokens => weights_of(&tokens, (&turns.given()?, 1.0), rendered.text.len()),
        };
        let label = |(id, weight): (&u32, &f32)| if *weight > 0.0 { *id as i32 } else { IGNORED };
        let labels: Vec<i32> = tokens.ids.iter().zip(&weights).map(label).collect();
        let mut notices = Vec::from_iter(spelled_notice(&spelled));
        if let Some(what) = dropped(template, conversation, (&rendered.text, &turns)) {
            notices.push(Fault::new(Code::TemplateChangesContent, what));
        }
        if !self.learns_an_end(&tokens.ids, &labels) {
            let what = "teaches no end token: the last token that is learned is ordinary text, so the model may not stop";
            notices.push(Fault::new(Code::EndNotLearned, what));
        }
        let is_usual = weights.iter().all(|weight| [0.0, 1.0].contains(weight));
        let weights = (!is_usual).then(|| weights.into_boxed_slice());
        Ok(Encoded { sample: Sample { weights, ..Sample::new(tokens.ids, labels) }, notices })
    }

    fn learns_an_end(&self, ids: &[u32], labels: &[i32]) -> bool {
        // Two, since white space behind the end token is learned where the template says so.
        let mut learned = ids.iter().zip(labels).rev().filter(|(_, label)| **label != IGNORED);
        learned.by_ref().take(2).any(|(id, _)| self.tokenizer.is_special(*id))
    }

    /// Running text, which may be a conversation that somebody rendered: its control tokens are meant.
    fn text(&self, text: &str) -> Result<Encoded, Problem> {
        let mut ids = self.tokenizer.encode(text, Around::Specials)?;
        let spelled = self.spelled_within(&ids, text);
        self.end(&mut ids);
        let labels = ids.iter().map(|id| *id as i32).collect();
        Ok(Encoded { sample: Sample::new(ids, labels), notices: Vec::from_iter(spelled_notice(&spelled)) })
    }

    fn prompt_completion(
        &self,
        (prompt, completion): (&str, &str),
        words: Words,
        loss_on: LossOn,
    ) -> Result<Encoded, Problem> {
        let encode = |text: &str, around| match words {
            Words::AsWritten => self.tokenizer.encode(text, around),
            Words::Text => encode_text(&self.tokenizer, text, around).map(|(ids, _)| ids),
        };
        let mut ids = encode(prompt, Around::Specials)?;
        self.drop_end(&mut ids);
        let n_prompt = ids.len();
        let text = format!("{prompt}{completion}");
        let (mut joint, spelled) = match words {
            Words::AsWritten => {
                let ids = self.tokenizer.encode(&text, Around::Specials)?;
                let spelled = self.spelled_within(&ids, &text);
                (ids, spelled)
            }
            Words::Text => encode_text(&self.tokenizer, &text, Around::Specials)?,
        };
        self.drop_end(&mut joint);
        if joint.starts_with(&ids) {
            ids = joint;
        } else {
            ids.extend(encode(completion, Around::Nothing)?);
        }
        self.end(&mut ids);
        let mut labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        match loss_on {
            LossOn::AssistantTokens => labels[..n_prompt].fill(IGNORED),
            LossOn::AllTokens => {}
        }
        Ok(Encoded { sample: Sample::new(ids, labels), notices: Vec::from_iter(spelled_notice(&spelled)) })
    }

    /// Which control tokens act in a text of the data, beside those at its ends.
    fn spelled_within(&self, ids: &[u32], text: &str) -> Spelled {
        let is_at = |index: usize, token: Option<u32>| token.is_some() && ids.get(index).copied() == token;
        let start = usize::from(is_at(0, self.tokenizer.bos()));
        let end = ids.len() - usize::from(ids.len() > start && is_at(ids.len() - 1, self.tokenizer.eos()));
        match spelled_in(&self.tokenizer, &ids[start..end], text) {
            words if words.is_empty() => Spelled::Nothing,
            words => Spelled::AsControls(words),
        }
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

    fn controls(&self, encoded: &Tokenized) -> Vec<Range<usize>> {
        encoded
            .ids
            .iter()
            .zip(&encoded.offsets)
            .filter(|(id, _)| self.tokenizer.is_special(**id))
            .map(|(_, span)| span.clone())
            .collect()
    }
}

fn not_tokenized(problem: Problem) -> Refusal {
    Refusal::Row(Fault::new(Code::UnknownToken, format!("can't be tokenized: {}", problem.message)))
}

fn spelled_notice(spelled: &Spelled) -> Option<Fault> {
    let list = |words: &[String]| {
        let names: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        names.join(", ")
    };
    let what = match spelled {
        Spelled::Nothing => return None,
        Spelled::AsText(words) => {
            format!("spells control tokens, which are ordinary text there: {}", list(words))
        }
        Spelled::AsControls(words) => format!("spells control tokens, which act as such: {}", list(words)),
    };
    Some(Fault::new(Code::SpecialTokensInText, what))
}

/// How much each token counts: as the first of `spans`, which are in order, of which it stands for at least one byte
/// before `end`, else as `others`.
fn weights_of(encoded: &Tokenized, (spans, others): (&[Span], f32), end: usize) -> Vec<f32> {
    let weight = |token: &Range<usize>| {
        let next = spans.partition_point(|span| span.bytes.end <= token.start);
        let span = spans.get(next).filter(|span| span.bytes.start < token.end);
        span.filter(|_| !token.is_empty() && token.end <= end).map_or(others, |span| span.weight)
    };
    encoded.offsets.iter().map(weight).collect()
}

fn mask_of(encoded: &Tokenized, spans: &[Span], end: usize) -> Vec<bool> {
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
