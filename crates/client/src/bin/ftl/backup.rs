//! `ftl backup`: a copy of the service's database.

use std::path::PathBuf;

use ftl_client::terminal::bytes;
use serde_json::json;

use crate::connection::Context;
use crate::output::{CommandResult, Ended, Format, print, print_json};

/// Flags of `backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that the copy becomes; it must not exist yet.
    path: PathBuf,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    // Relative to where the person is, not to where the service was started.
    let path = std::path::absolute(args.path)?;
    let client = context.client().await?;
    let made = client.back_up(&path).await?;
    match context.format {
        Format::Json => print_json(&json!({"backup": {"path": made.path, "bytes": made.bytes}}))?,
        Format::Text => {
            let (path, size) = (made.path.display(), bytes(made.bytes));
            print(&format!(
                "{path} holds the database as it is now ({size}); models and checkpoints are not in it"
            ))?;
        }
    }
    Ok(Ended::Done)
}
