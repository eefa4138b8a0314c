//! One JSON object that holds a table by columns, or rows by their names, as pandas' `to_json` and hand-written exports
//! do.

use serde_json::{Map, Value};

use super::keys;

/// The rows of such an object; `None`: it is something else, mostly a row itself.
pub(super) fn rows(value: &Value) -> Option<Vec<Value>> {
    let Value::Object(columns) = value else { return None };
    if columns.contains_key("columns") && columns.contains_key("data") {
        return split(columns);
    }
    lists(columns).or_else(|| indexed(columns)).or_else(|| keyed(columns))
}

/// `{"columns": ["a", "b"], "data": [[1, 2], …]}`: pandas, `orient="split"`.
fn split(object: &Map<String, Value>) -> Option<Vec<Value>> {
    let names: Vec<&str> =
        object.get("columns")?.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    let row = |cells: &Value| {
        let cells = cells.as_array().filter(|cells| cells.len() == names.len())?;
        Some(names.iter().map(|name| (*name).to_owned()).zip(cells.iter().cloned()).collect())
    };
    object.get("data")?.as_array()?.iter().map(row).collect()
}

/// `{"a": ["x", "y"], "b": ["z", "w"]}`: `orient="list"`. Token ids and messages are lists of a row, not columns.
fn lists(object: &Map<String, Value>) -> Option<Vec<Value>> {
    let columns: Vec<(&String, &Vec<Value>)> =
        object.iter().map(|(name, column)| Some((name, column.as_array()?))).collect::<Option<_>>()?;
    let n_rows = columns.first()?.1.len();
    let is_text = |value: &Value| value.is_string() || value.is_array() || value.is_null();
    let is_table = n_rows > 0
        && columns.iter().all(|(_, column)| column.len() == n_rows && !column.iter().any(Value::is_object))
        && columns.iter().any(|(_, column)| column.iter().all(is_text) && !column.iter().all(Value::is_null));
    is_table.then(|| {
        let row = |nth: usize| {
            columns.iter().map(|(name, column)| ((*name).clone(), column[nth].clone())).collect()
        };
        (0..n_rows).map(row).collect()
    })
}

/// `{"a": {"0": "x", "1": "y"}, …}`: what `to_json` writes by itself.
fn indexed(object: &Map<String, Value>) -> Option<Vec<Value>> {
    let columns: Vec<(&String, &Map<String, Value>)> =
        object.iter().map(|(name, column)| Some((name, column.as_object()?))).collect::<Option<_>>()?;
    let index = columns.first()?.1;
    let is_number = |key: &String| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
    let is_table = !index.is_empty()
        && index.keys().all(is_number)
        && columns.iter().all(|(_, column)| {
            column.len() == index.len() && index.keys().all(|key| column.contains_key(key))
        });
    is_table.then(|| {
        let row = |key: &String| {
            columns.iter().map(|(name, column)| ((*name).clone(), column[key].clone())).collect()
        };
        index.keys().map(row).collect()
    })
}

/// `{"first": {"prompt": "x", "completion": "y"}, …}`: `orient="index"`. Each value is an object with the keys of a row.
fn keyed(object: &Map<String, Value>) -> Option<Vec<Value>> {
    let is_row = |value: &Value| {
        value.as_object().is_some_and(|fields| fields.keys().any(|key| keys::is_of_rows(key)))
    };
    let is_itself_a_row = object.keys().any(|key| keys::is_of_rows(key));
    (!is_itself_a_row && !object.is_empty() && object.values().all(is_row))
        .then(|| object.values().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_by_columns_are_told_from_rows() {
        let expected = Some(vec![json!({"a": "x", "b": "z"}), json!({"a": "y", "b": null})]);
        for table in [
            json!({"columns": ["a", "b"], "index": [0, 1], "data": [["x", "z"], ["y", null]]}),
            json!({"a": ["x", "y"], "b": ["z", null]}),
            json!({"a": {"0": "x", "1": "y"}, "b": {"0": "z", "1": null}}),
        ] {
            assert_eq!(rows(&table), expected, "{table}");
        }
        let keyed = json!({"one": {"text": "x"}, "two": {"text": "y"}});
        assert_eq!(rows(&keyed), Some(vec![json!({"text": "x"}), json!({"text": "y"})]));
        for row in [
            json!({"a": "x"}),
            json!({"prompt": {"text": "x"}, "completion": {"text": "y"}}),
            json!({}),
            json!({"a": []}),
            json!({"input_ids": [1, 2], "labels": [1, 2]}),
            json!({"messages": [{"role": "user", "content": "x"}]}),
            json!({"a": ["x"], "b": ["y", "z"]}),
            json!({"a": {"first": "x"}}),
            json!({"columns": ["a"], "data": [["x", "y"]]}),
            json!([["x"]]),
        ] {
            assert_eq!(rows(&row), None, "{row}");
        }
    }
}
