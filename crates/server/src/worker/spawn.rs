//! Starts worker processes, sends them signals, and sees to it that none becomes a zombie.
//!
//! All are forked by one thread that lives as long as the process: the kernel sends a worker its `PR_SET_PDEATHSIG`
//! when the *thread* that forked it ends. A worker that trains takes that SIGTERM as its word to save.
//!
//! What a worker inherits: the server's environment, since drivers, caches and libraries are found through it, without
//! what concerns the server alone (systemd's sockets and watchdog, and `FTL_…`, which may hold secrets); its working
//! directory; of open files fd 0 to 3. It has a process group of its own, so that Ctrl-C in the server's terminal
//! reaches the server, which then stops it in order.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::log;

/// Where a worker finds its end of the socket pair.
pub(super) const SOCKET_FD: i32 = 3;
/// How often a worker is looked at: whether it ended, and how long its log is.
const LOOK: Duration = Duration::from_millis(50);

/// Variables that concern the server alone.
const KEPT_BACK: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
const KEPT_BACK_PREFIX: &str = "FTL_";

/// What to start.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) log: PathBuf,
}

/// A worker that was started, and the server's end of its socket pair.
pub(super) struct Launched {
    pub(super) process: Process,
    pub(super) socket: UnixStream,
}

type Request = (Launch, oneshot::Sender<io::Result<Launched>>);

/// Starts a worker.
pub(super) async fn launch(launch: Launch) -> io::Result<Launched> {
    static SPAWNER: OnceLock<Option<mpsc::Sender<Request>>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts worker processes is gone");
    let requests = SPAWNER.get_or_init(|| spawner().ok()).as_ref().ok_or_else(gone)?;
    let (reply, launched) = oneshot::channel();
    requests.send((launch, reply)).map_err(|_| gone())?;
    launched.await.map_err(|_| gone())?
}

fn spawner() -> io::Result<mpsc::Sender<Request>> {
    let (sender, requests) = mpsc::channel::<Request>();
    thread::Builder::new().name("spawner".to_owned()).spawn(move || {
        // Takes fd 3 where it is free, so that no file of std's own making is there when it is replaced after a fork.
        let _placeholder = File::open("/dev/null");
        // The sender is never dropped, so this never ends.
        for (launch, reply) in requests {
            // A caller that went away drops what it is given, and that kills the worker.
            let _ = reply.send(start(&launch));
        }
    })?;
    Ok(sender)
}

fn start(launch: &Launch) -> io::Result<Launched> {
    let Launch { program, log: log_path } = launch;
    let (ours, theirs) = UnixStream::pair()?;
    let log = log::open(log_path)?;
    let mut command = Command::new(program);
    command.arg("worker").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    command.process_group(0);
    for (name, _) in std::env::vars_os() {
        let is_ours =
            name.to_str().is_some_and(|name| KEPT_BACK.contains(&name) || name.starts_with(KEPT_BACK_PREFIX));
        if is_ours {
            command.env_remove(name);
        }
    }
    let server_pid = std::process::id();
    let socket = theirs.as_raw_fd();
    // SAFETY: the closure only makes system calls that are allowed between fork and exec, and allocates nothing.
    unsafe {
        command.pre_exec(move || prepare(server_pid, socket));
    }
    let child = command.spawn()?;
    drop(theirs);
    let process = Process::watch(child, log, &ours)?;
    Ok(Launched { process, socket: ours })
}

/// Runs in the child between fork and exec.
fn prepare(server_pid: u32, socket: i32) -> io::Result<()> {
    let check = |result: i32| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    #[cfg(target_os = "linux")]
    {
        // SAFETY: prctl with these arguments reads no memory.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })?;
        // The server may have died before the line above.
        // SAFETY: getppid always succeeds.
        if unsafe { libc::getppid() }.cast_unsigned() != server_pid {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = server_pid;
    if socket == SOCKET_FD {
        // SAFETY: fcntl with F_SETFD reads no memory.
        check(unsafe { libc::fcntl(socket, libc::F_SETFD, 0) })?;
    } else {
        // SAFETY: dup2 takes two numbers.
        check(unsafe { libc::dup2(socket, SOCKET_FD) })?;
    }
    // Everything of ours is opened so already; what the server itself inherited may not be. Before Linux 5.11 there
    // is no such call, and nothing to be done.
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes three numbers; it closes nothing now, only at exec.
    unsafe {
        libc::syscall(libc::SYS_close_range, SOCKET_FD + 1, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

/// A worker's process. Dropping the last handle kills it; whatever happens it is reaped.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    child: Arc<Mutex<Child>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    fn watch(child: Child, log: File, socket: &UnixStream) -> io::Result<Self> {
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let (says, ended) = watch::channel(None);
        let watched = Arc::clone(&child);
        let end_of_socket = socket.try_clone();
        let begun = end_of_socket.and_then(|socket| {
            thread::Builder::new().name(format!("worker {pid}")).spawn(move || {
                let status = reap(&watched, &log);
                // What the worker sent stays readable. Without this the end would not be seen as long as a process
                // that the worker started keeps its end open.
                let _ = socket.shutdown(std::net::Shutdown::Read);
                if status.is_some() {
                    says.send_replace(status);
                }
            })
        });
        if let Err(error) = begun {
            let mut child = lock(&child);
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok(Self { pid, child, ended })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; nothing where the process has ended.
    pub(super) fn signal(&self, signal: i32) {
        let mut child = lock(&self.child);
        // Under the lock nobody else reaps it, so the number can't be another process's by now.
        if matches!(child.try_wait(), Ok(None)) {
            // SAFETY: kill takes two numbers.
            unsafe { libc::kill(self.pid.cast_signed(), signal) };
        }
    }

    /// Whether somebody has paused it (SIGSTOP, a debugger); false where the system does not tell.
    pub(super) fn is_paused(&self) -> bool {
        // The name of the program, in parentheses, may hold anything; the state is the letter behind it (proc(5)).
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| matches!(rest.trim_start().chars().next(), Some('T' | 't')))
    }

    /// Whether it has ended and is reaped.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits until it has ended and is reaped.
    pub(super) async fn ended(&self) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        let status = ended.wait_for(Option::is_some).await.ok()?;
        *status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
    }
}

/// Waits for the process, and keeps its log within its limit. `None`: it can't be said how it ended.
fn reap(child: &Mutex<Child>, log: &File) -> Option<ExitStatus> {
    loop {
        let ended = lock(child).try_wait();
        // A full disk is no reason to lose sight of the process.
        if let Err(error) = log::cut_down(log) {
            tracing::warn!(%error, "a worker's log can't be cut down");
        }
        match ended {
            Ok(Some(status)) => return Some(status),
            Ok(None) => thread::sleep(LOOK),
            // Only if somebody else reaped it, which nobody does.
            Err(error) => {
                tracing::error!(%error, "a worker can't be waited for");
                return None;
            }
        }
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the log of a worker's task is, by name.
pub(super) fn task_log(directory: &Path, task: &str, number: u64) -> PathBuf {
    directory.join(format!("{task}-{number}.log"))
}
