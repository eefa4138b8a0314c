//! The chat templates that come with the program, by name. What they hold is the engine's business; the spec has to
//! know the names, since `data.chat_template` takes one in place of a path.

use std::path::Path;

/// The names that `data.chat_template` takes in place of a path.
pub const BUILT_IN_TEMPLATES: [&str; 9] =
    ["chatml", "llama3", "llama2", "mistral", "gemma", "phi3", "zephyr", "vicuna", "alpaca"];

/// Whether `path` is a name of [`BUILT_IN_TEMPLATES`] rather than a path. A file of that name beats it, which only
/// who knows the working directory can say.
pub fn names_built_in_template(path: &Path) -> bool {
    path.to_str().is_some_and(|text| BUILT_IN_TEMPLATES.contains(&text))
}
