//! A service without its API on a runtime of its own, so that it can be dropped in the middle of whatever it does.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ftl_core::job::{Job, State, WaitingReason};
use ftl_core::spec::{AdapterKind, AdapterSpec, DataSpec, MethodKind, MethodSpec, ModelSpec};
use ftl_core::system::{GpuReading, Gpus};
use ftl_core::{JobId, JobSpec};
use ftl_server::data_dir::{DataDir, DataDirError};
use ftl_server::jobs::Jobs;
use ftl_server::leases::{GpuSource, Machine};
use ftl_server::worker::Workers;
use ftl_store::{Store, StoreError};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::worker::{COMMAND, TOLD, Told, VIOLATIONS};

/// Far more than anything here takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(120);

/// GPUs that come and go.
#[derive(Clone, Default)]
pub struct Cards(Arc<Mutex<u32>>);

impl Cards {
    pub fn set(&self, n_cards: u32) {
        *self.0.lock().expect("no panic") = n_cards;
    }
}

impl GpuSource for Cards {
    fn read(&self) -> Gpus {
        let n_cards = *self.0.lock().expect("no panic");
        if n_cards == 0 {
            return Gpus::Absent { reason: "no NVIDIA driver is installed".to_owned() };
        }
        let gpu = |index| GpuReading {
            index,
            uuid: format!("GPU-{index}"),
            name: "Card".to_owned(),
            compute_capability: Some("9.0".to_owned()),
            memory_total_bytes: 1 << 36,
            memory_used_bytes: 0,
            utilization_percent: None,
            temperature_celsius: None,
            power_watts: None,
        };
        Gpus::Present { driver_version: "570.1".to_owned(), gpus: (0..n_cards).map(gpu).collect() }
    }
}

pub struct Harness {
    pub cards: Cards,
    home: TempDir,
    program: PathBuf,
    service: Option<Service>,
}

struct Service {
    jobs: Jobs,
    store: Store,
    workers: Workers,
    runtime: Runtime,
}

impl Harness {
    pub fn start(n_cards: u32) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let program = home.path().join("program.sh");
        let test = std::env::current_exe().expect("this program");
        let text = format!("exec '{}' --exact worker::scripted_worker --ignored --nocapture", test.display());
        // By another process: one that this program starts meanwhile would inherit the file while it is open for writing,
        // and a file that anybody has open so can't be run.
        let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 700 \"$0\"";
        let written = std::process::Command::new("sh").args(["-c", write]).arg(&program).arg(text).status();
        assert!(written.expect("`sh` runs").success(), "a program");
        let mut harness = Self { cards: Cards::default(), home, program, service: None };
        harness.cards.set(n_cards);
        harness.begin();
        harness.on(async |jobs| {
            // The machine that the tests run on may have less free than a start asks for by default.
            let settings = ftl_core::job::QueueSettings { min_free_disk_bytes: 0 };
            jobs.set_queue_settings(settings).await.expect("a setting");
        });
        harness
    }

    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn begin(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let service = runtime.block_on(async {
            let dir = open_directory(&self.data());
            let store = open(&dir.database());
            let machine = Machine::simulated(Arc::new(self.cards.clone()));
            let workers =
                Workers::start_on(machine, self.program.clone(), dir.workers()).expect("a directory");
            let jobs =
                Jobs::start(store.clone(), workers.clone(), dir).await.expect("an old queue or a new one");
            (jobs, store, workers)
        });
        let (jobs, store, workers) = service;
        self.service = Some(Service { jobs, store, workers, runtime });
    }

    /// Ends the service as `kill -9` does: nothing is told to anybody, whatever is under way stays where it is. Its
    /// workers are killed with it, a moment later.
    pub fn kill(&mut self) {
        let Service { jobs, store, workers, runtime } = self.service.take().expect("it runs");
        runtime.shutdown_timeout(LONG);
        drop((jobs, workers, store));
    }

    pub fn restart(&mut self) {
        self.kill();
        self.begin();
    }

    /// Asks the service something.
    pub fn on<'a, T, F: Future<Output = T>>(&'a self, ask: impl FnOnce(&'a Jobs) -> F) -> T {
        let Service { jobs, runtime, .. } = self.service.as_ref().expect("it runs");
        runtime.block_on(ask(jobs))
    }

    pub fn store(&self) -> &Store {
        &self.service.as_ref().expect("it runs").store
    }

    pub fn workers(&self) -> &Workers {
        &self.service.as_ref().expect("it runs").workers
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.service.as_ref().expect("it runs").runtime.block_on(future)
    }

    pub fn create(&self, device: &str) -> Job {
        self.on(|jobs| jobs.create(spec(device), None, None)).expect("a good spec")
    }

    pub fn job(&self, id: &JobId) -> Job {
        self.store().job(id).wait().expect("a database").expect("a job")
    }

    /// Waits until the job is so.
    pub fn until(&self, id: &JobId, what: &str, is_so: impl Fn(&Job) -> bool) -> Job {
        let deadline = Instant::now() + LONG;
        loop {
            let job = self.job(id);
            if is_so(&job) {
                return job;
            }
            assert!(Instant::now() < deadline, "{id} does not get to {what}: {job:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn reaches(&self, id: &JobId, state: State) -> Job {
        self.until(id, &state.to_string(), |job| job.state == state)
    }

    pub fn waits(&self, id: &JobId, reason: WaitingReason) -> Job {
        self.until(id, &format!("{reason:?}"), |job| {
            job.waiting.as_ref().is_some_and(|waiting| waiting.reason == reason)
        })
    }

    /// Tells the worker of a job what to do.
    pub fn command(&self, id: &JobId, word: &str) {
        write_whole(&self.data().join("jobs").join(id.as_str()).join(COMMAND), word);
    }

    /// Tells all workers, also those to come.
    pub fn command_all(&self, word: &str) {
        write_whole(&self.data().join(COMMAND), word);
    }

    pub fn told(&self, id: &JobId) -> Told {
        let path = self.data().join("jobs").join(id.as_str()).join(TOLD);
        serde_json::from_slice(&fs::read(path).expect("it runs")).expect("JSON")
    }

    /// No two processes were at one place.
    pub fn check_places(&self) {
        let found = fs::read_to_string(self.data().join(VIOLATIONS)).unwrap_or_default();
        assert_eq!(found, "");
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if self.service.is_some() {
            self.kill();
        }
        if !std::thread::panicking() {
            self.check_places();
        }
    }
}

/// A worker that is being started has the locks of its service until it is its own program.
fn open_directory(path: &Path) -> DataDir {
    let deadline = Instant::now() + LONG;
    loop {
        match DataDir::open(path) {
            Ok(dir) => return dir,
            Err(DataDirError::InUse { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// As above.
fn open(path: &Path) -> Store {
    let deadline = Instant::now() + LONG;
    loop {
        match Store::open(path, |_, _| {}) {
            Ok(store) => return store,
            Err(StoreError::AlreadyOpen(_)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A reader sees the whole word or none.
fn write_whole(path: &Path, word: &str) {
    let Some(directory) = path.parent().filter(|directory| directory.is_dir()) else { return };
    let unfinished = directory.join(".command");
    fs::write(&unfinished, word).expect("a file");
    fs::rename(unfinished, path).expect("a file");
}

/// A spec that passes, of files that need not exist.
pub fn spec(device: &str) -> JobSpec {
    let mut spec = JobSpec {
        model: ModelSpec { path: Some("/models/small".into()), ..ModelSpec::default() },
        data: DataSpec { train: vec!["/data/train.jsonl".into()], ..DataSpec::default() },
        method: MethodSpec { kind: Some(MethodKind::Sft), ..MethodSpec::default() },
        adapter: AdapterSpec { kind: Some(AdapterKind::Lora), ..AdapterSpec::default() },
        ..JobSpec::default()
    };
    spec.device.kind = Some(device.to_owned());
    spec
}
