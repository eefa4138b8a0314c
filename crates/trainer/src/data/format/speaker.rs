//! Who speaks: the roles that templates know, and what datasets call them.

use std::fmt;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sets the scene.
    System,
    /// OpenAI's newer word for system.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a call.
    Tool,
    /// Llama 3's word for tool.
    Ipython,
}

impl Role {
    pub(super) const ALL: [Self; 6] =
        [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool, Self::Ipython];

    /// The name that templates use.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Ipython => "ipython",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who speaks in a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// A role as templates know it.
    Plain(Role),
    /// The assistant, whose text is the JSON of one or several calls (ShareGPT's `function_call`).
    Call,
}

/// Which names of roles a format knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// OpenAI's, with Llama 3's `ipython`.
    OpenAi,
    /// All that files in ShareGPT's form use.
    ShareGpt,
}

/// Names that real files use, beside those of the roles themselves.
const SHAREGPT: [(&str, Speaker); 33] = {
    use Role::{Assistant, Tool, User};
    use Speaker::{Call, Plain};
    [
        ("human", Plain(User)),
        ("person", Plain(User)),
        ("prompter", Plain(User)),
        ("instruction", Plain(User)),
        ("question", Plain(User)),
        ("gpt", Plain(Assistant)),
        ("gpt3", Plain(Assistant)),
        ("gpt-3.5", Plain(Assistant)),
        ("gpt4", Plain(Assistant)),
        ("gpt-4", Plain(Assistant)),
        ("chatgpt", Plain(Assistant)),
        ("chat-gpt", Plain(Assistant)),
        ("bing", Plain(Assistant)),
        ("bard", Plain(Assistant)),
        ("claude", Plain(Assistant)),
        ("gemini", Plain(Assistant)),
        ("model", Plain(Assistant)),
        ("bot", Plain(Assistant)),
        ("chatbot", Plain(Assistant)),
        ("ai", Plain(Assistant)),
        ("llm", Plain(Assistant)),
        ("output", Plain(Assistant)),
        ("response", Plain(Assistant)),
        ("answer", Plain(Assistant)),
        ("function_call", Call),
        ("function-call", Call),
        ("tool_call", Call),
        ("observation", Plain(Tool)),
        ("function_response", Plain(Tool)),
        ("function-response", Plain(Tool)),
        ("tool_response", Plain(Tool)),
        ("tool_result", Plain(Tool)),
        ("function", Plain(Tool)),
    ]
};

impl Spelling {
    /// Who is called `name`, whatever its capitals.
    pub(super) fn speaker(self, name: &str) -> Option<Speaker> {
        let name = name.trim();
        if let Some(role) = Role::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(name)) {
            return Some(Speaker::Plain(role));
        }
        match self {
            // The results of OpenAI's function calls, before they were called tools.
            Self::OpenAi => name.eq_ignore_ascii_case("function").then_some(Speaker::Plain(Role::Tool)),
            Self::ShareGpt => {
                let found = SHAREGPT.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, speaker)| *speaker)
            }
        }
    }

    /// The names that it knows, for messages.
    pub(super) fn known(self) -> &'static str {
        match self {
            Self::OpenAi => "system, developer, user, assistant, tool, ipython",
            Self::ShareGpt => "system, human, gpt, function_call, observation, or one of their other names",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speakers_are_known_by_their_many_names() {
        for (name, role) in [
            ("system", Role::System),
            ("Human", Role::User),
            ("user", Role::User),
            ("gpt", Role::Assistant),
            ("ChatGPT", Role::Assistant),
            ("bing", Role::Assistant),
            ("bard", Role::Assistant),
            ("model", Role::Assistant),
            ("observation", Role::Tool),
            ("tool", Role::Tool),
        ] {
            assert_eq!(Spelling::ShareGpt.speaker(name), Some(Speaker::Plain(role)), "{name}");
        }
        assert_eq!(Spelling::ShareGpt.speaker("function_call"), Some(Speaker::Call));
        assert_eq!(Spelling::ShareGpt.speaker("narrator"), None);
        for name in ["human", "gpt", "function_call", "observation", "bot"] {
            assert_eq!(Spelling::OpenAi.speaker(name), None, "{name}");
        }
        assert_eq!(Spelling::OpenAi.speaker("function"), Some(Speaker::Plain(Role::Tool)));
    }
}
