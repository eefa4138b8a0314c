//! The problems found so far, and the judgements that many keys share.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::path::{Path, PathBuf};

use crate::error::{Problem, ProblemKind};

/// The problems found so far.
#[derive(Default)]
pub(super) struct Findings {
    problems: Vec<Problem>,
}

/// The range of a number with a fraction.
pub(super) type Range = (Bound<f64>, Bound<f64>);

impl Findings {
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The value, if nothing was found.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() { Ok(value) } else { Err(self.problems) }
    }

    /// A value that can't be used.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Problem::new(ProblemKind::InvalidValue, message).at(key).hint(hint));
    }

    /// A key that must be given.
    pub(super) fn missing(&mut self, key: &str, hint: impl Into<String>) {
        self.push(Problem::new(ProblemKind::MissingKey, "this key must be given").at(key).hint(hint));
    }

    /// A key that something else makes idle.
    pub(super) fn no_effect(&mut self, key: &str, with: impl Display) {
        self.refuse(key, format!("this key has no effect with {with}"), "drop it");
    }

    /// A count within `range`.
    pub(super) fn count(&mut self, key: &str, value: u64, range: RangeInclusive<u64>, hint: &str) -> u64 {
        if !range.contains(&value) {
            let (least, most) = (range.start(), range.end());
            self.refuse(key, format!("{value} is out of range, expected {least} to {most}"), hint);
        }
        value
    }

    /// A finite number within `range`.
    pub(super) fn number(&mut self, key: &str, value: f64, range: Range, hint: &str) -> f64 {
        if !value.is_finite() || !range.contains(&value) {
            let message = format!("{} is out of range, expected {}", shown(value), shown_range(range));
            self.refuse(key, message, hint);
        }
        value
    }

    /// A path that can be opened and written down.
    pub(super) fn path(&mut self, key: &str, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() {
            self.refuse(key, "the path is empty", "give a path, or drop the key");
        } else if path.to_str().is_none() {
            self.refuse(
                key,
                format!("the path `{}` is not UTF-8 and could not be written to a spec file", path.display()),
                "rename it",
            );
        }
        path.to_path_buf()
    }

    /// A path that must be given.
    pub(super) fn required_path(&mut self, key: &str, path: Option<&Path>, hint: &str) -> PathBuf {
        match path {
            Some(path) => self.path(key, path),
            None => {
                self.missing(key, hint);
                PathBuf::new()
            }
        }
    }
}

/// More than 0.
pub(super) const POSITIVE: Range = (Bound::Excluded(0.0), Bound::Unbounded);
/// 0 or more.
pub(super) const NOT_NEGATIVE: Range = (Bound::Included(0.0), Bound::Unbounded);
/// A share that may be all.
pub(super) const SHARE: Range = (Bound::Included(0.0), Bound::Included(1.0));
/// A share that is never all.
pub(super) const SHARE_BELOW_ALL: Range = (Bound::Included(0.0), Bound::Excluded(1.0));

/// A number as people write it: `16`, `0.0002`, `1e-8`.
pub(super) fn shown(value: f64) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn shown_range((least, most): Range) -> String {
    let least = match least {
        Bound::Included(least) => Some(format!("at least {}", shown(least))),
        Bound::Excluded(least) => Some(format!("more than {}", shown(least))),
        Bound::Unbounded => None,
    };
    let most = match most {
        Bound::Included(most) => Some(format!("at most {}", shown(most))),
        Bound::Excluded(most) => Some(format!("less than {}", shown(most))),
        Bound::Unbounded => None,
    };
    [least, most].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}
