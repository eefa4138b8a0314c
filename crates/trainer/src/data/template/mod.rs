//! Chat templates: from a conversation to the text that the model was made for.
//!
//! Renders as transformers' `apply_chat_template` does: the same Jinja environment, the same variables. Which
//! part of the text is trained is [`turns`](super::turns)' business, tokens are [`tokenize`](super::tokenize)'s.
//! A template is foreign code; it runs with limits on time, memory and recursion.

mod clock;
mod environment;
mod generation;
mod json;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use crate::checkpoint::layout::CHAT_TEMPLATE_JINJA;
use crate::data::format::Conversation;

pub use environment::value_from_json;

/// What a template can name.
type Variables<'a> = BTreeMap<&'a str, minijinja::Value>;

/// The name that the template has inside its environment.
const DEFAULT: &str = "chat_template";
/// A second template that some models use when there are tools.
const TOOL_USE: &str = "tool_use";

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    origin: String,
    special_tokens: Map<String, Value>,
    marks_generation: bool,
    reads_the_clock: bool,
    tells_strings_apart: bool,
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
    /// Finds the chat template for the model in `model_dir`: `own` beats `chat_template.jinja`, which beats
    /// `chat_template` in tokenizer_config.json. `None`: there is none.
    ///
    /// # Errors
    /// [`ProblemKind::NotFound`], [`ProblemKind::BadTemplate`] or [`ProblemKind::BrokenModel`], naming the file.
    pub fn load(
        model_dir: &Path,
        own: Option<&Path>,
        special_tokens: &Map<String, Value>,
    ) -> Result<Option<Self>, Problem> {
        if let Some(path) = own {
            let source = read_text(path, ProblemKind::NotFound)
                .map_err(|problem| problem.hint("give `data.chat_template` the path of a Jinja file"))?;
            return Self::new(&source, &path.display().to_string(), special_tokens).map(Some);
        }
        let path = model_dir.join(CHAT_TEMPLATE_JINJA);
        if path.exists() {
            let source = read_text(&path, ProblemKind::BrokenModel)?;
            return Self::new(&source, &path.display().to_string(), special_tokens).map(Some);
        }
        let path = model_dir.join("tokenizer_config.json");
        if !path.exists() {
            return Ok(None);
        }
        let origin = path.display().to_string();
        let broken = |what: String| Problem::new(ProblemKind::BrokenModel, what).at(origin.clone());
        let config: Value = serde_json::from_str(&read_text(&path, ProblemKind::BrokenModel)?)
            .map_err(|error| broken(format!("the file is not JSON: {error}")))?;
        let origin_of_template = format!("{origin}: chat_template");
        match config.get("chat_template") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(source)) => Self::new(source, &origin_of_template, special_tokens).map(Some),
            Some(Value::Array(named)) => {
                let find = |name: &str| {
                    named
                        .iter()
                        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
                        .and_then(|entry| entry.get("template"))
                        .and_then(Value::as_str)
                };
                let Some(source) = find("default") else {
                    return Err(broken("`chat_template` has no template named `default`".to_owned())
                        .hint("give one with `data.chat_template`"));
                };
                let mut template = Self::new(source, &origin_of_template, special_tokens)?;
                if let Some(source) = find(TOOL_USE) {
                    template.add(TOOL_USE, source)?;
                }
                Ok(Some(template))
            }
            Some(_) => Err(broken("`chat_template` is neither a string nor a list of templates".to_owned())),
        }
    }

    /// Compiles `source`; `origin` names it in problems. `special_tokens` become template variables.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`] with the line at fault.
    pub fn new(source: &str, origin: &str, special_tokens: &Map<String, Value>) -> Result<Self, Problem> {
        let mut template = Self {
            environment: environment::environment(),
            origin: origin.to_owned(),
            special_tokens: special_tokens.clone(),
            marks_generation: false,
            reads_the_clock: false,
            tells_strings_apart: false,
        };
        template.add(DEFAULT, source)?;
        Ok(template)
    }

    /// Where the template came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the template says itself what the assistant generates, with `{% generation %}`.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// Whether the text depends on the day it is rendered.
    pub fn reads_the_clock(&self) -> bool {
        self.reads_the_clock
    }

    /// The templates by name, as they are compiled.
    pub fn sources(&self) -> BTreeMap<String, String> {
        let templates = self.environment.templates();
        templates.map(|(name, template)| (name.to_owned(), template.source().to_owned())).collect()
    }

    /// What the templates read of the clock now, in order; `None`: that can't be told from their text.
    pub fn clock(&self) -> Option<Vec<String>> {
        let readings = self.sources().into_values().map(|source| clock::readings(&source));
        readings.collect::<Option<Vec<_>>>().map(|readings| readings.concat())
    }

    /// Renders `conversation`; `arguments` are further template variables and beat the usual ones.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`]: the template refused the conversation, used something unknown, or went on
    /// for too long.
    pub fn render(
        &self,
        conversation: &Conversation,
        ending: Ending,
        arguments: &Map<String, Value>,
    ) -> Result<Rendered, Problem> {
        let mut messages: Vec<Value> = conversation.messages.iter().map(|message| message.json()).collect();
        if !self.tells_strings_apart {
            messages.iter_mut().for_each(parse_call_arguments);
        }
        let tools = conversation.tools.as_ref();
        let marks = self.unused_marks(&messages, tools, arguments)?;
        if ending == Ending::ContinueFinalMessage {
            mark_final_message(&mut messages, marks.cut)?;
        }
        let variables = self.variables(&messages, tools, arguments, ending);
        let text = self.fill_in(variables, tools, &marks)?;
        let mut rendered = generation::take_marks(&text, &marks).map_err(|message| self.problem(message))?;
        if ending == Ending::ContinueFinalMessage {
            cut_after_final_message(&mut rendered, marks.cut)?;
        }
        Ok(rendered)
    }

    fn add(&mut self, name: &'static str, source: &str) -> Result<(), Problem> {
        let (source, marks_generation) = generation::rewrite(source);
        self.marks_generation |= marks_generation;
        self.reads_the_clock |= source.contains("strftime_now");
        self.tells_strings_apart |= source.contains("arguments is string");
        self.environment.add_template_owned(name, source).map_err(|error| {
            let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
            self.problem(format!("the chat template can't be compiled: {}{line}", describe(&error)))
        })
    }

    fn variables<'a>(
        &'a self,
        messages: &[Value],
        tools: Option<&Value>,
        arguments: &'a Map<String, Value>,
        ending: Ending,
    ) -> Variables<'a> {
        let none = || minijinja::Value::from(());
        let mut variables: Variables<'_> =
            self.special_tokens.iter().map(|(name, value)| (name.as_str(), value_from_json(value))).collect();
        variables.insert("messages", minijinja::Value::from_iter(messages.iter().map(value_from_json)));
        variables.insert("tools", tools.map_or_else(none, value_from_json));
        variables.insert("documents", none());
        variables.insert("add_generation_prompt", (ending == Ending::GenerationPrompt).into());
        variables.extend(arguments.iter().map(|(name, value)| (name.as_str(), value_from_json(value))));
        variables
    }

    fn fill_in(
        &self,
        mut variables: Variables<'_>,
        tools: Option<&Value>,
        marks: &generation::Marks,
    ) -> Result<String, Problem> {
        variables.insert(generation::START_VARIABLE, marks.start.to_string().into());
        variables.insert(generation::END_VARIABLE, marks.end.to_string().into());
        let has_tools = tools.is_some() && self.environment.get_template(TOOL_USE).is_ok();
        let template = self
            .environment
            .get_template(if has_tools { TOOL_USE } else { DEFAULT })
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

    /// Characters that stand for places in the text; Unicode keeps them free for such use. They must not be in
    /// the input already.
    fn unused_marks(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        arguments: &Map<String, Value>,
    ) -> Result<generation::Marks, Problem> {
        let mut taken = [false; generation::NONCHARACTERS];
        for value in
            messages.iter().chain(tools).chain(self.special_tokens.values()).chain(arguments.values())
        {
            generation::find_noncharacters(value, &mut taken);
        }
        generation::Marks::outside(&taken).ok_or_else(|| {
            self.problem("the conversation uses all of the noncharacters U+FDD0 to U+FDEF".to_owned())
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

/// A model directory's text file.
fn read_text(path: &Path, missing: ProblemKind) -> Result<String, Problem> {
    let problem = |kind, message: String| Problem::new(kind, message).at(path.display().to_string());
    let bytes =
        fs::read(path).map_err(|error| problem(missing, format!("the file can't be read: {error}")))?;
    String::from_utf8(bytes)
        .map_err(|_| problem(ProblemKind::BadTemplate, "the file is not UTF-8".to_owned()))
}

fn describe(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// OpenAI writes the arguments of a call as a string that holds JSON; templates that print them with `tojson`
/// mean the object.
fn parse_call_arguments(message: &mut Value) {
    let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) else { return };
    for call in calls {
        let call = match call.get_mut("function") {
            Some(function) => function,
            None => continue,
        };
        let Some(arguments) = call.get_mut("arguments") else { continue };
        if let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
            && parsed.is_object()
        {
            *arguments = parsed;
        }
    }
}

/// Puts `mark` and a space behind the last message; the space tells whether the template trims.
fn mark_final_message(messages: &mut [Value], mark: char) -> Result<(), Problem> {
    let content = messages.last_mut().and_then(|message| message.get_mut("content"));
    match content {
        Some(Value::String(text)) => {
            text.push(mark);
            text.push(' ');
            Ok(())
        }
        _ => Err(Problem::new(ProblemKind::BadData, "the last message has no text that could be continued")),
    }
}

fn cut_after_final_message(rendered: &mut Rendered, mark: char) -> Result<(), Problem> {
    let Some(place) = rendered.text.rfind(mark) else {
        return Err(Problem::new(
            ProblemKind::BadTemplate,
            "the chat template leaves out the last message, so it can't be continued",
        ));
    };
    let keeps_spaces = rendered.text[place + mark.len_utf8()..].starts_with(' ');
    rendered.text.truncate(place);
    if !keeps_spaces {
        rendered.text.truncate(rendered.text.trim_end().len());
    }
    let length = rendered.text.len();
    rendered.generated.retain(|span| span.start < length);
    for span in &mut rendered.generated {
        span.end = span.end.min(length);
    }
    Ok(())
}
