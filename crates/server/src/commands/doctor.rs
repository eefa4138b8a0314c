//! `ftl-server doctor`. `ftl doctor` is this, too.

use std::path::PathBuf;
use std::process::ExitCode;

use ftl_client::places;
use ftl_server::doctor::{Places, report};
use ftl_server::systemd::install;

use super::{FAILED, REFUSED, failed, print};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data directory. Default: as `serve`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(arguments: Args) -> ExitCode {
    let Args { data_dir, json } = arguments;
    let places = match places(data_dir) {
        Ok(places) => places,
        Err(problem) => return failed(&problem, REFUSED),
    };
    let report = report(places).await;
    if json {
        match serde_json::to_string(&report) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => return failed(&error, FAILED),
        }
    } else {
        print(&report.to_string());
    }
    if report.is_well() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn places(data_dir: Option<PathBuf>) -> Result<Places, ftl_core::Problem> {
    let units = install::directory().ok();
    Ok(match data_dir {
        Some(data_dir) => Places { socket: places::socket_in(&data_dir), data_dir, units },
        None => Places { data_dir: places::data_dir()?, socket: places::socket()?, units },
    })
}
