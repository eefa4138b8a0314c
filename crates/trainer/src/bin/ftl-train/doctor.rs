//! `ftl-train doctor`: what this machine can train on, and what is missing.

use ftl_trainer::doctor::diagnose;

use crate::output::{CommandResult, Ended, Format, print};

/// Runs it.
pub fn run(format: Format) -> CommandResult {
    let diagnosis = diagnose();
    match format {
        Format::Json => print(&serde_json::to_string(&diagnosis).expect("a diagnosis is plain data")),
        Format::Text => print(&diagnosis.to_string()),
    }
    Ok(if diagnosis.devices.is_empty() { Ended::Negative } else { Ended::Done })
}
