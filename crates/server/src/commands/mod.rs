//! The subcommands, one file each, and how they end.

pub mod demo;
pub mod doctor;
pub mod install;
pub mod serve;

use std::io::Write;
use std::process::ExitCode;

/// It failed.
pub const FAILED: u8 = 1;
/// Wrong usage or refused input.
pub const REFUSED: u8 = 2;
/// A bug of ours (`EX_SOFTWARE`).
pub const BUG: u8 = 70;
/// A person has to do something first (`EX_CONFIG`); what restarts the service must not try again.
pub const NOT_BY_ITSELF: u8 = 78;

/// Says why, with every cause, on stderr.
pub fn failed(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    // The terminal may be gone; the code says it too.
    let _ = writeln!(std::io::stderr(), "ftl-server: {text}");
    ExitCode::from(code)
}

/// Writes to stdout what a person or a program asked for. A reader that left has seen enough.
pub fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
