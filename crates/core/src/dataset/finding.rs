//! What can be found in a dataset, row by row: a code for programs, a severity, and what it means.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The row can't be trained on; a job that names it is refused.
    Error,
    /// It is trained on, but most people would not want it so.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One row of this table for each code: its variant, its name in JSON, how much it matters, what a person reads.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $severity:ident, $meaning:literal;)*) => {
        /// What can be found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code {
            $(#[doc = $meaning] $(#[$doc])* $variant,)*
        }

        impl Code {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How much it matters.
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What it means, as the end of a sentence that begins with a number of rows.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    // A file as a whole.
    UnreadableFile, "unreadable_file", Error, "in files that can't be read";
    EmptyFile, "empty_file", Error, "in files without any";
    NotData, "not_data", Error, "in files that hold something else than data";
    UnknownFormat, "unknown_format", Error, "in no known format";

    // A row as bytes.
    NotUtf8, "not_utf8", Error, "not in UTF-8";
    NotJson, "not_json", Error, "not valid JSON";
    LoneSurrogate, "lone_surrogate", Error, "with half of a surrogate pair, which is no Unicode text";
    TooLarge, "too_large", Error, "larger than can be read";
    TooDeep, "too_deep", Error, "nested too deeply";
    WrongTable, "wrong_table", Error, "with another number of columns than their table";

    // A row as an example.
    NotAnObject, "not_an_object", Error, "not a JSON object";
    OtherFormat, "other_format", Error, "in another format than their file";
    MissingField, "missing_field", Error, "without a field that the format needs";
    WrongType, "wrong_type", Error, "with a field of the wrong type";
    EmptyField, "empty_field", Error, "with an empty field";
    UnusableField, "unusable_field", Error, "with a field that can't be used";
    NoMessages, "no_messages", Error, "without messages";
    BadMessage, "bad_message", Error, "with a message that can't be read";
    UnknownRole, "unknown_role", Error, "with a role that nobody knows";
    NotText, "not_text", Error, "with images or other parts that are no text";
    BadTools, "bad_tools", Error, "with tools that can't be read";
    BadWeight, "bad_weight", Error, "with a weight that can't be used";
    NoAnswer, "no_answer", Error, "without an answer to learn";
    SamePair, "same_pair", Error, "with the same chosen and rejected answer";
    Kto, "kto", Error, "of single answers labelled good or bad (KTO)";

    // A row as tokens.
    NoTemplate, "no_template", Error, "of messages, for which the model has no chat template";
    TemplateFails, "template_fails", Error, "that the chat template refuses";
    TemplateLeavesOut, "template_leaves_out", Error, "of which the chat template leaves a message out";
    NothingToLearn, "nothing_to_learn", Error, "without a token to learn";
    UnknownToken, "unknown_token", Error, "with tokens that the model does not have";
    NothingToHoldOut, "nothing_to_hold_out", Error, "in data of which no fraction can be held out";
    TooLong, "too_long", Error, "longer than `data.max_length`";

    Duplicate, "duplicate", Warning, "the same as an earlier one";
    NearDuplicate, "near_duplicate", Warning, "the same as an earlier one but for spaces and capitals";
    NearEmpty, "near_empty", Warning, "with an answer of hardly any text";
    RoleOrder, "role_order", Warning, "in an unusual order of roles";
    ReplacementCharacters, "replacement_characters", Warning, "with U+FFFD, left by a failed conversion";
    SpecialTokensInText, "special_tokens_in_text", Warning, "with control tokens of the model written out in their text";
    LabelIgnored, "label_ignored", Warning, "whose label of a good or bad answer is not heeded";
    TemplateChangesContent, "template_changes_content", Warning, "of which the chat template leaves text out";
    EndNotLearned, "end_not_learned", Warning, "of which no end token is learned";
    CutOff, "cut_off", Warning, "cut off at `data.max_length`";
    Dropped, "dropped", Warning, "left out, as they are longer than `data.max_length`";
    Overlap, "overlap", Warning, "held out for evaluation and trained on too";

    SplitUp, "split_up", Note, "longer than `data.max_length`, which became several samples";
    FieldIgnored, "field_ignored", Note, "with fields that their format does not use";
    KeyCase, "key_case", Note, "whose keys are written in other capitals than those of their format";
    Repaired, "repaired", Note, "converted from another encoding of text";
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// The file.
    pub path: String,
    /// The row, counted from 1; in JSON Lines that is the line. `None`: the file as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The line, counted from 1, where rows are not lines (an array over several lines, CSV).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// One sentence, lower case, that names row and file.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).expect("a name"), code.name());
        }
        for severity in [Severity::Error, Severity::Warning, Severity::Note] {
            assert_eq!(serde_json::to_value(severity).expect("a name"), severity.name());
        }
    }
}
