//! `ftl-train schema`: the JSON Schema of the spec.

use ftl_core::JobSpec;

use crate::output::{CommandResult, Ended, print};

/// Runs it. The schema is JSON in either format.
pub fn run() -> CommandResult {
    let schema = serde_json::to_string_pretty(&JobSpec::json_schema()).expect("a schema is plain data");
    print(&schema);
    Ok(Ended::Done)
}
