//! `ftl gpus`: the NVIDIA GPUs of the machine, once or again and again.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use ftl_client::terminal::{Align, Paint, Table, bytes};
use ftl_core::system::{GpuReading, Gpus};
use futures_util::StreamExt as _;
use serde_json::json;

use crate::connection::Context;
use crate::output::{CommandResult, Ended, Format, print, print_json, print_part};
use crate::{find, gpu_history};

/// Flags of `gpus`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on until Ctrl-C; with --json, one document on each line.
    #[arg(long, short)]
    watch: bool,
    /// Between two readings.
    #[arg(long, value_name = "MILLIS", default_value_t = 1_000, requires = "watch")]
    interval_millis: u32,
    /// What they did while this job was trained on them, instead of what they do now.
    #[arg(long, value_name = "JOB", conflicts_with = "watch")]
    job: Option<String>,
    /// At most so many samples of the job, the newest.
    #[arg(long, value_name = "N", default_value_t = 60, requires = "job")]
    limit: usize,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { watch, interval_millis, job, limit } = args;
    let client = context.client().await?;
    if let Some(job) = job {
        let id = find::job(&client, &job).await?;
        return gpu_history::run(&client, id, limit, context.format).await;
    }
    if !watch {
        show(&client.gpus().await?, context.format)?;
        return Ok(Ended::Done);
    }
    let mut readings = client.watch_gpus(Duration::from_millis(interval_millis.into()));
    let mut n_lines = 0;
    while let Some(gpus) = readings.next().await {
        if n_lines > 0 && context.format == Format::Text && io::stdout().is_terminal() {
            // Back to where the last reading began, which the new one replaces.
            print_part(&format!("\x1b[{n_lines}A\x1b[J"))?;
        }
        n_lines = show(&gpus?, context.format)?;
    }
    Ok(Ended::Done)
}

/// Prints a reading, and says how many lines that took.
fn show(gpus: &Gpus, format: Format) -> io::Result<usize> {
    match format {
        Format::Json => {
            print_json(&json!({"gpus": gpus}))?;
            Ok(1)
        }
        Format::Text => {
            let text = text(gpus);
            print(&text)?;
            Ok(text.lines().count())
        }
    }
}

/// The GPUs as a table, or why there are none.
fn text(gpus: &Gpus) -> String {
    let (driver_version, gpus) = match gpus {
        Gpus::Absent { reason } => return format!("no NVIDIA GPU: {reason}"),
        Gpus::Present { driver_version, gpus } => (driver_version, gpus),
    };
    let mut table = Table::new(&[
        ("GPU", Align::Left),
        ("NAME", Align::Left),
        ("MEMORY", Align::Right),
        ("USE", Align::Right),
        ("TEMPERATURE", Align::Right),
        ("POWER", Align::Right),
        ("COMPUTE", Align::Right),
    ]);
    for GpuReading {
        index,
        uuid: _,
        name,
        compute_capability,
        memory_total_bytes,
        memory_used_bytes,
        utilization_percent,
        temperature_celsius,
        power_watts,
    } in gpus
    {
        table.row([
            format!("cuda:{index}").into(),
            name.into(),
            format!("{} of {}", bytes(*memory_used_bytes), bytes(*memory_total_bytes)).into(),
            utilization_percent.map(|percent| format!("{percent} %")).unwrap_or_default().into(),
            temperature_celsius.map(|celsius| format!("{celsius} °C")).unwrap_or_default().into(),
            power_watts.map(|watts| format!("{watts:.0} W")).unwrap_or_default().into(),
            compute_capability.clone().unwrap_or_default().into(),
        ]);
    }
    format!("{}\ndriver {driver_version}", table.text(Paint::Plain))
}
