//! The three formats, and where their syntax breaks.

use std::path::Path;

use serde::de::DeserializeSeed as _;
use serde_json::Value;

use super::tree::Tree;
use crate::error::{Problem, ProblemKind};

/// How a spec file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Toml,
    Json,
    Yaml,
}

/// Where and why a text is not of a format. Line and column count from 1.
struct Break {
    line_and_column: Option<(u64, u64)>,
    message: String,
}

/// Parses a spec file by its extension, or by trying.
pub(super) fn parse(path: &Path, text: &str) -> Result<Value, Problem> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let format = match extension.as_deref() {
        Some("toml") => Format::Toml,
        Some("json") => Format::Json,
        Some("yaml" | "yml") => Format::Yaml,
        Some(_) | None => return parse_by_trying(path, text),
    };
    format.parse(text).map_err(|fault| {
        let field = match fault.line_and_column {
            Some((line, column)) => format!("{}:{line}:{column}", path.display()),
            None => path.display().to_string(),
        };
        Problem::new(ProblemKind::Syntax, format!("not readable as {}: {}", format.name(), fault.message))
            .at(field)
    })
}

/// JSON first, because YAML reads most of it too; YAML last, because it reads almost anything as one text.
fn parse_by_trying(path: &Path, text: &str) -> Result<Value, Problem> {
    let mut reasons = Vec::new();
    for format in [Format::Json, Format::Toml, Format::Yaml] {
        match format.parse(text) {
            Ok(tree) if tree.is_object() => return Ok(tree),
            Ok(_) => reasons.push(format!("{}: no table of keys", format.name())),
            Err(Break { line_and_column: Some((line, column)), message }) => {
                reasons.push(format!("{} (line {line}, column {column}): {message}", format.name()));
            }
            Err(Break { line_and_column: None, message }) => {
                reasons.push(format!("{}: {message}", format.name()));
            }
        }
    }
    Err(Problem::new(ProblemKind::Syntax, format!("not readable as any format; {}", reasons.join("; ")))
        .at(path.display().to_string())
        .hint("end the file name in .toml, .json or .yaml"))
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        }
    }

    fn parse(self, text: &str) -> Result<Value, Break> {
        match self {
            Self::Toml => toml(text),
            Self::Json => json(text),
            Self::Yaml => yaml(text),
        }
    }
}

fn toml(text: &str) -> Result<Value, Break> {
    let deserializer = toml::Deserializer::parse(text).map_err(|error| toml_break(text, &error))?;
    Tree::root().deserialize(deserializer).map_err(|error| toml_break(text, &error))
}

fn toml_break(text: &str, error: &toml::de::Error) -> Break {
    let line_and_column = error.span().and_then(|span| text.get(..span.start)).map(|before| {
        let line = before.matches('\n').count() as u64 + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
        (line, column)
    });
    Break { line_and_column, message: one_line(error.message()) }
}

fn json(text: &str) -> Result<Value, Break> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let tree = Tree::root().deserialize(&mut deserializer).and_then(|tree| deserializer.end().map(|()| tree));
    tree.map_err(|error| {
        let message = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        Break {
            line_and_column: Some((error.line() as u64, error.column() as u64)),
            message: one_line(message.strip_suffix(&place).unwrap_or(&message)),
        }
    })
}

fn yaml(text: &str) -> Result<Value, Break> {
    let options = serde_saphyr::options! {
        // YAML 1.2: only `true` and `false`. A model called `no` stays a name.
        strict_booleans: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        Tree::root().deserialize(deserializer)
    })
    .map_err(|error| Break {
        line_and_column: error.location().map(|location| (location.line(), location.column())),
        message: one_line(&error.without_snippet().to_string()),
    })
}

/// Parsers draw several lines; a Problem is one sentence.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
