//! What to tell a user in whose file no format is recognised.

use ftl_core::dataset::Code;
use ftl_core::spec::Field;
use ftl_core::spec::resolved::DataFormat;
use serde_json::{Map, Value};

use super::detect::Asked;
use super::fields::{Fields, keys_of, kind_of, names_of};
use crate::data::fault::Fault;

/// The formats by their keys.
const KNOWN: &str = "messages, conversations, instruction + output, prompt + completion, question + answer, text, chosen \
                     + rejected, input_ids";
/// Parts of names that answers have.
const ANSWERS: [&str; 8] =
    ["answer", "response", "completion", "output", "solution", "target", "reply", "summary"];
/// How alike two keys are, 0 to 1, if one is taken for a slip of the other.
const ALIKE: f64 = 0.85;

/// The fault of a file of which no row shows a format.
pub(super) fn unknown_format(rows: &[&Value], asked: &Asked) -> Fault {
    let objects = rows.iter().filter_map(|row| row.as_object());
    let Some(first) = objects.max_by_key(|row| row.len()) else {
        let what = rows.first().map_or("nothing", |row| kind_of(row));
        let what = format!("has {what} for a row; expected objects with one of: {KNOWN}");
        return Fault::new(Code::UnknownFormat, what);
    };
    let what = format!("is in no known format: its rows have {}; expected one of: {KNOWN}", keys_of(first));
    let fault = Fault::new(Code::UnknownFormat, what);
    match hint(first, asked) {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

fn hint(row: &Map<String, Value>, asked: &Asked) -> Option<String> {
    if row.contains_key("content") && (row.contains_key("role") || row.contains_key("from")) {
        return Some(
            "each row is one message; put all messages of a conversation into one row, as a list".to_owned(),
        );
    }
    let layout = asked.layout(DataFormat::Auto);
    let fields = Fields::new(row, &layout);
    let halves = [
        (Field::Instruction, Field::Output),
        (Field::Prompt, Field::Completion),
        (Field::Question, Field::Answer),
    ];
    for (one, other) in halves {
        let (known, missing) = match (fields.find(one), fields.find(other)) {
            (Some(known), None) => (known, other),
            (None, Some(known)) => (known, one),
            (Some(_), Some(_)) | (None, None) => continue,
        };
        if let Some(column) = likely(row, known.key, missing == other) {
            return Some(columns(&[(missing, column)]));
        }
    }
    for key in row.keys() {
        let close = Field::ALL
            .iter()
            .flat_map(|field| names_of(field.to_owned()).iter().map(move |name| (*field, *name)));
        let close = close.map(|(field, name)| (strsim::jaro_winkler(&key.to_lowercase(), name), field));
        let best = close.max_by(|(one, _), (other, _)| one.total_cmp(other));
        if let Some((_, field)) = best.filter(|(alike, _)| *alike >= ALIKE) {
            return Some(columns(&[(field, key)]));
        }
    }
    let is_list_of_turns =
        |value: &Value| value.as_array().and_then(|list| list.first()).is_some_and(Value::is_object);
    if let Some((key, _)) = row.iter().find(|(_, value)| is_list_of_turns(value)) {
        return Some(columns(&[(Field::Messages, key)]));
    }
    let mut texts = row.iter().filter(|(_, value)| value.is_string()).map(|(key, _)| key.as_str());
    match (texts.next(), texts.next()) {
        (Some(one), None) => Some(columns(&[(Field::Text, one)])),
        (Some(one), Some(other)) => Some(columns(&[(Field::Instruction, one), (Field::Output, other)])),
        (None, _) => None,
    }
}

/// The column that is most likely the missing half: one whose name says so, else the longest text.
fn likely<'a>(row: &'a Map<String, Value>, known: &str, is_answer: bool) -> Option<&'a str> {
    let texts = || {
        let others = row.iter().filter(|(key, _)| key.as_str() != known);
        others.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    };
    let sounds_right = |key: &str| is_answer && ANSWERS.iter().any(|part| key.to_lowercase().contains(part));
    let named = texts().find(|(key, _)| sounds_right(key));
    named.or_else(|| texts().max_by_key(|(_, text)| text.len())).map(|(key, _)| key)
}

fn columns(named: &[(Field, &str)]) -> String {
    let named: Vec<String> = named.iter().map(|(field, column)| format!("{field} = \"{column}\"")).collect();
    format!("say which column is which, as in `data.columns = {{ {} }}`", named.join(", "))
}
