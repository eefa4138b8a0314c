//! Jobs whose workers hang, crash or run out of memory: what the service makes of them.

mod worker_support;

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ftl_core::job::{Exit, Job, Phase, State};
use ftl_core::plan::{Change, MemoryParts, MemoryPlan, Proposal};
use ftl_core::spec::MaxMemory;
use ftl_core::spec::resolved::Checkpointing;
use ftl_core::{JobId, JobSpec, Problem, ProblemKind};
use ftl_server::crash_reports::CrashReports;
use ftl_server::data_dir::DataDir;
use ftl_server::jobs::{Jobs, Patience};
use ftl_server::worker::exit::OUT_OF_GPU_MEMORY;
use ftl_server::worker::message::{FromWorker, Task, ToWorker};
use ftl_server::worker::{Workers, frame, guarded};
use ftl_store::Store;
use tempfile::TempDir;
use worker_support::{PATIENCE, spec, this_test};

/// Little patience, so that a test need not wait for hours.
const LITTLE: Patience = Patience {
    heartbeat: Duration::from_secs(2),
    unknown_pulse: Duration::from_secs(3),
    steady_pulse: Duration::from_secs(1),
    times_longest_pulse: 20,
};

struct Service {
    store: Store,
    jobs: Jobs,
    dir: DataDir,
    home: TempDir,
}

impl Service {
    /// One whose workers are all a test of this program.
    async fn with_worker(name: &str, patience: Patience) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let program = this_test(home.path(), name);
        let dir = DataDir::open(&home.path().join("data")).expect("a data directory");
        let store = Store::open(&dir.database(), |_, _| {}).expect("a database");
        let workers = Workers::start(program, dir.workers()).expect("a place for logs");
        let jobs =
            Jobs::start_with(store.clone(), workers, dir.clone(), patience).await.expect("an empty queue");
        Self { store, jobs, dir, home }
    }

    async fn create(&self) -> Job {
        self.jobs.create(job(), None, None).await.expect("a good spec")
    }

    async fn reaches(&self, id: &JobId, state: State) -> Job {
        let reached = async {
            loop {
                let job = self.store.job(id).await.expect("a store").expect("a job");
                if job.state == state {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("it gets there")
    }

    fn crashes(&self) -> Vec<String> {
        let reports = CrashReports::of(self.dir.root()).list().expect("a directory");
        reports.iter().map(|path| fs::read_to_string(path).expect("a report")).collect()
    }
}

fn job() -> JobSpec {
    spec(&[])
}

/// The first frame, and the socket behind it.
fn task() -> (UnixStream, String, Task) {
    // SAFETY: the server put a socket there for this process alone.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(3) });
    match frame::read::<ToWorker>(&mut socket).expect("a frame") {
        Some(ToWorker::Task { nonce, task }) => (socket, nonce, task),
        other => panic!("no task: {other:?}"),
    }
}

fn say(socket: &mut UnixStream, message: &FromWorker) {
    frame::write(socket, message).expect("a server");
}

fn greet() -> UnixStream {
    let (mut socket, nonce, _) = task();
    say(&mut socket, &FromWorker::Hello { nonce, pid: std::process::id() });
    socket
}

fn beat(socket: &mut UnixStream, pulse: u64) {
    say(socket, &FromWorker::Heartbeat { step: 4, phase: Some(Phase::Training), pulse });
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
#[ignore = "another test starts it"]
fn is_silent() {
    let _socket = greet();
    std::thread::sleep(PATIENCE);
}

#[test]
#[ignore = "another test starts it"]
fn hangs_after_some_steps() {
    let mut socket = greet();
    (0..8).for_each(|pulse| beat(&mut socket, pulse));
    loop {
        beat(&mut socket, 8);
    }
}

#[test]
#[ignore = "another test starts it"]
fn gets_on_slowly() {
    let mut socket = greet();
    for pulse in 0..6 {
        // Each as long as the least that is asked for, or longer; all together longer than any limit.
        (0..9).for_each(|_| beat(&mut socket, pulse));
    }
    say(&mut socket, &FromWorker::Finished);
    std::process::exit(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_does_not_get_on_is_ended_and_the_job_says_why() {
    for (worker, expected) in [
        ("is_silent", "the worker gave no sign of life for 2 seconds, and was ended"),
        ("hangs_after_some_steps", " while training, after step 4, and was ended"),
    ] {
        let service = Service::with_worker(worker, LITTLE).await;
        let id = service.create().await.id;
        let job = service.reaches(&id, State::Failed).await;
        // As a worker that died: it goes on by itself, but not for ever.
        assert_eq!(job.n_attempts, 4, "{job:?}");
        let [problem] = &job.problems[..] else { panic!("{job:?}") };
        assert!(problem.message.ends_with(expected), "{} for {expected}", problem.message);
        assert!(problem.hint.as_deref().is_some_and(|hint| hint.contains("journalctl -k")), "{problem:?}");
        let attempts = service.store.attempts(&id).await.expect("a store");
        for attempt in attempts {
            assert_eq!(attempt.exit, Some(Exit::Crashed { signal: Some(libc::SIGKILL), code: None }));
        }
        // It did not crash: it was ended.
        assert_eq!(service.crashes(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_is_slow_is_left_alone() {
    let service = Service::with_worker("gets_on_slowly", LITTLE).await;
    let id = service.create().await.id;
    let job = service.reaches(&id, State::Succeeded).await;
    assert_eq!(job.n_attempts, 1, "{job:?}");
}

/// Four fifths of what the plan below says.
const LESS: MaxMemory = MaxMemory::Bytes(6_871_947_673);

fn plan(limit: Option<&MaxMemory>) -> MemoryPlan {
    let proposal = Proposal {
        changes: vec![Change { key: "data.max_length".to_owned(), value: "512".to_owned() }],
        peak_bytes: 3 << 30,
    };
    MemoryPlan {
        fits: limit.is_none(),
        peak_bytes: 8 << 30,
        available_bytes: Some(limit.map_or(10 << 30, |limit| limit.bytes().expect("an amount"))),
        parts: MemoryParts::default(),
        device: "cuda:0".to_owned(),
        gradient_checkpointing: Checkpointing::None,
        most_tokens: 2_048,
        proposals: if limit == Some(&LESS) { vec![proposal] } else { Vec::new() },
    }
}

#[test]
#[ignore = "another test starts it"]
fn lacks_gpu_memory_and_plans() {
    let code = guarded(|| {
        let (mut socket, nonce, task) = task();
        say(&mut socket, &FromWorker::Hello { nonce, pid: std::process::id() });
        if let Task::PlanMemory { spec } = task {
            say(&mut socket, &FromWorker::Plan(plan(spec.device.max_memory.as_ref())));
            say(&mut socket, &FromWorker::Finished);
            return 0;
        }
        panic!("out of device memory allocating 1048576 bytes")
    });
    std::process::exit(i32::from(code));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_without_enough_memory_fails_once_and_says_what_would_take_less() {
    let service = Service::with_worker("lacks_gpu_memory_and_plans", Patience::default()).await;
    let id = service.create().await.id;
    let job = service.reaches(&id, State::Failed).await;
    assert_eq!(job.n_attempts, 1, "a lack of memory is not tried again: {job:?}");
    let [problem] = &job.problems[..] else { panic!("{job:?}") };
    assert_eq!(problem.message, "the GPU has too little memory for this");
    let hint = problem.hint.as_deref().unwrap_or_default();
    assert!(
        hint.starts_with(
            "it was planned to take 8.00 GiB; these take less: `data.max_length` = 512 (3.00 GiB); "
        ),
        "{hint}"
    );
    assert_eq!(service.crashes(), [""; 0]);
}

#[test]
#[ignore = "another test starts it"]
fn exceeds_its_limit() {
    let (mut socket, nonce, task) = task();
    say(&mut socket, &FromWorker::Hello { nonce, pid: std::process::id() });
    if let Task::PlanMemory { spec } = task {
        say(&mut socket, &FromWorker::Plan(plan(spec.device.max_memory.as_ref())));
        say(&mut socket, &FromWorker::Finished);
        std::process::exit(0);
    }
    let problem = Problem::new(ProblemKind::OutOfMemory, "the run took 9 GiB").at("device.max_memory");
    say(&mut socket, &FromWorker::Refused { problems: vec![problem.hint("raise it")] });
    std::process::exit(i32::from(OUT_OF_GPU_MEMORY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_that_exceeds_its_limit_fails_once_and_keeps_its_own_advice() {
    let service = Service::with_worker("exceeds_its_limit", Patience::default()).await;
    let id = service.create().await.id;
    let job = service.reaches(&id, State::Failed).await;
    assert_eq!(job.n_attempts, 1, "it would exceed it again: {job:?}");
    let [problem] = &job.problems[..] else { panic!("{job:?}") };
    assert_eq!(problem.to_string(), "device.max_memory: the run took 9 GiB; raise it");
    assert_eq!(service.crashes(), [""; 0]);
}

#[test]
#[ignore = "another test starts it"]
fn panics_at_once() {
    let code = guarded(|| {
        let _socket = greet();
        panic!("the light is out")
    });
    std::process::exit(i32::from(code));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_is_written_down_and_the_job_says_where() {
    let service = Service::with_worker("panics_at_once", Patience::default()).await;
    let id = service.create().await.id;
    let job = service.reaches(&id, State::Failed).await;
    let reports = service.crashes();
    // Those of one millisecond and process would share a file; workers take longer.
    assert_eq!(reports.len(), 4, "{reports:?}");
    for report in &reports {
        assert!(report.contains("a worker that trains") && report.contains("the light is out"), "{report}");
        assert!(report.contains("guarded"), "no backtrace: {report}");
        assert!(
            !report.contains("first-run.toml") && !report.contains("max_steps"),
            "the spec is private: {report}"
        );
    }
    let hint = job.problems[0].hint.as_deref().unwrap_or_default();
    let place = service.home.path().join("data/crashes");
    assert!(
        hint.contains(&format!("the crash is written down in `{}", Path::new(&place).display())),
        "{hint}"
    );
}
