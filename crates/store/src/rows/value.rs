//! Single values: numbers, names, paths and JSON, as columns hold them.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

pub(crate) fn unreadable(field: &'static str, reason: impl Display) -> StoreError {
    StoreError::Unreadable { field, reason: reason.to_string() }
}

fn unstorable(field: &'static str, reason: impl Display) -> StoreError {
    StoreError::Unstorable { field, reason: reason.to_string() }
}

/// A count on its way in. SQLite's integers are signed.
pub(crate) fn integer(field: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| unstorable(field, format!("{number} exceeds {}", i64::MAX)))
}

/// A count on its way out.
pub(crate) fn count<T: TryFrom<i64>>(field: &'static str, number: i64) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| unreadable(field, format!("{number} is out of range")))
}

pub(crate) fn optional_integer(field: &'static str, number: Option<u64>) -> Result<Option<i64>, StoreError> {
    number.map(|number| integer(field, number)).transpose()
}

pub(crate) fn optional_count(field: &'static str, number: Option<i64>) -> Result<Option<u64>, StoreError> {
    number.map(|number| count(field, number)).transpose()
}

/// A loss as text, which reads back as the same number, NaN included.
pub(crate) fn loss_text(loss_nats: Option<f64>) -> Option<String> {
    loss_nats.map(|loss_nats| format!("{loss_nats:?}"))
}

pub(crate) fn loss(field: &'static str, text: Option<String>) -> Result<Option<f64>, StoreError> {
    text.map(|text| text.parse().map_err(|error| unreadable(field, format!("`{text}`: {error}")))).transpose()
}

pub(crate) fn path_text(field: &'static str, path: &Path) -> Result<String, StoreError> {
    let text =
        path.to_str().ok_or_else(|| unstorable(field, format!("`{}` is not UTF-8", path.display())))?;
    Ok(text.to_owned())
}

pub(crate) fn path(text: String) -> PathBuf {
    PathBuf::from(text)
}

pub(crate) fn json<T: Serialize>(field: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| unstorable(field, error))
}

pub(crate) fn from_json<T: DeserializeOwned>(field: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| unreadable(field, error))
}

/// The name of a variant that holds nothing.
pub(crate) fn name<T: Serialize>(field: &'static str, value: T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        Ok(other) => Err(unstorable(field, format!("`{other}` is no name"))),
        Err(error) => Err(unstorable(field, error)),
    }
}

/// The variant with this name.
pub(crate) fn named<'a, T: Deserialize<'a>>(field: &'static str, name: &'a str) -> Result<T, StoreError> {
    let name: StrDeserializer<'a, serde::de::value::Error> = name.into_deserializer();
    T::deserialize(name).map_err(|error| unreadable(field, error))
}

/// An id.
pub(crate) fn id<T: TryFrom<String, Error: Display>>(
    field: &'static str,
    text: String,
) -> Result<T, StoreError> {
    T::try_from(text).map_err(|error| unreadable(field, error))
}
