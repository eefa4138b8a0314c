//! Commands that do something to several things at once: what was done, what was not, and how that ends.

use std::fmt::Display;
use std::io;

use ftl_client::ClientError;
use serde_json::{Value, json};

use crate::output::{CommandResult, Ended, Failure, Format, Told, document, line, note, print, print_json};

/// What became of several things. Goes on after one that can't be done.
pub struct Report {
    format: Format,
    done: Vec<Value>,
    problems: Vec<Value>,
    worst: Option<Ended>,
}

impl Report {
    /// Nothing was done yet.
    pub fn new(format: Format) -> Self {
        Self { format, done: Vec::new(), problems: Vec::new(), worst: None }
    }

    /// Tells that something was done.
    pub fn done(&mut self, text: &str, value: Value) -> io::Result<()> {
        if self.format == Format::Text {
            print(text)?;
        }
        self.done.push(value);
        Ok(())
    }

    /// Tells why something was not done.
    pub fn problem(&mut self, id: impl Display, failure: Failure) {
        // One that stands in the way of the others too weighs more than one bad id.
        self.worst = Some(match (self.worst, failure.ended()) {
            (None | Some(Ended::Refused), ended) => ended,
            (Some(worst), _) => worst,
        });
        let Told { problems, .. } = failure.told();
        for problem in problems {
            note(&format!("error: {id}: {}", line(&problem)));
            self.problems.push(problem);
        }
    }

    /// Tells how a removal went.
    pub fn take(&mut self, id: impl Display, removed: Result<(), ClientError>, how: &str) -> io::Result<()> {
        match removed {
            Ok(()) => self.done(&format!("{id} {how}"), json!(id.to_string())),
            Err(error) => {
                self.problem(id, error.into());
                Ok(())
            }
        }
    }

    /// Prints the JSON document of a removal, problems included.
    pub fn end_removed(self) -> CommandResult {
        self.end("removed")
    }

    /// Prints the JSON document, with what was done at `key`, problems included.
    pub fn end(self, key: &str) -> CommandResult {
        let Self { format, done, problems, worst } = self;
        if format == Format::Json {
            let mut all = json!({ key: done });
            if let (false, Value::Object(all), Value::Object(problems)) =
                (problems.is_empty(), &mut all, document(&problems))
            {
                all.extend(problems);
            }
            print_json(&all)?;
        }
        Ok(worst.unwrap_or(Ended::Done))
    }
}

/// Adds an id that is not there yet.
pub fn once<I: PartialEq>(ids: &mut Vec<I>, id: I) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

/// One id, or how many and which.
pub fn listed<I: Display>(ids: &[I]) -> String {
    let texts: Vec<String> = ids.iter().map(I::to_string).collect();
    match texts.as_slice() {
        [id] => id.clone(),
        texts => format!("these {}: {}", texts.len(), texts.join(", ")),
    }
}
