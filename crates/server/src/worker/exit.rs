//! How a worker ends: its exit codes, and what they, its last words and the system's counters come to.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use ftl_core::job::Exit;
use ftl_core::{Problem, ProblemKind};

use crate::crash_reports::{Crash, CrashReports, is_crash};

/// The task is done.
pub const DONE: u8 = 0;
/// It refused the spec, the model or the data; [`FromWorker::Refused`](super::message::FromWorker) says why.
pub const REFUSED: u8 = 2;
/// It saved and stopped, as it was asked to.
pub const STOPPED: u8 = 3;
/// The loss is no number any more.
pub const DIVERGED: u8 = 4;
/// It took more of the GPU's memory than its spec allows, and saved.
pub const OUT_OF_GPU_MEMORY: u8 = 5;
/// It took more of the machine's memory than its spec allows, and saved.
pub const OUT_OF_HOST_MEMORY: u8 = 6;
/// It was not started by a server, or can't understand it.
pub const USAGE: u8 = 64;
/// It panicked. The log ends with the message.
pub const PANICKED: u8 = 70;
/// The operating system refused a file: the disk is full, say.
pub const FILE: u8 = 74;
/// It did not begin: another process holds the lock of the job's directory.
pub const LOCKED: u8 = 75;

/// What is known of a worker that ended.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What it worked on.
    pub work: Work,
    /// How the process ended; `None`: nobody saw it.
    pub status: Option<ExitStatus>,
    /// Whether it said that the task is done.
    pub finished: bool,
    /// Whether it said that it stopped, as it was asked to.
    pub stopped: bool,
    /// The reasons that it gave for ending early.
    pub problems: Vec<Problem>,
    /// What is wrong with what it sent.
    pub garbage: Option<String>,
    /// The end of its log.
    pub log: Option<String>,
    /// Whether the system killed a process for want of memory while this one lived.
    pub oom_killer: OomKiller,
}

/// What a worker works on, for the hints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// A job, which can be resumed and asked for less memory.
    #[default]
    Training,
    /// A file, a model or an answer.
    Task,
}

impl Work {
    fn again(self) -> &'static str {
        match self {
            Self::Training => "resume the job",
            Self::Task => "try again",
        }
    }

    fn less_memory(self) -> &'static str {
        match self {
            Self::Training => {
                "lower `train.per_device_train_batch_size` or `data.max_length`, set \
                 `train.gradient_checkpointing` to `block`, or end other programs that use it"
            }
            Self::Task => "use a smaller model or file, or end other programs that use it",
        }
    }
}

/// Whether the system killed a process for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OomKiller {
    /// It did not, or does not tell.
    #[default]
    Quiet,
    /// It did.
    Killed,
}

/// The class of an ending, and what to tell the user; nothing where all is well.
pub fn classify(evidence: &Evidence) -> (Exit, Vec<Problem>) {
    let Evidence { work, status, finished, stopped, problems, garbage, log, oom_killer } = evidence;
    let Some(status) = status else {
        let problem = worker("nobody saw how the worker process ended");
        return (Exit::Lost, vec![problem.hint(work.again())]);
    };
    let crashed = Exit::Crashed { signal: status.signal(), code: status.code() };
    if let Some(garbage) = garbage {
        let problem =
            worker(format!("the worker process sent something that can't be understood: {garbage}"));
        return (crashed, vec![problem.hint(format!("{}; if it happens again, report it", work.again()))]);
    }
    let log = log.as_deref().unwrap_or_default();
    let given = |otherwise: Problem| if problems.is_empty() { vec![otherwise] } else { problems.clone() };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        Some(DONE) if *finished => (Exit::Ok, Vec::new()),
        Some(STOPPED) if *stopped => (Exit::Stopped, Vec::new()),
        Some(REFUSED) => (Exit::Data, given(without_reason(status, log, *work))),
        Some(DIVERGED) => (Exit::Nan, given(without_reason(status, log, *work))),
        Some(OUT_OF_GPU_MEMORY) => (Exit::OomGpu, given(memory("the GPU", *work))),
        Some(OUT_OF_HOST_MEMORY) => (Exit::OomHost, given(memory("the machine", *work))),
        Some(LOCKED) => (Exit::SpawnFailed, given(without_reason(status, log, *work))),
        Some(FILE) => (crashed, given(without_reason(status, log, *work))),
        Some(PANICKED) if lacks_gpu_memory(log) => (Exit::OomGpu, vec![memory("the GPU", *work)]),
        Some(PANICKED) => {
            let problem = worker(format!("the worker process met a fault of its own{}", last_words(log)));
            (
                crashed,
                vec![problem.hint(format!("{}; if it happens again, report it with the log", work.again()))],
            )
        }
        Some(_) => (crashed, vec![without_reason(status, log, *work)]),
        None if lacks_host_memory(status, log, *oom_killer) => {
            (Exit::OomHost, vec![memory("the machine", *work)])
        }
        None => (crashed, vec![killed(status, log, *work)]),
    }
}

/// [`classify`] that writes a crash down and says where.
pub fn explain(evidence: &Evidence, reports: &CrashReports) -> (Exit, Vec<Problem>) {
    let (exit, mut problems) = classify(evidence);
    if !is_crash(exit) {
        return (exit, problems);
    }
    let what = match evidence.work {
        Work::Training => "a worker that trains",
        Work::Task => "a worker for a model, a file or an answer",
    };
    let how: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let crash = Crash { what, how: &how.join("; "), log: evidence.log.as_deref().unwrap_or_default() };
    match reports.write(&crash) {
        Ok(path) => {
            if let Some(problem) = problems.last_mut() {
                let hint = problem.hint.take().map(|hint| format!("{hint}; ")).unwrap_or_default();
                problem.hint = Some(format!("{hint}the crash is written down in `{}`", path.display()));
            }
        }
        Err(error) => tracing::warn!(%error, "a crash can't be written down"),
    }
    (exit, problems)
}

/// The system's count of processes that were killed for want of memory, in this control group or on the machine.
/// `None` where it does not tell.
pub fn oom_kills() -> Option<u64> {
    let count = |text: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|n| n.trim().parse::<u64>().ok())
    };
    // The machine's count holds those of all control groups.
    let whole = fs::read_to_string("/proc/vmstat").ok();
    whole.as_deref().and_then(count).or_else(|| {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        count(&fs::read_to_string(format!("/sys/fs/cgroup/{own}/memory.events")).ok()?)
    })
}

fn lacks_host_memory(status: &ExitStatus, log: &str, oom_killer: OomKiller) -> bool {
    match status.signal() {
        Some(libc::SIGKILL) => oom_killer == OomKiller::Killed,
        // What Rust's allocator says before it gives up.
        Some(libc::SIGABRT) => log.contains("memory allocation of ") && log.contains(" bytes failed"),
        Some(_) | None => false,
    }
}

/// What CubeCL and the driver say. Read from the log, since the panic is often on a thread of theirs.
fn lacks_gpu_memory(log: &str) -> bool {
    ["out of device memory", "out-of-memory error", "OUT_OF_MEMORY"].iter().any(|words| log.contains(words))
}

fn memory(what: &str, work: Work) -> Problem {
    Problem::new(ProblemKind::OutOfMemory, format!("{what} has too little memory for this"))
        .hint(work.less_memory())
}

fn killed(status: &ExitStatus, log: &str, work: Work) -> Problem {
    let signal = status.signal().unwrap_or(0);
    let (name, why) = match signal {
        libc::SIGKILL => (" (SIGKILL)", "somebody killed it"),
        libc::SIGTERM => (" (SIGTERM)", "somebody ended it"),
        libc::SIGSEGV => (" (SIGSEGV)", "a driver or library is at fault, the log may say which"),
        libc::SIGABRT => (" (SIGABRT)", "a driver or library gave up, the log may say why"),
        libc::SIGBUS => (" (SIGBUS)", "a file became shorter while it was read, or the disk has a fault"),
        libc::SIGILL => (" (SIGILL)", "the CPU lacks an instruction that this program was built for"),
        _ => ("", "the log may say why"),
    };
    worker(format!("the worker process was ended by signal {signal}{name}{}", last_words(log)))
        .hint(format!("{why}; {}", work.again()))
}

fn without_reason(status: &ExitStatus, log: &str, work: Work) -> Problem {
    let code = status.code().map_or_else(|| "no".to_owned(), |code| code.to_string());
    worker(format!("the worker process ended with code {code} and without saying why{}", last_words(log)))
        .hint(format!("{}, and look at the log", work.again()))
}

/// The last line of the log, for a sentence.
fn last_words(log: &str) -> String {
    const LONGEST: usize = 400;
    match log.trim_end().lines().next_back().map(str::trim) {
        None | Some("") => String::new(),
        Some(line) => {
            let kept = line.floor_char_boundary(LONGEST);
            format!("; it wrote last: `{}`", &line[..kept])
        }
    }
}

fn worker(message: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Worker, message)
}
