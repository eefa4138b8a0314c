//! `data.columns`: which columns of a file hold what the formats speak of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::IntoIter;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One row of this table for each field: its variant, its name in the spec, what it holds.
macro_rules! fields {
    ($($variant:ident, $name:literal, $holds:literal;)*) => {
        /// What a row may hold, by the name that the formats use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Field {
            $(#[doc = $holds] $variant,)*
        }

        impl Field {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in the spec.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it holds.
            pub fn holds(self) -> &'static str {
                match self { $(Self::$variant => $holds,)* }
            }
        }
    };
}

fields! {
    Messages, "messages", "The column with the list of messages.";
    System, "system", "The column with the system message.";
    Tools, "tools", "The column with the tools that the assistant may call.";
    Instruction, "instruction", "The column with the instruction.";
    Input, "input", "The column with what the instruction is about.";
    Output, "output", "The column with the answer to an instruction.";
    History, "history", "The column with the turns before an instruction.";
    Prompt, "prompt", "The column with the prompt.";
    Completion, "completion", "The column with what follows a prompt.";
    Question, "question", "The column with the question.";
    Answer, "answer", "The column with the answer to a question.";
    Text, "text", "The column with running text.";
    Chosen, "chosen", "The column with the better answer of a pair.";
    Rejected, "rejected", "The column with the worse answer of a pair.";
    Label, "label", "The column that says whether an answer is good (KTO).";
    InputIds, "input_ids", "The column with token ids.";
    Labels, "labels", "The column with the token ids to learn, -100 where nothing is.";
    AttentionMask, "attention_mask", "The column that is 0 at padding.";
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Field {
    type Err = UnknownField;

    fn from_str(name: &str) -> Result<Self, UnknownField> {
        Self::ALL.iter().copied().find(|field| field.name() == name).ok_or(UnknownField)
    }
}

/// No field has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownField;

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
        write!(f, "no such field, expected one of: {}", names.join(", "))
    }
}

impl std::error::Error for UnknownField {}

/// The columns that hold the fields; those that are not listed go by their usual names.
///
/// A column inside an object is written with dots (`data.prompt`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Columns(BTreeMap<Field, String>);

impl Columns {
    /// The column of `field`, where one is named.
    pub fn get(&self, field: Field) -> Option<&str> {
        self.0.get(&field).map(String::as_str)
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that are named, in the order of the fields.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &str)> {
        self.0.iter().map(|(field, column)| (*field, column.as_str()))
    }

    /// These, and those of `others` for further fields.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        let both = others.iter().chain(self.iter());
        both.map(|(field, column)| (field, column.to_owned())).collect()
    }
}

impl FromIterator<(Field, String)> for Columns {
    fn from_iter<I: IntoIterator<Item = (Field, String)>>(columns: I) -> Self {
        Self(columns.into_iter().collect())
    }
}

impl IntoIterator for Columns {
    type Item = (Field, String);
    type IntoIter = IntoIter<Field, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl JsonSchema for Columns {
    fn schema_name() -> Cow<'static, str> {
        "Columns".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let property = |field: &Field| {
            (field.name().to_owned(), json!({"type": "string", "description": field.holds()}))
        };
        let properties: Map<String, Value> = Field::ALL.iter().map(property).collect();
        json_schema!({
            "description": "Which columns hold what the formats speak of.",
            "type": "object",
            "properties": properties,
            "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_serde_names_them() {
        for field in Field::ALL {
            assert_eq!(serde_json::to_value(field).expect("a name"), field.name());
            assert_eq!(field.name().parse(), Ok(*field));
        }
        assert_eq!("x".parse::<Field>(), Err(UnknownField));
    }

    #[test]
    fn columns_of_a_file_beat_those_of_all_files() {
        let columns = |pairs: &[(Field, &str)]| {
            pairs.iter().map(|(field, column)| (*field, (*column).to_owned())).collect::<Columns>()
        };
        let own = columns(&[(Field::Output, "b")]);
        let all = columns(&[(Field::Output, "c"), (Field::Instruction, "a")]);
        assert_eq!(own.or(&all), columns(&[(Field::Instruction, "a"), (Field::Output, "b")]));
    }
}
