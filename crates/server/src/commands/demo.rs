//! `ftl-server demo`.

use std::process::ExitCode;

use ftl_server::demo::{self, Args, DemoError};
use tokio_util::sync::CancellationToken;

use super::{FAILED, REFUSED, failed};

/// Runs it.
pub async fn run(arguments: &Args, shutdown: CancellationToken) -> ExitCode {
    match demo::run(arguments, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ DemoError::Refused(_)) => failed(&error, REFUSED),
        Err(error) => failed(&error, FAILED),
    }
}
