//! `--messages FILE`: one conversation or a list of them.

use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use ftl_trainer::data::format::Conversation;
use serde_json::{Map, Value};

/// Reads `{"messages": […], "tools": […]?}`, a bare list of messages, or a list of either.
pub fn read_conversations(path: &Path) -> Result<Vec<Conversation>, Vec<Problem>> {
    let problem =
        |message: String| Problem::new(ProblemKind::BadData, message).at(path.display().to_string());
    let value = read_json(path).map_err(|problem| vec![problem])?;
    let is_message = |value: &Value| value.get("role").is_some();
    let conversations = match &value {
        Value::Array(values) if values.is_empty() => {
            return Err(vec![problem("the file has no conversations".to_owned())]);
        }
        Value::Array(values) if !values.iter().any(is_message) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut problems = Vec::new();
    let mut read = Vec::new();
    for (index, conversation) in conversations.iter().enumerate() {
        match Conversation::from_json(conversation) {
            Ok(conversation) => read.push(conversation),
            Err(what) => problems.push(problem(format!("conversation {} {what}", index + 1))),
        }
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

/// Reads a file that holds one JSON object.
pub fn read_map(path: &Path) -> Result<Map<String, Value>, Problem> {
    match read_json(path)? {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let problem = Problem::new(ProblemKind::BadData, "the file holds JSON, but not an object `{…}`");
            Err(problem.at(path.display().to_string()))
        }
    }
}

fn read_json(path: &Path) -> Result<Value, Problem> {
    let problem = |kind, message: String| Problem::new(kind, message).at(path.display().to_string());
    let text = std::fs::read_to_string(path)
        .map_err(|error| problem(ProblemKind::NotFound, format!("the file can't be read: {error}")))?;
    serde_json::from_str(&text)
        .map_err(|error| problem(ProblemKind::BadData, format!("the file is not JSON: {error}")))
}
