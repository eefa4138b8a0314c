//! `ftl doctor`: what this machine can train on, and how the service stands. `ftl-server` knows both and says it; no
//! service is needed, and none is started.

use std::process::Command;

use ftl_core::{Problem, ProblemKind};

use crate::output::{CommandResult, Ended, Failure, Format};
use crate::start;

/// Runs it.
pub fn run(format: Format) -> CommandResult {
    let program = start::program().ok_or_else(|| {
        let message =
            "`ftl-server`, which knows how this machine stands, is neither beside `ftl` nor on the PATH";
        Failure::Failed(Problem::new(ProblemKind::NotFound, message).hint("install it"))
    })?;
    let mut command = Command::new(&program);
    command.arg("doctor");
    match format {
        Format::Json => {
            command.arg("--json");
        }
        Format::Text => {}
    }
    let failed = |what: String| {
        Failure::Failed(Problem::new(ProblemKind::Worker, format!("`{}` {what}", program.display())))
    };
    let status = command.status().map_err(|error| failed(format!("can't be started: {error}")))?;
    match status.code() {
        Some(0) => Ok(Ended::Done),
        // It has said what is broken.
        Some(1) => Ok(Ended::Negative),
        Some(_) | None => Err(failed(format!("did not tell; it ended with {status}"))),
    }
}
