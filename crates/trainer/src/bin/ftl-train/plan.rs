//! `ftl-train plan`: how much memory a run would take.

use std::path::PathBuf;

use ftl_trainer::plan::plan;

use crate::output::{CommandResult, DeviceArg, Ended, Format, print};
use crate::run::read;

/// Flags of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job's spec, TOML, JSON or YAML.
    spec: PathBuf,
    /// Change a key of the spec: `--set data.max_length=1024`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[command(flatten)]
    device: DeviceArg,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let Args { spec, overrides, device } = args;
    let plan = plan(&read(&spec, &overrides, device.device)?)?;
    match format {
        Format::Json => print(&serde_json::to_string(&plan).expect("a plan is plain data")),
        Format::Text => print(&plan.to_string()),
    }
    Ok(if plan.fits { Ended::Done } else { Ended::Negative })
}
