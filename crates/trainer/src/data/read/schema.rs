//! The columns of a Parquet file: which can be read, and what their values are as JSON.
//!
//! Dates and times become text as in ISO 8601, decimals text with all their digits, binary null. A float that JSON does not
//! have (NaN) becomes null.

use std::path::Path;

use ftl_core::dataset::Code;
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Number, Value};

use super::{Fault, Refusal, cells, file_name};

/// Deeper than any data of conversations; JSON ends at the same depth.
const MAX_DEPTH: usize = 120;

/// Judges the types of all columns, so that the library finds nothing that it would panic about.
///
/// # Errors
/// A type that can't be read.
pub(super) fn check(path: &Path, schema: &Type, notes: &mut Vec<String>) -> Result<(), Refusal> {
    let mut binary = Vec::new();
    if schema.get_fields().is_empty() {
        return Err(Refusal::new(Code::UnreadableFile, path, "is a Parquet file without columns"));
    }
    for field in schema.get_fields() {
        column(field, field.name(), MAX_DEPTH, &mut binary).map_err(|what| {
            let what = format!("has a column `{}` {what}", field.name());
            Refusal::new(Code::UnreadableFile, path, what)
                .hint("leave that column out, or convert the file to JSON Lines")
        })?;
    }
    if !binary.is_empty() {
        let names: Vec<String> = binary.iter().map(|name| format!("`{name}`")).collect();
        let name = file_name(path);
        notes.push(format!(
            "binary data, such as images, is read as null in these columns of `{name}`: {}",
            names.join(", ")
        ));
    }
    Ok(())
}

fn column(field: &Type, name: &str, depth: usize, binary: &mut Vec<String>) -> Result<(), String> {
    if depth == 0 {
        return Err("that is nested too deeply".to_owned());
    }
    let info = field.get_basic_info();
    if !info.has_repetition() {
        return Err("that does not say how often it is there".to_owned());
    }
    if field.is_primitive() {
        return leaf(field, name, binary);
    }
    let fields = field.get_fields();
    let is_repeated = |inner: &Type| {
        inner.get_basic_info().has_repetition() && inner.get_basic_info().repetition() == Repetition::REPEATED
    };
    match (info.converted_type(), fields) {
        (_, []) => return Err("that is a group of nothing".to_owned()),
        (ConvertedType::LIST, [inner]) if is_repeated(inner) => {}
        (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, [inner])
            if is_repeated(inner) && inner.is_group() && (1..=2).contains(&inner.get_fields().len()) => {}
        (ConvertedType::LIST, _) => return Err("that is a list of an unknown kind".to_owned()),
        (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, _) => {
            return Err("that is a map of an unknown kind".to_owned());
        }
        (_, _) => {}
    }
    let is_list = info.converted_type() == ConvertedType::LIST;
    for inner in fields {
        // The names that formats give to what is between a list and its elements say nothing.
        let name = if is_list || ["list", "element", "item"].contains(&inner.name()) {
            name.to_owned()
        } else {
            format!("{name}.{}", inner.name())
        };
        column(inner, &name, depth - 1, binary)?;
    }
    Ok(())
}

fn leaf(field: &Type, name: &str, binary: &mut Vec<String>) -> Result<(), String> {
    use ConvertedType as Converted;
    let info = field.get_basic_info();
    let converted = info.converted_type();
    let is_known = match field.get_physical_type() {
        Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE | Physical::INT96 => true,
        Physical::INT32 => matches!(
            converted,
            Converted::NONE
                | Converted::INT_8
                | Converted::INT_16
                | Converted::INT_32
                | Converted::UINT_8
                | Converted::UINT_16
                | Converted::UINT_32
                | Converted::DATE
                | Converted::TIME_MILLIS
                | Converted::DECIMAL
        ),
        Physical::INT64 => matches!(
            converted,
            Converted::NONE
                | Converted::INT_64
                | Converted::UINT_64
                | Converted::TIME_MICROS
                | Converted::TIMESTAMP_MILLIS
                | Converted::TIMESTAMP_MICROS
                | Converted::DECIMAL
        ),
        Physical::BYTE_ARRAY => matches!(
            converted,
            Converted::NONE
                | Converted::UTF8
                | Converted::ENUM
                | Converted::JSON
                | Converted::BSON
                | Converted::DECIMAL
        ),
        Physical::FIXED_LEN_BYTE_ARRAY => matches!(converted, Converted::NONE | Converted::DECIMAL),
    };
    if !is_known {
        return Err(format!("of the type {converted}, which can't be read"));
    }
    let is_bytes = match field.get_physical_type() {
        Physical::BYTE_ARRAY => matches!(converted, Converted::NONE | Converted::BSON),
        Physical::FIXED_LEN_BYTE_ARRAY => {
            converted == Converted::NONE && info.logical_type_ref() != Some(&LogicalType::Float16)
        }
        Physical::BOOLEAN
        | Physical::FLOAT
        | Physical::DOUBLE
        | Physical::INT96
        | Physical::INT32
        | Physical::INT64 => false,
    };
    if is_bytes {
        binary.push(name.to_owned());
    }
    Ok(())
}

/// A row as JSON. Texts become lists where their column is one and they are written as JSON.
pub(super) fn value(row: Row) -> Result<Value, Fault> {
    let mut object = Map::new();
    for (name, field) in row.into_columns() {
        let value = match field {
            Field::Str(text) => cells::value(&name, text)?,
            other => json(other),
        };
        object.insert(name, value);
    }
    Ok(Value::Object(object))
}

fn json(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float16(value) => float(f64::from(f32::from(value))),
        Field::Float(value) => float(f64::from(value)),
        Field::Double(value) => float(value),
        Field::Str(text) => Value::String(text),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            // Writers without a type for text, such as old versions of Hive, leave it unmarked.
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::Null,
        },
        time @ (Field::Decimal(_) | Field::Date(_) | Field::TimeMillis(_) | Field::TimeMicros(_)) => {
            Value::String(time.to_string())
        }
        time @ (Field::TimestampMillis(_) | Field::TimestampMicros(_)) => Value::String(time.to_string()),
        Field::Group(row) => {
            row.into_columns().into_iter().map(|(name, field)| (name, json(field))).collect()
        }
        Field::ListInternal(list) => list.elements().iter().cloned().map(json).collect(),
        Field::MapInternal(map) => map
            .entries()
            .iter()
            .map(|(key, value)| {
                let key = match json(key.clone()) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                (key, json(value.clone()))
            })
            .collect(),
    }
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
