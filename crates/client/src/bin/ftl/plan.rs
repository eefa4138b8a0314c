//! `ftl plan`: how much memory a job would take, and what would fit.

use serde_json::json;

use crate::connection::Context;
use crate::output::{CommandResult, Ended, Format, print, print_json};
use crate::spec::SpecArgs;

/// Runs it.
pub async fn run(spec: SpecArgs, context: &Context) -> CommandResult {
    let spec = spec.read(context).await?;
    spec.check()?;
    let plan = context.client().await?.plan_memory(&spec).await?;
    match context.format {
        Format::Json => print_json(&json!({"plan": plan}))?,
        Format::Text => print(&plan.to_string())?,
    }
    Ok(if plan.fits { Ended::Done } else { Ended::Negative })
}
