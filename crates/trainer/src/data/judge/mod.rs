//! What can be said of an example without a model: what it says as a number, its size, and what most people would not
//! want so. Pure, one example at a time.

mod content;
mod roles;
mod spellings;

use ftl_core::dataset::Code;

use crate::data::fault::Fault;
use crate::data::format::{Example, Message, Role};

pub use content::{Content, content_of_tokens};
pub use spellings::Spellings;

/// The roles that messages are counted by.
pub const ROLES: [Role; 6] =
    [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool, Role::Ipython];

/// What can be said of an example without a model.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What it says.
    pub content: Content,
    /// Unicode characters of its text; of a pair those of prompt and both answers.
    pub characters: u64,
    /// Messages by [`ROLES`]; of a pair those of the chosen side.
    pub roles: [u32; ROLES.len()],
    /// What most people would not want so, at most one of each code.
    pub warnings: Vec<Fault>,
}

impl Facts {
    /// Looks at an example. `spellings` are the control tokens that should not stand in its text.
    pub fn of(example: &Example, spellings: &Spellings) -> Self {
        let content = Content::of(example);
        let mut seen = Seen { spellings, characters: 0, spelling: None, has_replacement: false };
        let (first, second) = match example {
            Example::Pair { chosen, rejected } => (&**chosen, Some(&**rejected)),
            Example::Conversation(_)
            | Example::PromptCompletion { .. }
            | Example::Instruction { .. }
            | Example::Text(_)
            | Example::Tokens(_) => (example, None),
        };
        seen.example(first);
        second.into_iter().for_each(|second| seen.example(second));
        let Seen { characters, spelling, has_replacement, .. } = seen;
        let mut warnings = Vec::new();
        let mut warn = |code, what: String| warnings.push(Fault::new(code, what));
        if let Some(what) = near_empty(first).or_else(|| second.and_then(near_empty)) {
            warn(Code::NearEmpty, what);
        }
        let mut roles = [0; ROLES.len()];
        if let Example::Conversation(conversation) = first {
            for message in &conversation.messages {
                roles[place_of(message.role)] += 1;
            }
            if let Some(what) = roles::unusual_order(&conversation.messages) {
                warn(Code::RoleOrder, what);
            }
        }
        if has_replacement {
            warn(
                Code::ReplacementCharacters,
                "has U+FFFD in its text, which stands for what could not be converted".to_owned(),
            );
        }
        if let Some(token) = spelling {
            warn(
                Code::SpecialTokensInText,
                format!("has the control token `{token}` written out in its text"),
            );
        }
        Self { content, characters, roles, warnings }
    }

    /// Messages of all roles.
    pub fn turns(&self) -> u64 {
        self.roles.iter().map(|n| u64::from(*n)).sum()
    }

    /// Whether there is such a warning.
    pub fn has(&self, code: Code) -> bool {
        self.warnings.iter().any(|warning| warning.code == code)
    }
}

fn place_of(role: Role) -> usize {
    ROLES.iter().position(|other| *other == role).expect("all roles are listed")
}

/// What is seen while going through the texts.
struct Seen<'a> {
    spellings: &'a Spellings,
    characters: u64,
    spelling: Option<&'a str>,
    has_replacement: bool,
}

impl Seen<'_> {
    fn example(&mut self, example: &Example) {
        match example {
            Example::Conversation(conversation) => {
                conversation.messages.iter().for_each(|message| self.text(message.content()));
            }
            Example::PromptCompletion { prompt, completion } => {
                self.text(prompt);
                self.text(completion);
            }
            Example::Instruction { instruction, input, output } => {
                [instruction, input, output].into_iter().for_each(|text| self.text(text));
            }
            Example::Text(text) => self.text(text),
            Example::Tokens(_) => {}
            Example::Pair { chosen, rejected } => {
                self.example(chosen);
                self.example(rejected);
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.characters += text.chars().count() as u64;
        self.has_replacement = self.has_replacement || text.contains('\u{FFFD}');
        self.spelling = self.spelling.or_else(|| self.spellings.find(text));
    }
}

/// What a failed export leaves in the place of a text.
const PLACEHOLDERS: [&str; 5] = ["nan", "null", "n/a", "undefined", "[deleted]"];

/// The first learned answer of hardly any text.
fn near_empty(example: &Example) -> Option<String> {
    let shown = |text: &str| {
        if text.trim().is_empty() {
            "has an empty answer".to_owned()
        } else {
            format!("has only `{}` as an answer", text.trim())
        }
    };
    let judge = |text: &str| says_nothing(text).then(|| shown(text));
    match example {
        Example::Conversation(conversation) => {
            let is_answer = |message: &&Message| {
                message.role == Role::Assistant && message.is_trained() && !message.calls()
            };
            conversation.messages.iter().filter(is_answer).find_map(|message| judge(message.content()))
        }
        Example::PromptCompletion { completion, .. } => judge(completion),
        Example::Instruction { output, .. } => judge(output),
        Example::Text(text) => says_nothing(text).then(|| "has hardly any text".to_owned()),
        Example::Tokens(_) | Example::Pair { .. } => None,
    }
}

/// Whether there is nothing but spaces and punctuation, or the word of an export for nothing. A single letter or digit
/// says something: it may be a label.
fn says_nothing(text: &str) -> bool {
    let text = text.trim();
    let is_punctuation = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || c.is_ascii_punctuation()
            || matches!(c, '\u{2000}'..='\u{206F}' | '\u{FFFD}')
    };
    // The first letter decides for nearly all.
    text.chars().all(is_punctuation)
        || (text.len() <= 9 && PLACEHOLDERS.iter().any(|placeholder| text.eq_ignore_ascii_case(placeholder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::{RowLayout, example};
    use ftl_core::spec::resolved::DataFormat;
    use serde_json::{Value, json};

    fn facts(row: &Value, format: DataFormat) -> Facts {
        let read = example(row, &RowLayout::of(format));
        let (example, _) = read.unwrap_or_else(|fault| panic!("{row}: {fault}"));
        Facts::of(&example, &Spellings::common())
    }

    fn warnings(row: &Value, format: DataFormat) -> Vec<String> {
        facts(row, format).warnings.into_iter().map(|warning| warning.what).collect()
    }

    #[test]
    fn answers_of_hardly_any_text_are_told_from_short_ones() {
        for (answer, expected) in [
            ("42", None),
            ("B", None),
            ("是", None),
            ("👍", None),
            ("...", Some("has only `...` as an answer")),
            (" \u{2026}", Some("has only `\u{2026}` as an answer")),
            ("NaN", Some("has only `NaN` as an answer")),
            ("none of them", None),
        ] {
            let row = json!({"prompt": "a", "completion": answer});
            assert_eq!(
                warnings(&row, DataFormat::PromptCompletion).first().map(String::as_str),
                expected,
                "{answer}"
            );
        }
    }

    #[test]
    fn a_call_needs_no_text() {
        let row = json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        ]);
        assert_eq!(warnings(&row, DataFormat::Messages), [""; 0]);
    }

    #[test]
    fn characters_and_roles_are_counted() {
        let row = json!([
            {"role": "system", "content": "äö"},
            {"role": "user", "content": "a\u{FFFD}"},
            {"role": "assistant", "content": "日本 </s>"},
        ]);
        let facts = facts(&row, DataFormat::Messages);
        assert_eq!((facts.characters, facts.roles, facts.turns()), (11, [1, 0, 1, 1, 0, 0], 3));
        assert!(facts.has(Code::ReplacementCharacters) && facts.has(Code::SpecialTokensInText));
        assert!(!facts.has(Code::NearEmpty) && !facts.has(Code::RoleOrder));
    }
}
