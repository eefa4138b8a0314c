//! A conversation as a template sees it, converted once for all of its renderings: the whole of it, its beginnings,
//! and those with other words in a message.

use minijinja::Value as Term;
use serde_json::{Map, Value};

use ftl_core::{Problem, ProblemKind};

use super::environment::value_from_json;
use super::generation::{self, Marks};
use super::{ChatTemplate, Ending, Rendered};
use crate::data::format::{Conversation, Message};

/// A conversation that is to be rendered.
pub struct Scene<'a> {
    pub(super) template: &'a ChatTemplate,
    pub(super) conversation: &'a Conversation,
    pub(super) marks: Marks,
    pub(super) tools: Term,
    messages: Vec<Term>,
    pub(super) arguments: Vec<(&'a str, Term)>,
}

impl<'a> Scene<'a> {
    /// Converts `conversation`; `arguments` are further template variables and beat the usual ones.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`]: it holds so many noncharacters that none is left to mark places with.
    pub fn new(
        template: &'a ChatTemplate,
        conversation: &'a Conversation,
        arguments: &'a Map<String, Value>,
    ) -> Result<Self, Problem> {
        let mut taken = template.taken;
        conversation.messages.iter().flat_map(Message::fields).for_each(|(key, value)| {
            generation::find_in_text(key, &mut taken);
            generation::find_noncharacters(value, &mut taken);
        });
        for value in conversation.tools.iter().chain(arguments.values()) {
            generation::find_noncharacters(value, &mut taken);
        }
        let marks = Marks::outside(&taken).ok_or_else(|| {
            template
                .problem("the conversation uses too many of the noncharacters U+FDD0 to U+FDEF".to_owned())
        })?;
        Ok(Self {
            template,
            conversation,
            marks,
            messages: conversation.messages.iter().map(|message| template.term(message)).collect(),
            tools: conversation.tools.as_ref().map_or_else(|| Term::from(()), value_from_json),
            arguments: arguments
                .iter()
                .map(|(name, value)| (name.as_str(), value_from_json(value)))
                .collect(),
        })
    }

    /// What is rendered.
    pub fn conversation(&self) -> &'a Conversation {
        self.conversation
    }

    /// What renders it.
    pub fn template(&self) -> &'a ChatTemplate {
        self.template
    }

    /// Renders the first `n_messages`.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`]: the template refused the conversation, used something unknown, or went on for too
    /// long; [`ProblemKind::BadData`]: there is nothing to continue.
    pub fn render(&self, n_messages: usize, ending: Ending) -> Result<Rendered, Problem> {
        let messages = self.messages[..n_messages].to_vec();
        if ending == Ending::ContinueFinalMessage {
            return self.render_begun(messages);
        }
        self.unmarked(&self.fill_in(messages, self.tools.clone(), ending)?)
    }

    /// Renders the first `n_messages` with `content` as that of message `index`.
    ///
    /// # Errors
    /// As [`Scene::render`].
    pub fn render_with(
        &self,
        n_messages: usize,
        (index, content): (usize, &str),
    ) -> Result<Rendered, Problem> {
        let mut messages = self.messages[..n_messages].to_vec();
        let mut fields = self.template.fields(&self.conversation.messages[index]);
        fields.insert("content".to_owned(), Value::from(content));
        messages[index] =
            Term::from_pairs(fields.iter().map(|(key, value)| (key.as_str(), value_from_json(value))));
        self.unmarked(&self.fill_in(messages, self.tools.clone(), Ending::Complete)?)
    }

    /// The rendering of other messages and tools than the conversation's, with all marks in it.
    pub(super) fn fill_in(
        &self,
        messages: Vec<Term>,
        tools: Term,
        ending: Ending,
    ) -> Result<String, Problem> {
        self.template.fill_in((Term::from(messages), tools), &self.arguments, ending, &self.marks)
    }

    pub(super) fn unmarked(&self, text: &str) -> Result<Rendered, Problem> {
        generation::take_marks(text, &self.marks).map_err(|message| self.template.problem(message))
    }

    /// With a mark and a space behind the last message; the space tells whether the template trims.
    fn render_begun(&self, mut messages: Vec<Term>) -> Result<Rendered, Problem> {
        let no_text =
            || Problem::new(ProblemKind::BadData, "the last message has no text that could be continued");
        let last = messages.len().checked_sub(1).ok_or_else(no_text)?;
        let mut fields = self.template.fields(&self.conversation.messages[last]);
        let Some(Value::String(content)) = fields.get_mut("content") else { return Err(no_text()) };
        content.push(self.marks.cut);
        content.push(' ');
        messages[last] =
            Term::from_pairs(fields.iter().map(|(key, value)| (key.as_str(), value_from_json(value))));
        let text = self.fill_in(messages, self.tools.clone(), Ending::ContinueFinalMessage)?;
        let mut rendered = self.unmarked(&text)?;
        cut_after_final_message(&mut rendered, self.marks.cut)?;
        Ok(rendered)
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
