//! Compares a value tree with the JSON Schema of the spec and collects every difference.
//!
//! Knows the part of JSON Schema that the derive uses: `$ref`, `anyOf`, `oneOf` and `enum` of texts, `type`,
//! `properties`, `additionalProperties`, `items`, `minimum`. Required keys are left to `check`, which a spec built
//! in a program passes too.

use serde_json::{Map, Value};

use super::suggest::{elsewhere, nearest, properties, resolved};
use crate::error::{Problem, ProblemKind};

/// All differences between `tree` and `schema`, in the order of the tree.
pub(super) fn with_schema(tree: &Value, schema: &Value) -> Vec<Problem> {
    let mut comparison = Comparison { root: schema, problems: Vec::new() };
    comparison.value(tree, schema, "");
    comparison.problems
}

struct Comparison<'a> {
    root: &'a Value,
    problems: Vec<Problem>,
}

impl<'a> Comparison<'a> {
    fn value(&mut self, value: &Value, schema: &'a Value, path: &str) {
        let alternatives = self.alternatives(schema);
        let fitting: Vec<_> =
            alternatives.iter().copied().filter(|schema| has_type_of(schema, value)).collect();
        match (fitting.as_slice(), value) {
            ([], _) => self.refuse_type(value, &alternatives, path),
            ([schema], Value::Object(object)) => self.object(object, schema, path),
            ([schema], Value::Array(items)) => {
                if let Some(item_schema) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.value(item, item_schema, &format!("{path}[{index}]"));
                    }
                }
            }
            ([schema, ..], Value::String(text)) => self.text(text, schema, path),
            // Several tables or lists to choose from do not occur; numbers and truth values are done.
            (_, _) => {}
        }
    }

    fn object(&mut self, object: &Map<String, Value>, schema: &'a Value, path: &str) {
        let known: Vec<&str> = properties(schema).map(|(key, _)| key.as_str()).collect();
        for (key, value) in object {
            let key_path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let key_schema = schema.get("properties").and_then(|properties| properties.get(key));
            let free_schema = schema.get("additionalProperties").filter(|schema| schema.is_object());
            match key_schema.or(free_schema) {
                // Left out, as far as the spec is concerned.
                Some(_) if value.is_null() => {}
                Some(key_schema) => self.value(value, key_schema, &key_path),
                None => self.refuse_key(key, &known, path, key_path),
            }
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let required = required.as_str().unwrap_or_default();
            // The required keys of sections are `check`'s; an entry of a list can't be built without.
            if path.ends_with(']') && object.get(required).is_none_or(Value::is_null) {
                self.problems.push(
                    Problem::new(ProblemKind::MissingKey, "this key must be given")
                        .at(format!("{path}.{required}")),
                );
            }
        }
    }

    fn text(&mut self, text: &str, schema: &Value, path: &str) {
        let names = names_of(schema);
        if names.is_empty() || names.contains(&text) {
            return;
        }
        let message = format!("unknown value `{text}`, expected one of: {}", names.join(", "));
        let problem = Problem::new(ProblemKind::InvalidValue, message).at(path);
        self.problems.push(match nearest(text, &names) {
            Some(name) => problem.hint(format!("did you mean `{name}`?")),
            None => problem,
        });
    }

    fn refuse_key(&mut self, key: &str, known: &[&str], path: &str, key_path: String) {
        let hint = match (nearest(key, known), elsewhere(key, self.root)) {
            (Some(name), _) => format!("did you mean `{name}`?"),
            (None, Some(name)) => format!("did you mean `{name}`?"),
            (None, None) if path.is_empty() => format!("the keys at the top are: {}", known.join(", ")),
            (None, None) => format!("the keys of `{path}` are: {}", known.join(", ")),
        };
        self.problems.push(Problem::new(ProblemKind::UnknownKey, "unknown key").at(key_path).hint(hint));
    }

    fn refuse_type(&mut self, value: &Value, alternatives: &[&Value], path: &str) {
        let mut wanted: Vec<String> = alternatives.iter().map(|schema| wanted_by(schema)).collect();
        wanted.dedup();
        let message = format!("expected {}, found {}", wanted.join(" or "), shown(value));
        let problem = Problem::new(ProblemKind::InvalidValue, message);
        self.problems.push(if path.is_empty() { problem } else { problem.at(path) });
    }

    /// The schemas that a value may fit, with references and nested choices resolved.
    fn alternatives(&self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = resolved(schema, self.root);
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(choices) => choices.iter().flat_map(|choice| self.alternatives(choice)).collect(),
            None => vec![schema],
        }
    }
}

/// The texts that an enumeration allows; empty for any text.
fn names_of(schema: &Value) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let described = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described = described.flat_map(|choice| {
        let one = choice.get("const").into_iter();
        one.chain(choice.get("enum").and_then(Value::as_array).into_iter().flatten())
    });
    listed.chain(described).filter_map(Value::as_str).collect()
}

fn type_of(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or("string")
}

fn has_type_of(schema: &Value, value: &Value) -> bool {
    match (type_of(schema), value) {
        ("integer", Value::Number(number)) => number.as_u64().is_some(),
        ("number", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => true,
        (_, _) => false,
    }
}

fn wanted_by(schema: &Value) -> String {
    let names = names_of(schema);
    if !names.is_empty() {
        return format!("one of: {}", names.join(", "));
    }
    match type_of(schema) {
        "integer" => "a whole number from 0 on".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "a table".to_owned(),
        _ => "text".to_owned(),
    }
}

/// A value as the user may recognise it, not longer than a line.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) if text.chars().count() > 40 => {
            format!("the text `{}…`", text.chars().take(40).collect::<String>())
        }
        Value::String(text) => format!("the text `{text}`"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
    }
}
