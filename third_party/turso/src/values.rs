//! What statements take and give.

use std::collections::VecDeque;

use crate::Error;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// The values of a statement, in order.
pub trait IntoParams {
    /// As a list.
    fn into_params(self) -> Vec<Value>;
}

macro_rules! params {
    ($($name:ident),*) => {
        impl<$($name: Into<Value>),*> IntoParams for ($($name,)*) {
            #[allow(non_snake_case, reason = "a value is called as its type")]
            fn into_params(self) -> Vec<Value> {
                let ($($name,)*) = self;
                vec![$($name.into()),*]
            }
        }
    };
}

params!();
params!(A);
params!(A, B);
params!(A, B, C);
params!(A, B, C, D);

/// What a value can be read as.
pub trait FromValue: Sized {
    /// `None`: it is of another kind.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value { Some(*number) } else { None }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Blob(bytes) = value { Some(bytes.clone()) } else { None }
    }
}

/// One row of an answer.
#[derive(Clone, Debug)]
pub struct Row(Vec<Value>);

impl Row {
    pub(crate) fn of(values: impl Into<Vec<Value>>) -> Self {
        Self(values.into())
    }

    /// A column.
    ///
    /// # Errors
    /// There is none, or of another kind.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T, Error> {
        let value = self.0.get(column).and_then(T::from_value);
        value.ok_or_else(|| Error::Error(format!("column {column} is not there or of another kind")))
    }
}

/// The rows of an answer.
#[derive(Debug)]
pub struct Rows(VecDeque<Row>);

impl Rows {
    pub(crate) fn of(rows: impl IntoIterator<Item = Row>) -> Self {
        Self(rows.into_iter().collect())
    }

    /// The next one.
    ///
    /// # Errors
    /// None.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        Ok(self.0.pop_front())
    }
}
