//! The metrics as OpenMetrics text (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use ftl_core::job::{Exit, State};
use ftl_core::system::{GpuReading, Gpus, JobCount};
use ftl_store::CommitTimes;
use ftl_trainer::device;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::commits::Commits;
use super::process::Process;
use super::sources::{AtWork, Moment};
use super::{Counts, Labels};

/// A label's values, and the number for them.
type Rows<const N: usize> = Vec<(Labels<N>, f64)>;

/// All metrics; what `moment` would say is left out without it.
///
/// # Errors
/// Never, as a text takes everything.
pub(super) fn page(counts: &Counts, moment: Option<&Moment>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let cuda = device::BUILT_WITH_CUDA.to_string();
    let build = [("version", env!("CARGO_PKG_VERSION").to_owned()), ("cuda", cuda)];
    registry.register("ftl_build", "The program.", Info::new(build));
    counted(&mut registry, counts);
    if let Some(moment) = moment {
        of_jobs(&mut registry, moment);
        of_store(&mut registry, moment.commits.clone());
        of_gpus(&mut registry, &moment.gpus);
        of_machine(&mut registry, moment);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn counted(registry: &mut Registry, counts: &Counts) {
    let help =
        "Requests that were let in and answered, by the method's path and the code. LEFT: the caller left.";
    registry.register("ftl_requests", help, counts.requests.clone());
    let help = "Requests that were refused at the door, by the reason.";
    registry.register("ftl_requests_refused", help, counts.refused.clone());
    let in_flight = counts.n_in_flight.load(Ordering::Relaxed) as f64;
    one(registry, "ftl_requests_in_flight", "Requests that are being answered, streams included.", in_flight);
    let help = "How long the thread that writes to the database took to answer, asked every few seconds.";
    registry.register_with_unit("ftl_store_answer", help, Unit::Seconds, counts.answers.clone());
    let listeners = counts.listeners.lock().unwrap_or_else(PoisonError::into_inner);
    let of_listeners = |number: fn(&crate::connections::Connections) -> usize| {
        let row = |(name, connections): &(&'static str, _)| {
            ([("listener", (*name).to_owned())], number(connections) as f64)
        };
        listeners.iter().map(row).collect::<Rows<1>>()
    };
    let open = of_listeners(crate::connections::Connections::n_open);
    gauge(registry, "ftl_connections_open", "Connections that are open.", None, open);
    let most = of_listeners(crate::connections::Connections::most);
    gauge(registry, "ftl_connections_limit", "Connections that may be open at once.", None, most);
}

fn of_jobs(registry: &mut Registry, moment: &Moment) {
    // Every state, so that a graph does not end where a count is 0.
    let mut jobs: BTreeMap<usize, u64> = BTreeMap::new();
    for JobCount { state, n_jobs } in &moment.jobs {
        jobs.extend(State::ALL.iter().position(|known| known == state).map(|place| (place, *n_jobs)));
    }
    let of_state = |(place, state): (usize, &State)| {
        ([("state", state.to_string())], jobs.get(&place).copied().unwrap_or_default() as f64)
    };
    let rows = State::ALL.iter().enumerate().map(of_state).collect();
    gauge(registry, "ftl_jobs", "Jobs that are kept, by state; QUEUED is the queue's length.", None, rows);

    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for (exit, n_attempts) in &moment.attempts {
        *ends.entry(class(exit)).or_default() += n_attempts;
    }
    let rows = ends.into_iter().map(|(class, n)| ([("exit", class)], n as f64)).collect();
    let help = "Ended attempts at the jobs that are kept, by how their worker ended.";
    gauge(registry, "ftl_attempts", help, None, rows);

    let of_each = |number: fn(&AtWork) -> Option<f64>| -> Rows<1> {
        let row = |job: &AtWork| Some(([("job", job.id.to_string())], number(job)?));
        moment.at_work.iter().filter_map(row).collect()
    };
    let step = of_each(|job| Some(job.step as f64));
    gauge(registry, "ftl_job_step", "Steps that a running job has taken.", None, step);
    let total = of_each(|job| job.total_steps.map(|steps| steps as f64));
    gauge(registry, "ftl_job_total_steps", "Steps that a running job will take.", None, total);
    let loss = of_each(|job| job.last.as_ref().map(|step| step.loss_nats));
    let nats = Some(Unit::Other("nats".to_owned()));
    gauge(registry, "ftl_job_loss", "Training loss of a running job's last step.", nats, loss);
    let tokens = of_each(|job| job.last.as_ref().map(|step| step.tokens_per_sec));
    let help = "Tokens that went through the model of a running job in its last step, for each second of it.";
    gauge(registry, "ftl_job_tokens_per_second", help, None, tokens);
}

fn of_store(registry: &mut Registry, commits: CommitTimes) {
    let help = "Transactions of the database that failed.";
    registry.register("ftl_store_failed_commits", help, ConstCounter::new(commits.n_failed));
    let help = "Transactions of the database, from the first statement to the end of COMMIT.";
    registry.register_with_unit("ftl_store_commit", help, Unit::Seconds, Commits(commits));
}

/// The name of an exit's class, as in JSON.
fn class(exit: &Exit) -> String {
    let value = serde_json::to_value(exit).unwrap_or_default();
    value.get("class").and_then(|class| class.as_str()).unwrap_or("UNKNOWN").to_owned()
}

fn of_gpus(registry: &mut Registry, gpus: &Gpus) {
    let Gpus::Present { driver_version, gpus } = gpus else { return };
    let names = Family::<Labels<4>, Gauge<f64, AtomicU64>>::default();
    for GpuReading { index, uuid, name, .. } in gpus {
        let labels = [
            ("gpu", index.to_string()),
            ("name", name.clone()),
            ("uuid", uuid.clone()),
            ("driver", driver_version.clone()),
        ];
        names.get_or_create(&labels).set(1.0);
    }
    registry.register("ftl_gpu_present", "1 for each GPU, with what it is called.", names);
    let of_each = |number: fn(&GpuReading) -> Option<f64>| -> Rows<1> {
        let row = |gpu: &GpuReading| Some(([("gpu", gpu.index.to_string())], number(gpu)?));
        gpus.iter().filter_map(row).collect()
    };
    let total = of_each(|gpu| Some(gpu.memory_total_bytes as f64));
    gauge(registry, "ftl_gpu_memory_total", "Memory of a GPU.", Some(Unit::Bytes), total);
    let used = of_each(|gpu| Some(gpu.memory_used_bytes as f64));
    gauge(registry, "ftl_gpu_memory_used", "Memory of a GPU in use, by whomever.", Some(Unit::Bytes), used);
    let busy = of_each(|gpu| gpu.utilization_percent.map(|percent| f64::from(percent) / 100.0));
    let help = "Share of the last moment in which a kernel ran on a GPU, 0 to 1.";
    gauge(registry, "ftl_gpu_utilization_ratio", help, None, busy);
    let warm = of_each(|gpu| gpu.temperature_celsius.map(f64::from));
    gauge(registry, "ftl_gpu_temperature", "Temperature of a GPU's chip.", Some(Unit::Celsius), warm);
    let watts = Some(Unit::Other("watts".to_owned()));
    let power = of_each(|gpu| gpu.power_watts);
    gauge(registry, "ftl_gpu_power", "What a GPU's board draws.", watts, power);
}

fn of_machine(registry: &mut Registry, moment: &Moment) {
    one(registry, "ftl_streams_open", "Streams that are open.", moment.n_streams as f64);
    one(registry, "ftl_streams_limit", "Streams that may be open at once.", moment.most_streams as f64);
    if let Some(bytes) = moment.free_disk_bytes {
        let help = "What can still be written to the data directory.";
        gauge(registry, "ftl_data_directory_free", help, Some(Unit::Bytes), alone(bytes as f64));
    }
    if let Some(bytes) = moment.database_bytes {
        let help = "The database's file, without its write-ahead log.";
        gauge(registry, "ftl_database_size", help, Some(Unit::Bytes), alone(bytes as f64));
    }
    let started = moment.started_unix_ms as f64 / 1_000.0;
    let help = "When the service was started, since 1970.";
    gauge(registry, "process_start_time", help, Some(Unit::Seconds), alone(started));
    let Some(Process { resident_bytes, cpu_secs, n_open_files, n_threads }) = moment.process else { return };
    let help = "Memory of the service itself, without its workers.";
    gauge(registry, "process_resident_memory", help, Some(Unit::Bytes), alone(resident_bytes as f64));
    let help = "Time that the service itself has computed.";
    registry.register_with_unit("process_cpu", help, Unit::Seconds, ConstCounter::new(cpu_secs));
    one(registry, "process_open_fds", "Files and sockets that are open.", n_open_files as f64);
    one(registry, "process_threads", "Threads of the service itself.", n_threads as f64);
}

fn one(registry: &mut Registry, name: &str, help: &str, number: f64) {
    gauge(registry, name, help, None, alone(number));
}

fn alone(number: f64) -> Rows<0> {
    vec![([], number)]
}

/// Without rows nothing is said.
fn gauge<const N: usize>(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>, rows: Rows<N>) {
    let family = Family::<Labels<N>, Gauge<f64, AtomicU64>>::default();
    for (labels, number) in rows {
        family.get_or_create(&labels).set(number);
    }
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, family),
        None => registry.register(name, help, family),
    }
}
