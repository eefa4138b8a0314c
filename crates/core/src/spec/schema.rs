//! The JSON Schema of the spec: what `ftl config schema` prints, and what `read` compares a file with.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::JobSpec;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<JobSpec>();
    let mut schema = schema.to_value();
    tidy(&mut schema);
    schema
});

impl JobSpec {
    /// The JSON Schema of the spec (draft 2020-12), with a description of every key and every default that is a
    /// plain value; the description names the others.
    pub fn json_schema() -> Value {
        SCHEMA.clone()
    }
}

/// The schema, made once.
pub(super) fn schema() -> &'static Value {
    &SCHEMA
}

/// Removes what the derive adds for `Option` and for sections: an absent key is written by leaving it out, so that
/// neither `null` nor an empty section is part of the schema.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            tidy_object(object);
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn tidy_object(object: &mut Map<String, Value>) {
    if let Some(Value::String(description)) = object.get_mut("description") {
        // Doc comments are broken for our screens.
        *description = description.replace('\n', " ");
    }
    if matches!(object.get("default"), Some(Value::Null)) || object.get("default").is_some_and(is_empty) {
        object.shift_remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(alternatives)) = object.get_mut("anyOf") {
        alternatives.retain(|schema| schema.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = alternatives.as_slice() {
            let only = only.clone();
            object.shift_remove("anyOf");
            for (key, value) in only {
                // The description of the key is closer to the matter than that of its type.
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Sections and file lists have `{}` and `[]` for their default.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
