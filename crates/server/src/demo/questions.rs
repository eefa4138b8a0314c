//! What the model is asked before and after: prompts taken from rows of the data, with the answers that they have
//! there.

use ftl_core::dataset::PreviewRow;
use ftl_core::inference::{ChatMessage, Prompt};
use ftl_core::spec::resolved::DataFormat;
use ftl_trainer::data::format::{Asked, Conversation, Example, FileFormat, Role, RowLayout, example};
use serde_json::Value;

/// Words of a text that its beginning is made of.
const N_FIRST_WORDS: usize = 8;

/// A question, and the answer in the data.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    /// What the model is given.
    pub(super) prompt: Prompt,
    /// The same, for people.
    pub(super) shown: String,
    /// What the data says.
    pub(super) reference: String,
}

/// The questions of the first `n_questions` rows that have one.
pub(super) fn questions(rows: &[PreviewRow], format: DataFormat, n_questions: usize) -> Vec<Question> {
    let rows: Vec<Value> = rows.iter().filter_map(|row| serde_json::from_str(&row.json).ok()).collect();
    // Rows that show no format have no questions either.
    let Ok(FileFormat { layout, .. }) = FileFormat::detect(&rows, &Asked::of(format)) else {
        return Vec::new();
    };
    rows.iter().filter_map(|row| question(row, &layout)).take(n_questions).collect()
}

fn question(row: &Value, layout: &RowLayout) -> Option<Question> {
    let (example, _) = example(row, layout).ok()?;
    match example {
        Example::Conversation(conversation) => from_conversation(&conversation),
        Example::PromptCompletion { prompt, completion } => {
            Some(Question { shown: prompt.clone(), prompt: Prompt::Text(prompt), reference: completion })
        }
        Example::Instruction { instruction, input, output } => {
            let asked = if input.is_empty() { instruction } else { format!("{instruction}\n\n{input}") };
            let message = ChatMessage { role: Role::User.to_string(), content: asked.clone() };
            Some(Question { prompt: Prompt::Messages(vec![message]), shown: asked, reference: output })
        }
        Example::Text(text) => {
            let words: Vec<&str> = text.split_whitespace().take(N_FIRST_WORDS).collect();
            let beginning = words.join(" ");
            let reference = text.trim_start().strip_prefix(&beginning).unwrap_or_default().trim().to_owned();
            Some(Question { shown: beginning.clone(), prompt: Prompt::Text(beginning), reference })
        }
        // A pair says which of two answers is better, not what the answer is.
        Example::Pair { .. } | Example::Tokens(_) => None,
    }
}

/// All up to the first answer.
fn from_conversation(conversation: &Conversation) -> Option<Question> {
    let messages = &conversation.messages;
    let answer = messages.iter().position(|message| message.role == Role::Assistant)?;
    let asked = messages[..answer].iter().rfind(|message| message.role == Role::User)?;
    let given = messages[..answer]
        .iter()
        .map(|message| ChatMessage { role: message.role.to_string(), content: message.content().to_owned() })
        .collect();
    Some(Question {
        prompt: Prompt::Messages(given),
        shown: asked.content().to_owned(),
        reference: messages[answer].content().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64, json: &str) -> PreviewRow {
        PreviewRow { number, json: json.to_owned(), problem: None }
    }

    #[test]
    fn question_is_all_before_the_first_answer() {
        let rows = [row(
            1,
            r#"{"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi?"},
                {"role": "assistant", "content": "Ho."}, {"role": "user", "content": "More?"}]}"#,
        )];
        let found = questions(&rows, DataFormat::Messages, 3);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].shown.as_str(), found[0].reference.as_str()), ("Hi?", "Ho."));
        let Prompt::Messages(messages) = &found[0].prompt else { panic!("{found:?}") };
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].role, "system");
    }

    #[test]
    fn text_is_asked_by_its_first_words() {
        let rows = [row(1, r#"{"text": "one two three four five six seven eight nine ten"}"#)];
        let found = questions(&rows, DataFormat::Text, 3);
        assert_eq!(found[0].shown, "one two three four five six seven eight");
        assert_eq!(found[0].reference, "nine ten");
    }

    #[test]
    fn rows_without_a_question_are_passed_over() {
        let rows = [
            row(1, "{}"),
            row(2, r#"{"messages": [{"role": "user", "content": "nobody answers"}]}"#),
            row(
                3,
                r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
            ),
            row(
                4,
                r#"{"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}"#,
            ),
        ];
        let found = questions(&rows, DataFormat::Messages, 1);
        assert_eq!(found.iter().map(|question| question.shown.as_str()).collect::<Vec<_>>(), ["a"]);
    }
}
