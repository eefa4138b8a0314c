//! A service in a directory of its own, and jobs for it.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ftl_client::{Client, Endpoint};
use ftl_core::job::{Job, JobEvent, State};
use ftl_core::{Event, JobId, JobSpec};
use futures_util::{StreamExt, TryStreamExt};

/// Far more than anything here takes; a test that waits so long has failed.
pub const LONG: Duration = Duration::from_secs(120);

/// The compiled program at work.
pub struct Service {
    pub home: PathBuf,
    child: Child,
}

impl Service {
    /// Starts it on `home` and waits until it answers.
    pub async fn start(home: &Path) -> Self {
        let child = command(home).spawn().expect("the program starts");
        let mut service = Self { home: home.to_owned(), child };
        let until = Instant::now() + LONG;
        loop {
            if Client::connect(&service.endpoint()).await.is_ok() {
                return service;
            }
            if let Some(status) = service.child.try_wait().expect("a child") {
                panic!("the service ended with {status}");
            }
            assert!(Instant::now() < until, "the service does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(socket(&self.home))
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.endpoint()).await.expect("it answers")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process that trains, where one does.
    pub fn worker(&self) -> Option<u32> {
        workers_of(self.pid()).into_iter().next()
    }

    /// Sends SIGKILL and waits until the process is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// Sends SIGTERM and waits; the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        signal(self.pid(), libc::SIGTERM);
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.pid(), libc::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

pub fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftl-server"));
    command.arg("serve").arg("--data-dir").arg(home.join("data")).arg("--socket").arg(socket(home));
    command.env("FTL_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

pub fn socket(home: &Path) -> PathBuf {
    home.join("run/ftl.sock")
}

pub fn signal(pid: u32, signal: i32) {
    // SAFETY: kill only sends a signal.
    let done = unsafe { libc::kill(pid.cast_signed(), signal) };
    assert_eq!(done, 0, "signal {signal} to {pid}: {}", std::io::Error::last_os_error());
}

/// Processes whose parent is `pid`.
pub fn workers_of(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("procfs").flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // pid (name) state ppid …; the name may hold anything, so the fields count from its end.
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        if fields.split_whitespace().nth(1) == Some(&pid.to_string()) {
            found.push(child);
        }
    }
    found
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .canonicalize()
        .expect("it is in the repository")
}

/// The bundled model on the bundled data for `n_steps` steps: some thousandths of a second each.
pub fn spec(name: &str, n_steps: u64) -> JobSpec {
    let mut spec = JobSpec::read(examples().join("first-run.toml")).expect("it is in the repository");
    spec.name = Some(name.to_owned());
    spec.train.max_steps = Some(n_steps);
    spec.train.eval_steps = Some(0);
    spec.train.save_steps = Some(50);
    spec
}

/// Steps that no test waits for.
pub const ENDLESS: u64 = 10_000_000;

pub async fn submit(client: &Client, spec: &JobSpec) -> Job {
    client.create_job(spec, None).await.expect("a good spec")
}

/// Waits until the job is in `state`.
pub async fn reaches(client: &Client, id: &JobId, state: State) -> Job {
    wait_for(client, id, &format!("{state}"), |job| job.state == state).await
}

/// Waits until `is_there` says so.
pub async fn wait_for(client: &Client, id: &JobId, what: &str, is_there: impl Fn(&Job) -> bool) -> Job {
    let until = Instant::now() + LONG;
    loop {
        let job = client.job(id).await.expect("it exists");
        if is_there(&job) {
            return job;
        }
        assert!(Instant::now() < until, "{id} does not get to {what}: {job:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// All events up to the end of the stream.
pub async fn events(client: &Client, id: &JobId, after_seq: u64) -> Vec<JobEvent> {
    let stream = client.watch_events(id, after_seq);
    tokio::time::timeout(LONG, stream.boxed().try_collect()).await.expect("it ends").expect("no error")
}

/// The numbers of the steps that were reported, in order.
pub fn steps(events: &[JobEvent]) -> Vec<u64> {
    events
        .iter()
        .filter_map(|event| match &event.record.event {
            Event::Stepped(stepped) => Some(stepped.step),
            Event::State { .. }
            | Event::Phase { .. }
            | Event::Note { .. }
            | Event::Evaluated(_)
            | Event::Sampled(_)
            | Event::Saved { .. }
            | Event::Removed { .. }
            | Event::Damaged { .. }
            | Event::Exported { .. } => None,
        })
        .collect()
}

/// The bytes of the adapter that a job made.
pub fn adapter_bytes(job: &Job) -> Vec<u8> {
    std::fs::read(job.directory.join("final/adapter_model.safetensors")).expect("the job has succeeded")
}

/// Holds the lock that a worker takes first, so that a job stays STARTING.
pub struct HeldLock(
    #[expect(dead_code, reason = "the lock lives as long as the file is open")] std::fs::File,
);

impl HeldLock {
    pub fn of(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a writable directory");
        let file = std::fs::File::create(directory.join("lock")).expect("a writable directory");
        // A worker that was killed may need a moment to be gone.
        let until = Instant::now() + LONG;
        while let Err(error) = file.try_lock() {
            assert!(Instant::now() < until, "descriptor {}: {error}", file.as_raw_fd());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(file)
    }
}
