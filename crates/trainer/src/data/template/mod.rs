//! Chat templates: from a conversation to the text that the model was made for.
//!
//! Renders as transformers' `apply_chat_template` does: the same Jinja environment, the same variables. Which
//! part of the text is trained is [`turns`](super::turns)' business, tokens are [`tokenize`](super::tokenize)'s.
//! A template is foreign code; it runs with limits on time, memory and recursion.
//!
//! `source`: where a template comes from (`builtin`: ours)     `environment`, `json`: what it can use     `cost`: what that costs
//! `scene`: a conversation that is rendered     `generation`: what the template marks
//! `trace`: which text is whose     `memory`: where turns were found in it     `hidden`: which words are the template's own

mod builtin;
mod clock;
mod cost;
mod environment;
mod generation;
mod hidden;
mod json;
mod memory;
mod scene;
mod source;
mod trace;

use std::collections::BTreeMap;
use std::ops::Range;

use ftl_core::{Problem, ProblemKind};
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use crate::data::format::{Conversation, Message};

pub use builtin::BuiltIn;
pub use environment::value_from_json;
pub use hidden::Hidden;
pub use memory::{Borders, Site};
pub use scene::Scene;
pub use source::{no_template, source_of};
pub use trace::{Part, Piece, Trace, parts_of};

/// The name that the template has inside its environment.
const DEFAULT: &str = "chat_template";

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    origin: String,
    sources: Vec<String>,
    /// Which noncharacters its words and the special tokens hold.
    taken: [bool; generation::NONCHARACTERS],
    marks_generation: bool,
    reads_the_clock: bool,
    tells_strings_apart: bool,
    memory: memory::Memory,
}

/// How a rendering ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After the last message.
    Complete,
    /// With the words that make the model answer (`add_generation_prompt`).
    GenerationPrompt,
    /// Inside the last message, which the model is to go on with (`continue_final_message`).
    ContinueFinalMessage,
}

/// A rendered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The bytes of `text` inside `{% generation %}`, in order.
    pub generated: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Compiles `source`; `origin` names it in problems. `special_tokens` become template variables.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`] with the line at fault.
    pub fn new(source: &str, origin: &str, special_tokens: &Map<String, Value>) -> Result<Self, Problem> {
        let mut environment = environment::environment();
        let mut taken = [false; generation::NONCHARACTERS];
        for (name, value) in special_tokens {
            environment.add_global(name.clone(), value_from_json(value));
            generation::find_noncharacters(value, &mut taken);
        }
        let mut template = Self {
            environment,
            origin: origin.to_owned(),
            sources: Vec::new(),
            taken,
            marks_generation: false,
            reads_the_clock: false,
            tells_strings_apart: false,
            memory: memory::Memory::default(),
        };
        template.add(DEFAULT, source)?;
        Ok(template)
    }

    /// Where the template came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The Jinja source, and that of the template for conversations with tools where there is one.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Whether the template says itself what the assistant generates, with `{% generation %}`.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// Whether the text depends on the day it is rendered.
    pub fn reads_the_clock(&self) -> bool {
        self.reads_the_clock
    }

    /// Whether its source has this word, without which it can't use a variable of that name.
    pub fn mentions(&self, word: &str) -> bool {
        self.sources.iter().any(|source| source.contains(word))
    }

    /// What the templates read of the clock now, in order; `None`: that can't be told from their text.
    pub fn clock(&self) -> Option<Vec<String>> {
        let readings = self.sources.iter().map(|source| clock::readings(source));
        readings.collect::<Option<Vec<_>>>().map(|readings| readings.concat())
    }

    /// Renders `conversation`; `arguments` are further template variables and beat the usual ones.
    ///
    /// # Errors
    /// As [`Scene::render`].
    pub fn render(
        &self,
        conversation: &Conversation,
        ending: Ending,
        arguments: &Map<String, Value>,
    ) -> Result<Rendered, Problem> {
        Scene::new(self, conversation, arguments)?.render(conversation.messages.len(), ending)
    }

    fn add(&mut self, name: &'static str, source: &str) -> Result<(), Problem> {
        generation::find_in_text(source, &mut self.taken);
        self.sources.push(source.to_owned());
        let (source, marks_generation) = generation::rewrite(source);
        self.marks_generation |= marks_generation;
        self.reads_the_clock |= source.contains("strftime_now");
        self.tells_strings_apart |= source.contains("arguments is string");
        self.environment.add_template_owned(name, source).map_err(|error| {
            let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
            self.problem(format!("the chat template can't be compiled: {}{line}", describe(&error)))
        })
    }

    /// A message as the template sees it.
    fn term(&self, message: &Message) -> minijinja::Value {
        if message.calls() && !self.tells_strings_apart {
            return value_from_json(&Value::Object(self.fields(message)));
        }
        let fields = message.fields().iter();
        minijinja::Value::from_pairs(fields.map(|(key, value)| (key.as_str(), value_from_json(value))))
    }

    /// The same as JSON.
    fn fields(&self, message: &Message) -> Map<String, Value> {
        let mut fields = message.fields().clone();
        if !self.tells_strings_apart {
            parse_call_arguments(&mut fields);
        }
        fields
    }

    fn fill_in(
        &self,
        (messages, tools): (minijinja::Value, minijinja::Value),
        arguments: &[(&str, minijinja::Value)],
        ending: Ending,
        marks: &generation::Marks,
    ) -> Result<String, Problem> {
        let mut variables: BTreeMap<&str, minijinja::Value> = BTreeMap::new();
        let has_tools = !tools.is_none() && self.environment.get_template(source::TOOL_USE).is_ok();
        variables.insert("messages", messages);
        variables.insert("tools", tools);
        variables.insert("documents", ().into());
        variables.insert("add_generation_prompt", (ending == Ending::GenerationPrompt).into());
        variables.extend(arguments.iter().map(|(name, value)| (*name, value.clone())));
        if self.marks_generation {
            variables.insert(generation::START_VARIABLE, marks.start.to_string().into());
            variables.insert(generation::END_VARIABLE, marks.end.to_string().into());
        }
        let template = self
            .environment
            .get_template(if has_tools { source::TOOL_USE } else { DEFAULT })
            .expect("added when it was made");
        template.render(minijinja::Value::from(variables)).map_err(|error| {
            if environment::is_refusal(&error) {
                return self
                    .problem(format!("the chat template refuses the conversation: {}", describe(&error)));
            }
            let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
            let what = match error.kind() {
                ErrorKind::OutOfFuel => "it works on this conversation without an end".to_owned(),
                _ => describe(&error),
            };
            self.problem(format!("the chat template fails{line}: {what}"))
        })
    }

    fn problem(&self, message: String) -> Problem {
        Problem::new(ProblemKind::BadTemplate, message).at(self.origin.clone())
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("origin", &self.origin).finish_non_exhaustive()
    }
}

fn describe(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// OpenAI writes the arguments of a call as a string that holds JSON; templates that print them with `tojson`
/// mean the object.
fn parse_call_arguments(message: &mut Map<String, Value>) {
    let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) else { return };
    for call in calls {
        let Some(function) = call.get_mut("function") else { continue };
        let Some(arguments) = function.get_mut("arguments") else { continue };
        if let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
            && parsed.is_object()
        {
            *arguments = parsed;
        }
    }
}
