//! `ftl status`: the service, its machine, and what it works on.

use std::time::Duration;

use ftl_client::Client;
use ftl_client::terminal::{Align, Cell, Table, bytes, duration, loss, now_unix_ms, state_color};
use ftl_core::job::{Job, State};
use ftl_core::system::{GpuReading, Gpus, JobCount, Storage, SystemInfo};
use serde_json::{Value, json};

use crate::connection::Context;
use crate::follow::value;
use crate::jobs::eta;
use crate::jobs::steps;
use crate::output::{CommandResult, Ended, Failure, Format, print, print_fields, print_json, print_table};
use crate::pages;

/// The states in which a job waits or is worked on.
const UNDER_WAY: [State; 5] =
    [State::Queued, State::Starting, State::Running, State::Stopping, State::Interrupted];

/// Runs it.
pub async fn run(context: &Context) -> CommandResult {
    let client = context.client().await?;
    let system = client.system_info().await?;
    let storage = client.storage().await?;
    let gpus = client.gpus().await?;
    let jobs = pages::all(async |page| client.jobs(&page, &UNDER_WAY).await).await?;
    match context.format {
        Format::Json => {
            let mut values: Vec<Value> = Vec::new();
            for job in &jobs {
                let mut value = value(job);
                if let (Value::Object(value), Some(eta)) = (&mut value, eta(&client, job).await?) {
                    value.insert("eta_millis".to_owned(), json!(eta.left.as_millis() as u64));
                    value.insert("eta_n_steps_measured".to_owned(), json!(eta.n_steps_measured));
                }
                values.push(value);
            }
            let server = client.endpoint().to_string();
            print_json(&json!({
                "server": server, "system": system, "storage": storage, "gpus": gpus, "jobs": values,
            }))?;
        }
        Format::Text => {
            print_fields(&fields(&client, &system, &storage, &gpus))?;
            if !jobs.is_empty() {
                print("")?;
                print_table(&table(&client, &jobs).await?)?;
            }
        }
    }
    Ok(Ended::Done)
}

fn fields(
    client: &Client,
    system: &SystemInfo,
    storage: &Storage,
    gpus: &Gpus,
) -> Vec<(&'static str, String)> {
    let SystemInfo {
        version,
        pid,
        started_unix_ms,
        data_directory,
        free_disk_bytes,
        cpu,
        n_threads,
        memory_bytes,
        available_bytes,
        is_built_with_cuda,
        jobs,
    } = system;
    let up = Duration::from_millis(now_unix_ms().saturating_sub(*started_unix_ms));
    let free = free_disk_bytes.map(|free| format!(" ({} free)", bytes(free))).unwrap_or_default();
    let cpu = cpu.as_deref().unwrap_or("CPU");
    let mut machine = format!("{cpu}, {n_threads} threads");
    if let Some(memory) = memory_bytes {
        machine.push_str(&format!(", {} memory", bytes(*memory)));
    }
    if let Some(available) = available_bytes {
        machine.push_str(&format!(" ({} available)", bytes(*available)));
    }
    let mut fields = vec![
        ("server", format!("{version}, pid {pid}, up {}, {}", duration(up), client.endpoint())),
        ("data", format!("{}{free}", data_directory.display())),
        ("", held(storage)),
        ("machine", machine),
    ];
    match gpus {
        Gpus::Absent { reason } => fields.push(("GPU", format!("none: {reason}"))),
        Gpus::Present { driver_version: _, gpus } => fields.extend(gpus.iter().map(|gpu| ("GPU", line(gpu)))),
    }
    if let (Gpus::Present { .. }, false) = (gpus, is_built_with_cuda) {
        fields.push(("", "this build of the service can't compute on them".to_owned()));
    }
    let counts: Vec<String> =
        jobs.iter().map(|JobCount { state, n_jobs }| format!("{n_jobs} {state}")).collect();
    fields.push(("jobs", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }));
    fields
}

/// What the data directory holds; what it does not hold is left out.
fn held(storage: &Storage) -> String {
    let Storage {
        database_bytes,
        backups_bytes,
        jobs_bytes,
        datasets_bytes,
        uploads_bytes,
        other_bytes: _,
        free_bytes: _,
        largest_jobs: _,
    } = storage;
    let parts = [
        ("database", database_bytes),
        ("its backups", backups_bytes),
        ("jobs", jobs_bytes),
        ("datasets", datasets_bytes),
        ("uploads", uploads_bytes),
    ];
    let parts = parts.into_iter().filter(|(_, size)| **size > 0);
    parts.map(|(what, size)| format!("{what} {}", bytes(*size))).collect::<Vec<_>>().join(", ")
}

fn line(gpu: &GpuReading) -> String {
    let GpuReading { index, name, memory_total_bytes, memory_used_bytes, utilization_percent, .. } = gpu;
    let used = utilization_percent.map(|percent| format!(", {percent} %")).unwrap_or_default();
    format!("cuda:{index} {name}, {} of {}{used}", bytes(*memory_used_bytes), bytes(*memory_total_bytes))
}

async fn table(client: &Client, jobs: &[Job]) -> Result<Table, Failure> {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("PHASE", Align::Left),
        ("STEPS", Align::Right),
        ("LOSS", Align::Right),
        ("ETA", Align::Right),
    ]);
    for job in jobs {
        let Job { id, name, state, phase, progress, .. } = job;
        let eta = eta(client, job).await?;
        table.row([
            id.as_str().into(),
            name.into(),
            Cell::colored(state.to_string(), Some(state_color(*state))),
            phase.map(|phase| phase.to_string()).unwrap_or_default().into(),
            steps(progress).into(),
            progress.loss_nats.map(loss).unwrap_or_default().into(),
            eta.map(|eta| duration(eta.left)).unwrap_or_default().into(),
        ]);
    }
    Ok(table)
}
