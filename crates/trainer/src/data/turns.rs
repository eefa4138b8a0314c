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
//!
//! Each of these turns costs some renderings. Between the texts of the messages, which a [`Trace`] shows, templates
//! write the same few words again and again; where in them a turn begins and ends is found once and remembered.

use std::cell::OnceCell;
use std::ops::Range;

use ftl_core::dataset::Code;

use super::fault::Fault;
use super::format::{Message, Role};
use super::template::{Borders, Ending, Rendered, Scene, Site, Trace};

/// Finds the trained bytes of one rendered conversation.
pub struct Turns<'a> {
    scene: &'a Scene<'a>,
    rendered: &'a Rendered,
    /// Where control tokens stand in it, in order.
    controls: Vec<Range<usize>>,
    search: Search,
    trace: OnceCell<Option<Trace>>,
}

/// How turns are found. Both find the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// By what was found between the same words before.
    Remembered,
    /// By rendering parts of the conversation, every time.
    Rendered,
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

impl<'a> Turns<'a> {
    /// Of `rendered`, the whole of `scene`, in which `controls`, in order, are control tokens.
    pub fn new(
        scene: &'a Scene<'a>,
        rendered: &'a Rendered,
        controls: Vec<Range<usize>>,
        search: Search,
    ) -> Self {
        Self { scene, rendered, controls, search, trace: OnceCell::new() }
    }

    /// The parts that are trained, in order.
    ///
    /// # Errors
    /// [`Code::TemplateFails`]: a turn can't be found in the rendering.
    pub fn trained(&self) -> Result<Vec<Span>, Fault> {
        if self.marks_rule() {
            let generated = self.rendered.generated.iter();
            return Ok(generated.map(|bytes| Span { bytes: bytes.clone(), weight: 1.0 }).collect());
        }
        let mut spans = Vec::new();
        let mut from = 0;
        for (index, message) in self.messages().iter().enumerate().filter(|(_, message)| message.is_trained())
        {
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
    /// [`Code::TemplateFails`]: a turn can't be found in the rendering.
    pub fn given(&self) -> Result<Vec<Span>, Fault> {
        let (mut spans, mut from) = (Vec::new(), 0);
        for (index, message) in self.messages().iter().enumerate() {
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
        let messages = self.messages();
        (0..messages.len()).find(|index| {
            let message = &messages[*index];
            let content = message.content().trim();
            if message.calls() && (content.is_empty() || self.has_calls_of(message)) {
                return !self.has_calls_of(message);
            }
            // Every template knows these; the text may still be written in another way (`tojson`).
            let is_common = matches!(message.role, Role::System | Role::User | Role::Assistant);
            let is_seen = is_common && self.text().contains(content);
            !content.is_empty() && !is_seen && !self.is_traced(*index) && self.difference(*index).is_none()
        })
    }

    /// Where the texts of the messages stand; `None`: the template does not let itself be traced.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.get_or_init(|| self.scene.trace(self.rendered)).as_ref()
    }

    /// Whether the template's own marks say all there is to say.
    pub fn marks_rule(&self) -> bool {
        let is_usual = |message: &Message| match message.role {
            Role::Assistant => message.weight == 1.0,
            Role::System | Role::Developer | Role::User | Role::Tool | Role::Ipython => !message.is_trained(),
        };
        self.scene.template().marks_generation() && self.messages().iter().all(is_usual)
    }

    fn messages(&self) -> &'a [Message] {
        &self.scene.conversation().messages
    }

    fn has_calls_of(&self, message: &Message) -> bool {
        let mut names = message.call_names();
        self.scene.template().mentions("tool_calls") && names.all(|name| self.text().contains(name))
    }

    fn is_traced(&self, index: usize) -> bool {
        self.search == Search::Remembered && self.trace().is_some_and(|trace| trace.bytes_of(index).is_some())
    }

    fn text(&self) -> &str {
        &self.rendered.text
    }

    fn render(&self, n_messages: usize, ending: Ending) -> Option<String> {
        self.scene.render(n_messages, ending).ok().map(|rendered| rendered.text)
    }

    fn turn(&self, index: usize, from: usize) -> Result<Range<usize>, Fault> {
        let site = match self.search {
            Search::Remembered => self.trace().and_then(|trace| Site::of(index, trace, self.text())),
            Search::Rendered => None,
        };
        if let Some(site) = &site
            && let Some(bytes) = self.scene.remembered(site, self.text())
            && from <= bytes.start
        {
            return Ok(bytes);
        }
        let start = self.start(index, from);
        let bytes = match (&start, self.end(index)) {
            (Some(start), Some(end)) if from <= start.at && start.at <= end => {
                start.at..self.without_trailing_space(start.at, end)
            }
            _ => {
                return Err(Fault::new(
                    Code::TemplateFails,
                    format!(
                        "has a message {} that can't be found in what the chat template makes of the conversation; use a \
                         template that marks the answers with {{% generation %}}, or set `data.assistant_only_loss` to false",
                        index + 1
                    ),
                ));
            }
        };
        if let (Some(site), Some(start)) = (site, start) {
            self.scene.remember(&site, self.text(), Borders { bytes: bytes.clone(), prompt: start.prompt });
        }
        Ok(bytes)
    }

    fn start(&self, index: usize, from: usize) -> Option<Start> {
        let text = self.text();
        let prompt = self.render(index, Ending::GenerationPrompt);
        if let Some(prompt) = &prompt
            && !prompt.is_empty()
            && text.starts_with(prompt.as_str())
        {
            return Some(Start { at: prompt.len(), prompt: Some(prompt.clone()) });
        }
        let found = |at| Some(Start { at, prompt: prompt.clone() });
        let message = self.difference(index)?;
        // The conversation before the turn agrees, and a part of the prompt's last words.
        if let (Some(prompt), Some(before)) = (&prompt, self.render(index, Ending::Complete))
            && !before.is_empty()
            && text.starts_with(&before)
        {
            let agreed = common_prefix(prompt, text);
            if agreed >= before.len() {
                return found(agreed.min(message.start));
            }
        }
        // The prompt's last words, between the turn before and the message.
        let header = self.header()?;
        let gap = text.get(from..message.start)?;
        match gap.rfind(&header) {
            Some(place) if !header.is_empty() => found(from + place + header.len()),
            _ => found(message.start),
        }
    }

    fn end(&self, index: usize) -> Option<usize> {
        let text = self.text();
        if index + 1 == self.messages().len() {
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
        let Some(until) = until else { return Some(message.end) };
        let last = difference(self.scene, (index + 1, &until), index)?;
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
        let prompt = self.render(self.messages().len(), Ending::GenerationPrompt)?;
        prompt.strip_prefix(self.text()).map(str::to_owned)
    }

    fn difference(&self, index: usize) -> Option<Range<usize>> {
        difference(self.scene, (self.messages().len(), self.text()), index)
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

/// Where a turn begins, and the prompt that the model would be given for it.
struct Start {
    at: usize,
    prompt: Option<String>,
}

/// The bytes of `text`, the rendering of the first `n_messages`, that come from the content of message `index`.
fn difference(scene: &Scene<'_>, (n_messages, text): (usize, &str), index: usize) -> Option<Range<usize>> {
    // A probe shares neither its first nor its last character with the text, so that the borders are exact.
    let content = scene.conversation().messages[index].content();
    let probe = PROBES.into_iter().find(|probe| !probe.chars().any(|c| content.contains(c)));
    let other = scene.render_with(n_messages, (index, probe.unwrap_or(PROBES[0]))).ok()?.text;
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
