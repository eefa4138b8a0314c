//! The spec at the crate's surface: reading, refusing, resolving, and the schema.

mod check;
mod device;
mod read;
mod resolve;
mod schema;

use ftl_core::spec::JobSpec;
use serde_json::{Value, json};

/// The least that a spec needs.
fn minimal() -> Value {
    json!({
        "model": { "path": "/models/tiny" },
        "data": { "train": ["/data/train.jsonl"] },
        "method": { "kind": "sft" },
        "adapter": { "kind": "lora" },
    })
}

/// The minimal spec with the keys of `patch` added or replaced; `null` removes one.
fn patched(patch: &Value) -> JobSpec {
    let mut tree = minimal();
    merge(&mut tree, patch);
    JobSpec::from_value(tree).unwrap_or_else(|problems| panic!("{patch} is not readable: {problems:?}"))
}

fn merge(tree: &mut Value, patch: &Value) {
    match (tree, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (tree, patch) => *tree = patch.clone(),
    }
}

fn lines(problems: &[ftl_core::Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
