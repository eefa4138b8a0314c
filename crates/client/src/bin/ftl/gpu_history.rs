//! `ftl gpus --job`: what the GPUs did while a job was trained on them.

use ftl_client::Client;
use ftl_client::terminal::{Align, Table, age, bytes, now_unix_ms};
use ftl_core::JobId;
use ftl_core::system::{GpuSample, SampleFilter};
use serde_json::json;

use crate::output::{CommandResult, Ended, Format, note, print_json, print_table};
use crate::pages::{self, Items, Rest};

/// Prints the newest samples of a job, oldest first.
pub async fn run(client: &Client, job: JobId, limit: usize, format: Format) -> CommandResult {
    let filter = SampleFilter { job: Some(job.clone()), ..SampleFilter::default() };
    let Items { mut items, rest } =
        pages::first(limit, async |page| client.gpu_samples(&filter, &page).await).await?;
    items.reverse();
    match format {
        Format::Json => print_json(&json!({"samples": items, "has_more": rest == Rest::More}))?,
        Format::Text if items.is_empty() => note(&format!("no GPU was seen at work on {job}")),
        Format::Text => {
            print_table(&table(&items))?;
            if rest == Rest::More {
                note("there are older ones; see --limit");
            }
        }
    }
    Ok(Ended::Done)
}

fn table(samples: &[GpuSample]) -> Table {
    let mut table = Table::new(&[
        ("WHEN", Align::Left),
        ("GPU", Align::Left),
        ("USE", Align::Right),
        ("MEMORY", Align::Right),
        ("TEMPERATURE", Align::Right),
        ("POWER", Align::Right),
    ]);
    for GpuSample {
        job: _,
        time_unix_ms,
        index,
        uuid: _,
        memory_total_bytes,
        memory_used_bytes,
        utilization_percent,
        temperature_celsius,
        power_watts,
    } in samples
    {
        table.row([
            age(*time_unix_ms, now_unix_ms()).into(),
            format!("cuda:{index}").into(),
            utilization_percent.map(|percent| format!("{percent} %")).unwrap_or_default().into(),
            format!("{} of {}", bytes(*memory_used_bytes), bytes(*memory_total_bytes)).into(),
            temperature_celsius.map(|celsius| format!("{celsius} °C")).unwrap_or_default().into(),
            power_watts.map(|watts| format!("{watts:.0} W")).unwrap_or_default().into(),
        ]);
    }
    table
}
