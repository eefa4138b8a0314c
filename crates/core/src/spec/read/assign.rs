//! `--set key=value`: replaces one key of the tree before it is read.

use serde::de::DeserializeSeed as _;
use serde_json::{Map, Value};

use super::tree::Tree;
use crate::error::{Problem, ProblemKind};

/// Replaces the key that `assignment` names, making tables on the way.
pub(super) fn apply(tree: &mut Value, assignment: &str) -> Result<(), Problem> {
    let malformed = || {
        Problem::new(ProblemKind::InvalidValue, format!("`{assignment}` is not of the form key=value"))
            .at("--set")
            .hint("write it as in `train.learning_rate=1e-4`")
    };
    let (key, value) = assignment.split_once('=').ok_or_else(malformed)?;
    let path = path_from_key(key).ok_or_else(malformed)?;
    let value = toml_value(value).unwrap_or_else(|| value.trim().into());

    let mut place = tree;
    for segment in &path {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(object) = place else {
            return Err(Problem::new(
                ProblemKind::InvalidValue,
                format!("`{key}` can't be set: what stands before `{segment}` is not a table"),
            )
            .at("--set"));
        };
        place = object.entry(segment.clone()).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

/// The segments of a dotted key; TOML's quotes make one segment of a name with dots.
fn path_from_key(key: &str) -> Option<Vec<String>> {
    let mut place = toml_table(&format!("{} = true", key.trim()))?;
    let mut path = Vec::new();
    loop {
        match place {
            // More than one key comes from a line break in `key`.
            Value::Object(object) if object.len() == 1 => {
                let (segment, inner) = object.into_iter().next()?;
                path.push(segment);
                place = inner;
            }
            Value::Bool(_) => return Some(path),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                return None;
            }
        }
    }
}

fn toml_value(value: &str) -> Option<Value> {
    match toml_table(&format!("value = {value}"))? {
        Value::Object(mut object) if object.len() == 1 => object.shift_remove("value"),
        Value::Object(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_) => None,
    }
}

fn toml_table(text: &str) -> Option<Value> {
    Tree::root().deserialize(toml::Deserializer::parse(text).ok()?).ok()
}
