//! What a run is called.

use std::path::Path;

use super::findings::Findings;
use crate::spec::{DataSpec, ModelSpec};

/// Longest name in characters: a line of a list.
const MAX_CHARS: usize = 100;

/// The name as given, or `<model>-<data>` from the model directory and the first data file.
pub(super) fn checked(
    name: Option<&str>,
    model: &ModelSpec,
    data: &DataSpec,
    findings: &mut Findings,
) -> String {
    let Some(name) = name else { return default_name(model, data) };
    let n_chars = name.chars().count();
    if name.trim().is_empty() {
        findings.refuse("name", "the name is empty", "give a name, or drop the key to have one made");
    } else if n_chars > MAX_CHARS {
        findings.refuse(
            "name",
            format!("the name has {n_chars} characters, at most {MAX_CHARS}"),
            "shorten it",
        );
    } else if name.contains(char::is_control) {
        findings.refuse(
            "name",
            "the name holds a line break or another control character",
            "keep it to one line",
        );
    }
    name.to_owned()
}

fn default_name(model: &ModelSpec, data: &DataSpec) -> String {
    let model = model.path.as_deref().and_then(Path::file_name);
    let data = data.train.first().and_then(|file| file.path.file_stem());
    let parts: Vec<_> = [model, data].into_iter().flatten().map(|part| part.to_string_lossy()).collect();
    let name: String = parts.join("-").chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
    // Paths such as `..` have no last name.
    if name.trim().is_empty() { "run".to_owned() } else { name }
}
