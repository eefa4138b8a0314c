use ftl_core::spec::JobSpec;
use serde_json::{Value, json};

/// Every schema inside `schema`, with where it stands.
fn walk(schema: &Value, place: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(place, schema);
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                walk(value, &format!("{place}/{key}"), visit);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{place}/{index}"), visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn schema_names_its_dialect_and_the_required_keys() {
    let schema = JobSpec::json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], json!(["model", "data", "method", "adapter"]));
    assert_eq!(schema["$defs"]["ModelSpec"]["required"], json!(["path"]));
    assert_eq!(schema["$defs"]["DataSpec"]["required"], json!(["train"]));
    assert_eq!(schema["$defs"]["MethodSpec"]["required"], json!(["kind"]));
    assert_eq!(schema["$defs"]["AdapterSpec"]["required"], json!(["kind"]));
    assert_eq!(schema["$defs"]["TrainSpec"]["required"], Value::Null);
}

#[test]
fn schema_refuses_unknown_keys_and_describes_every_known_one() {
    walk(&JobSpec::json_schema(), "", &mut |place, schema| {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        assert_eq!(schema["additionalProperties"], json!(false), "{place}");
        for (key, property) in properties {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty() && !description.contains('\n'), "{place}/{key}: {description:?}");
        }
    });
}

#[test]
fn schema_tells_the_default_of_every_optional_key() {
    let schema = JobSpec::json_schema();
    for (name, section) in schema["$defs"].as_object().expect("definitions") {
        // Options of a schedule name their defaults by schedule; an evaluation set has exactly one key.
        if !name.ends_with("Spec") || name == "EvalSpec" {
            continue;
        }
        let required = section["required"].as_array().cloned().unwrap_or_default();
        for (key, property) in section["properties"].as_object().expect("a table") {
            let told = property.get("default").is_some()
                || property["description"].as_str().is_some_and(|text| text.contains("Default: "))
                || required.contains(&json!(key));
            assert!(told, "{name}.{key}");
        }
    }
}

#[test]
fn schema_knows_no_null() {
    walk(&JobSpec::json_schema(), "", &mut |place, schema| assert_ne!(schema, &json!("null"), "{place}"));
}
