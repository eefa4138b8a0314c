//! `tojson` as transformers has it: Python's `json.dumps` without HTML escaping, `ensure_ascii` off.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// The template filter `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub fn to_json(
    value: &Value,
    ensure_ascii: Option<bool>,
    indent: Option<Value>,
    separators: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let ensure_ascii = match ensure_ascii {
        Some(given) => given,
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let given = |name: &str, positional: Option<Value>| -> Result<Option<Value>, Error> {
        let value = match positional {
            Some(value) => Some(value),
            None => options.get::<Option<Value>>(name)?,
        };
        Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let indent = match given("indent", indent)? {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(number) => Some(" ".repeat(usize::try_from(number)?.min(64))),
    };
    // Python: `(', ', ': ')`, without the space behind the comma where each item has its own line.
    let (comma, colon) = match given("separators", separators)? {
        Some(pair) => {
            let part = |index| pair.get_item_by_index(index).map(|part| part.to_string());
            (part(0)?, part(1)?)
        }
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let order = if sort_keys { KeyOrder::Sorted } else { KeyOrder::AsGiven };
    let charset = if ensure_ascii { Charset::Ascii } else { Charset::Unicode };
    let mut writer = Writer { out: String::new(), indent, comma, colon, order, charset };
    writer.write(value, 0)?;
    Ok(Value::from(writer.out))
}

#[derive(PartialEq)]
enum KeyOrder {
    AsGiven,
    Sorted,
}

#[derive(PartialEq)]
enum Charset {
    Ascii,
    Unicode,
}

struct Writer {
    out: String,
    indent: Option<String>,
    comma: String,
    colon: String,
    order: KeyOrder,
    charset: Charset,
}

/// Python stops a little below 1,000 by its own recursion limit; this is deep enough for any schema.
const MAX_DEPTH: usize = 200;

impl Writer {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, "the value is nested too deeply for JSON"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.out.push_str(&value.to_string()),
            ValueKind::Number => self.out.push_str(&python_float(f64::try_from(value.clone())?)),
            ValueKind::String => self.write_string(value.as_str().unwrap_or_default()),
            ValueKind::Map => {
                let mut pairs = Vec::new();
                for key in value.try_iter()? {
                    pairs.push((key.to_string(), value.get_item(&key)?));
                }
                if self.order == KeyOrder::Sorted {
                    pairs.sort_by(|(left, _), (right, _)| left.cmp(right));
                }
                self.write_items(["{", "}"], depth, pairs, |writer, (key, value)| {
                    writer.write_string(&key);
                    let colon = writer.colon.clone();
                    writer.out.push_str(&colon);
                    writer.write(&value, depth + 1)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.write_items(["[", "]"], depth, items, |writer, item| writer.write(&item, depth + 1))?;
            }
            kind => {
                let message = format!("a value of type {kind} can't be written as JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn write_items<T>(
        &mut self,
        [open, close]: [&str; 2],
        depth: usize,
        items: Vec<T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push_str(open);
        let is_empty = items.is_empty();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                let comma = self.comma.clone();
                self.out.push_str(&comma);
            }
            self.new_line(depth + 1);
            write(self, item)?;
        }
        if !is_empty {
            self.new_line(depth);
        }
        self.out.push_str(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn write_string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' => self.escape(c),
                c if self.charset == Charset::Ascii && !c.is_ascii() => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

/// A float as Python's `repr` writes it: shortest digits, an exponent from 1e16 and below 1e-4.
pub fn python_float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if x != 0.0 && !(1e-4..1e16).contains(&x.abs()) {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').expect("`:e` writes an exponent");
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = x.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        // Python 3: json.dumps(x).
        for (x, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (1e-4, "0.0001"),
            (1e100, "1e+100"),
            (0.0, "0.0"),
        ] {
            assert_eq!(python_float(x), expected);
        }
    }
}
