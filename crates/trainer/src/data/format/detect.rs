//! Which format the rows of a file are in, told by their keys.
//!
//! A row may show several formats. The first of these that it can be read as counts, in this order: preference, tokens,
//! messages, sharegpt, alpaca, prompt_completion, question_answer, text. So `instruction`, `output` and `text` together
//! are alpaca, whose `text` repeats the two. A file is in the format that most of its rows show.

use ftl_core::dataset::Code;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::spec::{Columns, Field};
use serde_json::Value;

use super::fields::{Fields, Found};
use super::layout::{Labels, RowLayout, Tags};
use super::{read, suggest};
use crate::data::fault::Fault;

/// Rows of a file that are looked at, from its beginning.
pub const SHOWN_ROWS: usize = 1000;

/// What is said of a file's rows before anyone looks at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Their format; `Auto`: it is to be found out.
    pub format: DataFormat,
    /// Columns that go by other names.
    pub columns: Columns,
    /// How turns are written.
    pub tags: Tags,
    /// What a label of a good or bad answer means.
    pub labels: Labels,
}

/// How the rows of a file are laid out, and how sure that is.
#[derive(Clone, Debug, PartialEq)]
pub struct FileFormat {
    /// How to read them.
    pub layout: RowLayout,
    /// The share of the rows looked at that show this format, 0 to 1; 1 where it was named.
    pub confidence: f64,
    /// The other formats among them, most frequent first; none where the format was named.
    pub others: Vec<Other>,
    /// What a user should know, one sentence each.
    pub notes: Vec<String>,
}

/// A format that some rows of a file show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// Which.
    pub format: DataFormat,
    /// How many rows.
    pub rows: u64,
}

impl Asked {
    /// A format, or `Auto`, and nothing else.
    pub fn of(format: DataFormat) -> Self {
        let labels = Labels::where_asked(format);
        Self { format, columns: Columns::default(), tags: Tags::default(), labels }
    }

    /// The layout of rows of `format`.
    pub fn layout(&self, format: DataFormat) -> RowLayout {
        let Self { format: _, columns, tags, labels } = self.clone();
        RowLayout { format, columns, tags, labels }
    }
}

/// The formats in the order in which they count where a row shows several.
const ORDER: [DataFormat; 8] = [
    DataFormat::Preference,
    DataFormat::Tokens,
    DataFormat::Messages,
    DataFormat::Sharegpt,
    DataFormat::Alpaca,
    DataFormat::PromptCompletion,
    DataFormat::QuestionAnswer,
    DataFormat::Text,
];

impl FileFormat {
    /// Finds out how `rows` are laid out, the first [`SHOWN_ROWS`] of a file that are JSON.
    ///
    /// # Errors
    /// [`Code::UnknownFormat`]: no row shows a format. The fault is the file's, not a row's.
    pub fn detect<'a>(rows: impl IntoIterator<Item = &'a Value>, asked: &Asked) -> Result<Self, Fault> {
        let rows: Vec<&Value> = rows.into_iter().take(SHOWN_ROWS).collect();
        if asked.format != DataFormat::Auto {
            let layout = asked.layout(asked.format);
            let notes = column_notes(&rows, &layout);
            return Ok(Self { layout, confidence: 1.0, others: Vec::new(), notes });
        }
        let mut counts = ORDER.map(|format| (format, Votes::default()));
        for row in &rows {
            let formats = shown(row, asked);
            let fitting = formats.iter().copied().find(|format| fits(row, &asked.layout(*format)));
            let Some(format) = fitting.or_else(|| formats.first().copied()) else { continue };
            let place =
                ORDER.iter().position(|known| *known == format).expect("all formats but Auto are there");
            counts[place].1.shown += 1;
            counts[place].1.read += u64::from(fitting.is_some());
        }
        // A stable sort: of equals the one that comes first in the order wins.
        counts.sort_by_key(|(_, votes)| std::cmp::Reverse((votes.read, votes.shown)));
        let [(format, votes), others @ ..] = counts;
        if votes.shown == 0 {
            return Err(suggest::unknown_format(&rows, asked));
        }
        let others = others.into_iter().filter(|(_, votes)| votes.shown > 0);
        let others = others.map(|(format, votes)| Other { format, rows: votes.shown }).collect();
        let layout = asked.layout(format);
        let notes = column_notes(&rows, &layout);
        Ok(Self { layout, confidence: votes.shown as f64 / rows.len() as f64, others, notes })
    }
}

/// How many rows show a format, and how many of them can be read as it.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    shown: u64,
    read: u64,
}

fn fits(row: &Value, layout: &RowLayout) -> bool {
    match row {
        Value::Object(row) => read(&Fields::new(row, layout)).is_ok(),
        Value::Array(_) => super::dialogue::bare(row, layout).is_ok(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The formats that `row` shows by its keys, in the order in which they count.
pub fn shown(row: &Value, asked: &Asked) -> Vec<DataFormat> {
    let row = match row {
        Value::Object(row) => row,
        Value::Array(turns) if turns.iter().all(Value::is_object) => return dialects(turns.first()),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Vec::new();
        }
    };
    let layout = asked.layout(DataFormat::Auto);
    let fields = Fields::new(row, &layout);
    let has = |field| fields.find(field).is_some();
    let mut formats = Vec::new();
    let sides = [Field::Chosen, Field::Rejected].map(has);
    if sides == [true, true] || fields.own("chosen_input_ids").is_some() {
        // Both answers are there: whatever else stands beside them, also where they can't be read.
        return vec![DataFormat::Preference];
    }
    if sides != [false, false] {
        formats.push(DataFormat::Preference);
    }
    if has(Field::InputIds) {
        formats.push(DataFormat::Tokens);
    }
    if let Some(found) = fields.find(Field::Messages) {
        formats.extend(turns_shown(found));
    }
    let pairs = [
        (Field::Instruction, Field::Output, DataFormat::Alpaca),
        (Field::Prompt, Field::Completion, DataFormat::PromptCompletion),
        (Field::Question, Field::Answer, DataFormat::QuestionAnswer),
    ];
    formats.extend(
        pairs.into_iter().filter(|(one, other, _)| has(*one) && has(*other)).map(|(.., format)| format),
    );
    // A row that is one message has a `content` too.
    if has(Field::Text) && fields.own("role").is_none() && fields.own("from").is_none() {
        formats.push(DataFormat::Text);
    }
    formats
}

/// A list under one of the names for messages. Other things go by some of these names too (`dialogue`: a text).
fn turns_shown(found: Found<'_>) -> Vec<DataFormat> {
    match found.parsed().as_ref() {
        Value::Array(turns) => dialects(turns.first()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            match found.key {
                "messages" => vec![DataFormat::Messages],
                "conversations" => vec![DataFormat::Sharegpt],
                _ => Vec::new(),
            }
        }
    }
}

/// Both ways to write turns, the one that the first turn shows before the other.
fn dialects(first: Option<&Value>) -> Vec<DataFormat> {
    let has = |key: &str| first.is_some_and(|turn| turn.get(key).is_some());
    if has("from") || has("value") && !has("content") {
        return vec![DataFormat::Sharegpt];
    }
    vec![DataFormat::Messages, DataFormat::Sharegpt]
}

/// The fault of a row that shows other formats than that of its file.
pub(super) fn of_another_format(row: &Value, layout: &RowLayout) -> Option<Fault> {
    let RowLayout { format, columns, tags, labels } = layout.clone();
    let formats = shown(row, &Asked { format, columns, tags, labels });
    let other = formats.first().filter(|_| !formats.contains(&format))?;
    let what = format!("is in the format `{}`, but its file is read as `{}`", other.name(), format.name());
    Some(Fault::new(Code::OtherFormat, what).hint("put the rows of each format into a file of their own"))
}

/// Named columns that no row has, and those that the format has no place for: a slip of the pen would else leave out
/// what they hold.
fn column_notes(rows: &[&Value], layout: &RowLayout) -> Vec<String> {
    let has = |row: &&Value, field: Field| {
        row.as_object().is_some_and(|row| Fields::new(row, layout).find(field).is_some())
    };
    let format = layout.format.name();
    let note = |(field, column): (Field, &str)| {
        if !field.is_of(layout.format) {
            return Some(format!(
                "the column `{column}` was said to be `{field}`, which the format `{format}` does not have"
            ));
        }
        let is_missing = !rows.is_empty() && !rows.iter().any(|row| has(row, field));
        is_missing.then(|| {
            let n_rows = rows.len();
            format!("no row of the first {n_rows} has the column `{column}`, where `{field}` was said to be")
        })
    };
    layout.columns.iter().filter_map(note).collect()
}

/// The keys that a format needs, for messages.
pub(super) fn keys_for(format: DataFormat) -> &'static str {
    match format {
        DataFormat::Auto => "the keys of a format",
        DataFormat::Messages => "`messages`",
        DataFormat::Sharegpt => "`conversations`",
        DataFormat::Alpaca => "`instruction`, `input` and `output`",
        DataFormat::PromptCompletion => "`prompt` and `completion`",
        DataFormat::QuestionAnswer => "`question` and `answer`",
        DataFormat::Text => "`text`",
        DataFormat::Preference => "`chosen` and `rejected`",
        DataFormat::Tokens => "`input_ids`",
    }
}
