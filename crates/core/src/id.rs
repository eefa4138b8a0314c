//! The ids that the service gives out. Each kind is a type of its own, so that a dataset's id can't be taken for a
//! job's, and says its kind in its text: `job-7k3v9q2hxm`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Problem, ProblemKind};

/// Digits of an id: Crockford's base 32, which has no `i`, `l`, `o`, `u` that a reader could mistake.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 50 bits: a thousand ids collide with a probability of one in two billion, and the store refuses a second one.
const N_DIGITS: usize = 10;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What its text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// An id from random bits; the lowest 50 count.
            pub fn from_bits(bits: u64) -> Self {
                Self(text(Self::PREFIX, bits))
            }

            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Problem;

            fn from_str(text: &str) -> Result<Self, Problem> {
                check(Self::PREFIX, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Problem;

            fn try_from(text: String) -> Result<Self, Problem> {
                check(Self::PREFIX, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// Names a job.
    JobId,
    "job-"
);
id!(
    /// Names an imported dataset.
    DatasetId,
    "data-"
);
id!(
    /// Names an imported model.
    ModelId,
    "model-"
);
id!(
    /// Names a saved config.
    ConfigId,
    "config-"
);

fn text(prefix: &str, bits: u64) -> String {
    let digit = |place: usize| char::from(DIGITS[(bits >> (5 * place)) as usize & 31]);
    prefix.chars().chain((0..N_DIGITS).rev().map(digit)).collect()
}

fn check(prefix: &str, text: &str) -> Result<(), Problem> {
    let is_id = text.strip_prefix(prefix).is_some_and(|digits| {
        digits.len() == N_DIGITS && digits.bytes().all(|digit| DIGITS.contains(&digit))
    });
    if is_id {
        return Ok(());
    }
    // What a stranger sent is shown short.
    let shown: String = text.chars().take(40).collect();
    Err(Problem::new(
        ProblemKind::InvalidValue,
        format!("`{shown}` is no id of this kind, expected `{prefix}` and {N_DIGITS} digits or letters"),
    ))
}
