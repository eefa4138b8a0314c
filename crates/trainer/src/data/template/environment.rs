//! The Jinja environment that transformers gives to chat templates.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::{cost, generation, json};

/// What one rendering may spend, in minijinja's unit (an instruction, or 64 bytes of text): a second or so. Long
/// conversations take some thousands.
const FUEL: u64 = 10_000_000;
/// How deep macros and blocks may nest. minijinja's own limit of 500 can exceed the stack of a worker thread.
const RECURSION_LIMIT: usize = 150;

/// An environment without templates.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the default delimiters are valid"),
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_debug(false);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_LIMIT);
    environment.set_unknown_method_callback(python_method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", json::to_json);
    environment
        .add_filter(generation::FILTER, |text: &str, start: &str, end: &str| format!("{start}{text}{end}"));
    environment.add_test("sequence", |value: &Value| has_length(value));
    environment.add_test("iterable", |value: &Value| {
        has_length(value) || value.kind() == ValueKind::Iterable || value.is_undefined()
    });
    environment
}

/// Whether the template itself called `raise_exception`.
pub fn is_refusal(error: &Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<Refusal>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// JSON as a template value; objects keep the order of their keys.
pub fn value_from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(x) => Value::from(*x),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(x), _, _) => Value::from(x),
            (None, Some(x), _) => Value::from(x),
            (None, None, x) => Value::from(x.unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::from(items.iter().map(value_from_json).collect::<Vec<_>>()),
        serde_json::Value::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(key, value)| (key.as_str(), value_from_json(value))))
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Refusal;

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Refusal))
}

/// The local time by a C `strftime` format, as Python's `datetime.now().strftime`.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    use std::ffi::CString;
    let invalid = || Error::new(ErrorKind::InvalidOperation, "strftime_now can't use this format");
    if format.is_empty() {
        return Ok(String::new());
    }
    let format = CString::new(format).map_err(|_| invalid())?;
    let mut buffer = [0_u8; 1024];
    // SAFETY: `time` takes a null pointer; `tm` is plain integers and a pointer, for which zero is valid, and is
    // filled before use; `localtime_r` and `strftime` write only to what they are given, within its length.
    let length = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut parts).is_null() {
            return Err(invalid());
        }
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &parts)
    };
    String::from_utf8(buffer[..length].to_vec()).map_err(|_| invalid())
}

/// Jinja2's `sequence` asks for a length and an index, which strings and dictionaries have too.
fn has_length(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

/// Methods of Python's types: those that templates use and minijinja-contrib does not have, then its own.
fn python_method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        cost::charge(state, text, method, args)?;
        let argument = |index: usize| args.get(index).and_then(Value::as_str);
        match (method, argument(0)) {
            ("removeprefix", Some(prefix)) => {
                return Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)));
            }
            ("removesuffix", Some(suffix)) => {
                return Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)));
            }
            ("partition", Some(separator)) => {
                let (head, middle, tail) = match text.split_once(separator) {
                    Some((head, tail)) => (head, separator, tail),
                    None => (text, "", ""),
                };
                return Ok(Value::from(vec![Value::from(head), Value::from(middle), Value::from(tail)]));
            }
            ("rpartition", Some(separator)) => {
                let (head, middle, tail) = match text.rsplit_once(separator) {
                    Some((head, tail)) => (head, separator, tail),
                    None => ("", "", text),
                };
                return Ok(Value::from(vec![Value::from(head), Value::from(middle), Value::from(tail)]));
            }
            ("rsplit", Some(separator)) if !separator.is_empty() => {
                let limit = args.get(1).and_then(Value::as_usize).unwrap_or(usize::MAX - 1);
                let mut parts: Vec<&str> = text.rsplitn(limit.saturating_add(1), separator).collect();
                parts.reverse();
                return Ok(Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>()));
            }
            _ => {}
        }
    }
    if method == "copy" && args.is_empty() && matches!(value.kind(), ValueKind::Map | ValueKind::Seq) {
        return Ok(value.clone());
    }
    pycompat::unknown_method_callback(state, value, method, args)
}
