//! Which part of a rendered conversation is trained: what the assistant says, with the token that ends its turn.
//!
//! Taken from renderings, never from looking for marker words, which a template may lack and a text may hold:
//! - A template with `{% generation %}` says it itself; that is taken as it is.
//! - Else a turn begins where the prompt ends that the model would be given for it, and ends where the
//!   conversation up to it ends:
//!
//! ```text
//! messages[..1] with generation prompt  <user>Hi<end>\n<assistant>
//! messages[..2]                         <user>Hi<end>\n<assistant>Hello<end>\n
//! all messages                          <user>Hi<end>\n<assistant>Hello<end>\n<user>Bye<end>\n
//! trained                                                        ^^^^^^^^^^
//! ```
//! - Some templates write a turn in another way once others follow (Qwen3 leaves earlier thoughts out, Phi-3 ends
//!   every rendering with a token of its own), so that the prompt is no prefix. Then the turn is found by
//!   rendering the whole conversation once more with other text in this message: what differs is the message.
//!
//! White space behind the token that ends a turn is not trained.

use std::ops::Range;

use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

use super::format::{Conversation, Message, Role};
use super::template::{ChatTemplate, Ending, Rendered};

/// Finds the trained bytes of one rendered conversation.
pub struct Turns<'a> {
    /// What renders.
    pub template: &'a ChatTemplate,
    /// What was rendered.
    pub conversation: &'a Conversation,
    /// Further template variables.
    pub arguments: &'a Map<String, Value>,
    /// The rendering of the whole conversation.
    pub rendered: &'a Rendered,
    /// Where control tokens stand in it, in order.
    pub controls: Vec<Range<usize>>,
}

/// A part of a rendering.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its bytes.
    pub bytes: Range<usize>,
    /// How much its tokens count.
    pub weight: f32,
}

/// Stands for another text of a message. It looks like a word, so that templates treat it as one.
const PROBES: [&str; 3] = ["Zq7xW", "\u{16A0}\u{16B1}", "09\u{2603}90"];

impl Turns<'_> {
    /// The parts that are trained, in order.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`]: a turn can't be found in the rendering.
    pub fn trained(&self) -> Result<Vec<Span>, Problem> {
        let messages = &self.conversation.messages;
        let is_usual = |message: &Message| match message.role {
            Role::Assistant => message.weight == 1.0,
            Role::System | Role::Developer | Role::User | Role::Tool | Role::Ipython => !message.is_trained(),
        };
        if self.template.marks_generation() && messages.iter().all(is_usual) {
            let generated = self.rendered.generated.iter();
            return Ok(generated.map(|bytes| Span { bytes: bytes.clone(), weight: 1.0 }).collect());
        }
        let mut spans = Vec::new();
        let mut from = 0;
        for (index, message) in messages.iter().enumerate().filter(|(_, message)| message.is_trained()) {
            let bytes = self.turn(index, from)?;
            from = bytes.end;
            if !bytes.is_empty() {
                spans.push(Span { bytes, weight: message.weight });
            }
        }
        Ok(spans)
    }

    /// The parts of which the data say how much they count, in order: an assistant's turn, the text of any other message.
    ///
    /// # Errors
    /// [`ProblemKind::BadTemplate`]: a turn can't be found in the rendering.
    pub fn given(&self) -> Result<Vec<Span>, Problem> {
        let (mut spans, mut from) = (Vec::new(), 0);
        for (index, message) in self.conversation.messages.iter().enumerate() {
            let Some(weight) = message.given_weight else { continue };
            let bytes = match message.role {
                Role::Assistant => Some(self.turn(index, from)?),
                Role::System | Role::Developer | Role::User | Role::Tool | Role::Ipython => {
                    self.difference(index).filter(|bytes| from <= bytes.start)
                }
            };
            if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                from = bytes.end;
                spans.push(Span { bytes, weight });
            }
        }
        Ok(spans)
    }

    /// The first message that the template leaves out, if there is one: a template may know no tools.
    pub fn left_out(&self) -> Option<usize> {
        let messages = &self.conversation.messages;
        (0..messages.len()).find(|index| {
            let content = messages[*index].content().trim();
            // Every template knows these; the text may still be written in another way (`tojson`).
            let is_common = matches!(messages[*index].role, Role::System | Role::User | Role::Assistant);
            let is_seen = is_common && self.text().contains(content);
            !content.is_empty() && !is_seen && self.difference(*index).is_none()
        })
    }

    fn text(&self) -> &str {
        &self.rendered.text
    }

    fn render(&self, n_messages: usize, ending: Ending) -> Option<String> {
        let head = self.conversation.head(n_messages);
        self.template.render(&head, ending, self.arguments).ok().map(|rendered| rendered.text)
    }

    fn turn(&self, index: usize, from: usize) -> Result<Range<usize>, Problem> {
        let (start, end) = (self.start(index, from), self.end(index));
        match (start, end) {
            (Some(start), Some(end)) if from <= start && start <= end => Ok(start..self.without_trailing_space(start, end)),
            _ => Err(Problem::new(
                ProblemKind::BadTemplate,
                format!("message {} can't be found in what the chat template makes of the conversation", index + 1),
            )
            .at(self.template.origin())
            .hint(
                "use a template that marks the answers with {% generation %}, or set `data.assistant_only_loss` to false",
            )),
        }
    }

    fn start(&self, index: usize, from: usize) -> Option<usize> {
        let text = self.text();
        let prompt = self.render(index, Ending::GenerationPrompt);
        if let Some(prompt) = &prompt
            && !prompt.is_empty()
            && text.starts_with(prompt.as_str())
        {
            return Some(prompt.len());
        }
        let message = self.difference(index)?;
        // The conversation before the turn agrees, and a part of the prompt's last words.
        if let (Some(prompt), Some(before)) = (&prompt, self.render(index, Ending::Complete))
            && !before.is_empty()
            && text.starts_with(&before)
        {
            let agreed = common_prefix(prompt, text);
            if agreed >= before.len() {
                return Some(agreed.min(message.start));
            }
        }
        // The prompt's last words, between the turn before and the message.
        let header = self.header()?;
        let gap = text.get(from..message.start)?;
        match gap.rfind(&header) {
            Some(place) if !header.is_empty() => Some(from + place + header.len()),
            _ => Some(message.start),
        }
    }

    fn end(&self, index: usize) -> Option<usize> {
        let text = self.text();
        if index + 1 == self.conversation.messages.len() {
            return Some(text.len());
        }
        let until = self.render(index + 1, Ending::Complete);
        if let Some(until) = &until
            && text.starts_with(until.as_str())
        {
            return Some(until.len());
        }
        let message = self.difference(index)?;
        // What follows the message when it is the last one, as far as the whole conversation has it too. It
        // counts up to its last whole control token: the next turn's may begin with the same letters.
        let head = self.conversation.head(index + 1);
        let Some(until) = until else { return Some(message.end) };
        let last = difference(self.template, &head, self.arguments, &until, index)?;
        let tail = &until[last.end..];
        let agreed = message.end + common_prefix(tail, &text[message.end..]);
        if agreed == message.end + tail.len() {
            return Some(agreed);
        }
        let control = self.controls.iter().rfind(|span| message.end <= span.start && span.end <= agreed);
        Some(control.map_or(message.end, |span| span.end))
    }

    /// What the template writes to make the model answer.
    fn header(&self) -> Option<String> {
        let prompt = self.render(self.conversation.messages.len(), Ending::GenerationPrompt)?;
        prompt.strip_prefix(self.text()).map(str::to_owned)
    }

    fn difference(&self, index: usize) -> Option<Range<usize>> {
        difference(self.template, self.conversation, self.arguments, self.text(), index)
    }

    /// Cuts off the white space behind the last control token.
    fn without_trailing_space(&self, start: usize, end: usize) -> usize {
        let control = self.controls.iter().rfind(|span| start <= span.start && span.end <= end);
        match control {
            Some(control) if self.text()[control.end..end].trim().is_empty() => control.end,
            _ => end,
        }
    }
}

/// The bytes of `text`, the rendering of `conversation`, that come from the content of message `index`.
fn difference(
    template: &ChatTemplate,
    conversation: &Conversation,
    arguments: &Map<String, Value>,
    text: &str,
    index: usize,
) -> Option<Range<usize>> {
    // A probe shares neither its first nor its last character with the text, so that the borders are exact.
    let probe = PROBES.into_iter().find(|probe| {
        let content = conversation.messages[index].content();
        !probe.chars().any(|c| content.contains(c))
    });
    let changed = conversation.with_content(index, probe.unwrap_or(PROBES[0]));
    let other = template.render(&changed, Ending::Complete, arguments).ok()?.text;
    if other == text {
        return None;
    }
    let start = common_prefix(text, &other);
    let end = text.len() - common_suffix(text, &other);
    Some(start..end.max(start))
}

/// The bytes with which both texts begin, in whole characters.
pub fn common_prefix(left: &str, right: &str) -> usize {
    left.chars().zip(right.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

fn common_suffix(left: &str, right: &str) -> usize {
    left.chars().rev().zip(right.chars().rev()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}
