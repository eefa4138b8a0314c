//! Starts the user's service where none runs: in the background, with a session of its own, so that it outlives the
//! terminal.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ftl_client::{Client, ClientError, Endpoint, places};
use ftl_core::{Problem, ProblemKind};

use crate::output::{Failure, note};

const PROGRAM: &str = "ftl-server";
/// How long a service may take to answer. It opens a database, brings it up to date and looks after its jobs.
const LONGEST_START: Duration = Duration::from_secs(10);
/// A service that ended may have met another one, which somebody else started and which answers soon.
const GRACE: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How much of the log is shown.
const TAIL_BYTES: u64 = 4 << 10;
/// A log that is longer is put aside when a service is started.
const LONGEST_LOG: u64 = 4 << 20;

/// Starts the service and waits until it answers.
///
/// # Errors
/// There is no program to start, or it does not answer in time; then with the end of its log.
pub async fn server(endpoint: &Endpoint) -> Result<Client, Failure> {
    let deadline = Instant::now() + LONGEST_START;
    let data_dir = places::data_dir()?;
    DirBuilder::new().recursive(true).mode(0o700).create(&data_dir)?;
    let Some(_lock) = lock(&data_dir, deadline).await? else {
        return Err(not_started(&data_dir, "another command has been starting it for 10 s"));
    };
    // Another command may have started it while this one waited for the lock.
    if let Some(client) = answer(endpoint).await? {
        return Ok(client);
    }
    let program = program().ok_or_else(|| {
        let problem = Problem::new(
            ProblemKind::NotFound,
            "no service runs, and `ftl-server` is neither beside `ftl` nor on the PATH",
        );
        Failure::Failed(problem.hint("install it, or name a running one with `--server`"))
    })?;
    note(&format!("no service runs; starting {}", program.display()));
    let mut child = spawn(&program, &data_dir)?;
    let mut ended: Option<(Instant, ExitStatus)> = None;
    loop {
        if let Some(client) = answer(endpoint).await? {
            return Ok(client);
        }
        if ended.is_none() {
            ended = child.try_wait()?.map(|status| (Instant::now(), status));
        }
        match ended {
            Some((since, status)) if since.elapsed() >= GRACE => {
                return Err(not_started(&data_dir, &format!("it ended at once, {status}")));
            }
            Some(_) | None if Instant::now() >= deadline => {
                return Err(not_started(&data_dir, "it did not answer within 10 s"));
            }
            Some(_) | None => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// A connection, where somebody answers.
async fn answer(endpoint: &Endpoint) -> Result<Option<Client>, Failure> {
    match Client::connect(endpoint).await {
        Ok(client) => Ok(Some(client)),
        Err(ClientError::Unavailable(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The lock, or `None` when the deadline passes. It is given back when the file is dropped.
async fn lock(data_dir: &Path, deadline: Instant) -> Result<Option<File>, Failure> {
    let path = places::start_lock(data_dir);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// The program beside this one, or else on the PATH.
pub fn program() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(PROGRAM));
    beside.into_iter().chain(on_path).find(|program| program.is_file())
}

fn spawn(program: &Path, data_dir: &Path) -> Result<Child, Failure> {
    let log = open_log(&places::server_log(data_dir))?;
    let mut command = Command::new(program);
    command.arg("serve").current_dir(data_dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed, and setsid(2) is one.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    command.spawn().map_err(|error| {
        let message = format!("`{}` can't be started: {error}", program.display());
        Failure::Failed(Problem::new(ProblemKind::Worker, message))
    })
}

fn open_log(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LONGEST_LOG) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn not_started(data_dir: &Path, what: &str) -> Failure {
    let path = places::server_log(data_dir);
    let tail = tail(&path).unwrap_or_default();
    if !tail.is_empty() {
        note(&format!("the end of {}:\n{tail}", path.display()));
    }
    let problem = Problem::new(ProblemKind::Worker, format!("the service could not be started: {what}"));
    Failure::Failed(problem.hint(format!("see {}", path.display())))
}

/// The last lines of a file.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // Its first line is cut.
    let text = if length > TAIL_BYTES { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    Ok(text.trim_end().to_owned())
}
