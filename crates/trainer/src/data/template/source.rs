//! Where a chat template comes from: the user's file, a built-in one, or the model's directory.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

use super::ChatTemplate;
use super::builtin::{self, BuiltIn};
use crate::checkpoint::layout::CHAT_TEMPLATE_JINJA;

/// A second template that some models use when there are tools.
pub(super) const TOOL_USE: &str = "tool_use";
const FIELD: &str = "data.chat_template";

impl ChatTemplate {
    /// Finds the chat template for the model in `model_dir`: `own`, a Jinja file or the name of a built-in one, beats
    /// `chat_template.jinja`, which beats `chat_template` in tokenizer_config.json. `None`: there is none. What a
    /// built-in one needs of the tokenizer is not looked at.
    ///
    /// # Errors
    /// [`ProblemKind::NotFound`], [`ProblemKind::BadTemplate`] or [`ProblemKind::BrokenModel`], naming the file or the key.
    pub fn load(
        model_dir: &Path,
        own: Option<&Path>,
        special_tokens: &Map<String, Value>,
    ) -> Result<Option<Self>, Problem> {
        if let Some(path) = own {
            let origin = BuiltIn::named_by(path).map_or_else(
                || path.display().to_string(),
                |built_in| format!("the built-in template `{}`", built_in.name),
            );
            return Self::new(&source_of(path)?, &origin, special_tokens).map(Some);
        }
        let path = model_dir.join(CHAT_TEMPLATE_JINJA);
        if path.exists() {
            let source = read_text(&path, ProblemKind::BrokenModel)?;
            return Self::new(&source, &path.display().to_string(), special_tokens).map(Some);
        }
        let path = model_dir.join("tokenizer_config.json");
        if !path.exists() {
            return Ok(None);
        }
        let origin = path.display().to_string();
        let broken = |what: String| Problem::new(ProblemKind::BrokenModel, what).at(origin.clone());
        let config: Value = serde_json::from_str(&read_text(&path, ProblemKind::BrokenModel)?)
            .map_err(|error| broken(format!("the file is not JSON: {error}")))?;
        let origin_of_template = format!("{origin}: chat_template");
        match config.get("chat_template") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(source)) => Self::new(source, &origin_of_template, special_tokens).map(Some),
            Some(Value::Array(named)) => {
                let find = |name: &str| {
                    named
                        .iter()
                        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
                        .and_then(|entry| entry.get("template"))
                        .and_then(Value::as_str)
                };
                let Some(source) = find("default") else {
                    return Err(broken("`chat_template` has no template named `default`".to_owned())
                        .hint("give one with `data.chat_template`"));
                };
                let mut template = Self::new(source, &origin_of_template, special_tokens)?;
                if let Some(source) = find(TOOL_USE) {
                    template.add(TOOL_USE, source)?;
                }
                Ok(Some(template))
            }
            Some(_) => Err(broken("`chat_template` is neither a string nor a list of templates".to_owned())),
        }
    }
}

/// The template that `data.chat_template` means: a file, or a built-in one.
///
/// # Errors
/// A name that is neither, and a file that can't be read.
pub fn source_of(own: &Path) -> Result<Cow<'static, str>, Problem> {
    match BuiltIn::named_by(own) {
        Some(built_in) => Ok(Cow::Borrowed(built_in.source)),
        None if own.exists() => read_text(own, ProblemKind::NotFound).map(Cow::Owned),
        None => Err(Problem::new(
            ProblemKind::NotFound,
            format!("there is no file `{}`, and no built-in template of that name", own.display()),
        )
        .at(FIELD)
        .hint(format!("give the path of a Jinja file, or one of: {}", builtin::names()))),
    }
}

/// What conversations without a template are refused with.
pub fn no_template() -> Problem {
    Problem::new(ProblemKind::BadTemplate, "the model has no chat template, which messages need").at(FIELD).hint(
        format!(
            "set `data.chat_template` to the path of a Jinja file or to a built-in template ({}), or use data of \
             prompts and completions",
            builtin::names()
        ),
    )
}

/// A model directory's text file.
fn read_text(path: &Path, missing: ProblemKind) -> Result<String, Problem> {
    let problem = |kind, message: String| Problem::new(kind, message).at(path.display().to_string());
    let bytes =
        fs::read(path).map_err(|error| problem(missing, format!("the file can't be read: {error}")))?;
    String::from_utf8(bytes)
        .map_err(|_| problem(ProblemKind::BadTemplate, "the file is not UTF-8".to_owned()))
}
