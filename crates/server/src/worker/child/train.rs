//! Trains a job. Whatever becomes of the server, what was trained is saved: a socket that is full makes nobody wait but
//! the thread that sends, and one that is closed asks the training to save and end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use ftl_core::event::NoteLevel;
use ftl_core::job::Phase;
use ftl_core::{
    Event, EventRecord, JobSpec, Observer, Problem, ProblemKind, Signals, StopReason, StopSignal,
};
use ftl_trainer::error::TrainError;
use ftl_trainer::plan::Memory;
use ftl_trainer::train::event_log::EventLog;
use ftl_trainer::train::output::holds_run;
use ftl_trainer::train::{Begin, Outcome, train};
use signal_hook::consts::{SIGHUP, SIGTERM};

use super::link::{Link, Standing, lock};
use super::{hello, say};
use crate::worker::exit;
use crate::worker::journal::{Journal, attempt_directory, journal_path, read_journal};
use crate::worker::lock::{Holder, LockError, take};
use crate::worker::message::{FromWorker, Given, ToWorker};

/// How long an earlier worker, which was told to save and end, is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// How long the last frames may take, where the server is slow.
const LAST_FRAMES: Duration = Duration::from_secs(30);
/// Events of a frame: far below its limit, whatever they say.
const EVENTS_OF_A_FRAME: usize = 1_000;
/// Bytes of the journal that a frame is made of.
const BYTES_OF_A_FRAME: usize = 1 << 20;

/// What to train.
pub(super) struct Assignment {
    pub(super) spec: JobSpec,
    pub(super) directory: PathBuf,
    pub(super) attempt: u32,
    pub(super) from: Option<PathBuf>,
    pub(super) given: Option<Given>,
}

/// Does it, and says how it ended.
pub(super) fn run(link: Link, nonce: String, assignment: Assignment) -> u8 {
    let signals = Signals::default();
    let (last, code) = match begin(&link, nonce, &assignment, &signals) {
        Ok(code) => return code,
        Err(Early::Refused { problems, code }) => (FromWorker::Refused { problems }, code),
        Err(Early::GivenUp) => (FromWorker::Stopped { step: 0 }, exit::STOPPED),
    };
    if let Err(error) = link.send(&last) {
        say(format_args!("the server is gone: {error}"));
    }
    code
}

/// The training did not begin.
enum Early {
    /// For these reasons, which are of the sort that the exit code says.
    Refused { problems: Vec<Problem>, code: u8 },
    /// It was asked to stop, or nobody is there any more.
    GivenUp,
}

impl Early {
    fn refused(problems: Vec<Problem>, code: u8) -> Self {
        Self::Refused { problems, code }
    }

    fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::refused(vec![storage(format!("can't {what} `{}`: {error}", path.display()))], exit::FILE)
    }
}

fn begin(link: &Link, nonce: String, assignment: &Assignment, signals: &Signals) -> Result<u8, Early> {
    let Assignment { spec, directory, attempt, from, given } = assignment;
    let stop = &signals.stop;
    let no_thread = |error: io::Error| {
        let problem = Problem::new(ProblemKind::Worker, format!("a thread can't be started: {error}"));
        Early::refused(vec![problem.hint("look at the machine's limits of processes")], exit::FILE)
    };
    // Again and again: a shutdown may send SIGTERM to all processes, and the end of the server sends another. SIGHUP comes
    // to a worker that was paused when its server died: the system wakes those whom nobody would wake any more.
    for signal in [SIGTERM, SIGHUP] {
        let stop = stop.clone();
        // SAFETY: the action only touches an atomic.
        let registered =
            unsafe { signal_hook::low_level::register(signal, move || stop.raise(StopReason::Shutdown)) };
        registered.map_err(no_thread)?;
    }
    let (for_server, save) = (stop.clone(), signals.save.clone());
    let listen = move |message| match message {
        Some(ToWorker::Stop) => for_server.raise(StopReason::User),
        Some(ToWorker::Save) => save.raise(),
        Some(ToWorker::Task { .. } | ToWorker::Ask { .. } | ToWorker::Abort { .. }) => {
            say(format_args!("the server sent a frame that is meant for another task"));
        }
        None => for_server.raise(StopReason::Shutdown),
    };
    link.listen(listen).map_err(no_thread)?;

    let holder = Holder { pid: std::process::id(), attempt: *attempt };
    let _lock = match take(directory, &holder, LOCK_PATIENCE, &|| stop.raised().is_some()) {
        Ok(lock) => lock,
        Err(LockError::GivenUp) => return Err(Early::GivenUp),
        Err(error @ LockError::Held(_)) => {
            let problem = Problem::new(ProblemKind::Worker, error.to_string());
            return Err(Early::refused(
                vec![problem.hint("wait until it has saved, then resume the job")],
                exit::LOCKED,
            ));
        }
        Err(LockError::Io(error)) => return Err(Early::file("lock", directory, &error)),
    };
    let mut spec = spec.clone();
    if let Some(Given { device, why: _ }) = given {
        spec.device.kind = Some(device.clone());
    }
    let spec = spec.check().map_err(|problems| Early::refused(problems, exit::REFUSED))?;
    let begin = where_to_begin((directory, *attempt), from.as_deref())
        .map_err(|error| Early::refused(vec![file_problem(&error)], exit::FILE))?;

    let attempt_dir = attempt_directory(directory, *attempt);
    fs::create_dir_all(&attempt_dir).map_err(|error| Early::file("create", &attempt_dir, &error))?;
    let journal = journal_path(directory, *attempt);
    let mut log = EventLog::default();
    log.open(&journal).map_err(|error| Early::refused(vec![file_problem(&error)], exit::FILE))?;
    let read = read_journal(directory, *attempt, 0).map_err(|error| Early::file("read", &journal, &error))?;

    // Sent by this thread, so that it is the first frame.
    if link.send(&hello(nonce)).is_err() {
        return Err(Early::GivenUp);
    }
    let standing = Arc::new(Standing::default());
    let feed = Arc::new(Feed::default());
    link.beat(Arc::clone(&standing), stop.clone()).map_err(no_thread)?;
    let sent = feed.start(link.clone(), read, stop.clone()).map_err(no_thread)?;
    let mut recorder = Recorder { log, standing, feed, stop: stop.clone(), failed: None };

    if let Some(Given { device, why: Some(why) }) = given {
        let message = format!("to compute on {device}: {why}");
        recorder.observe(&Event::Note { level: NoteLevel::Info, message });
    }
    let outcome = train(&spec, (directory, begin), &mut recorder, signals);
    let Recorder { failed, feed, .. } = recorder;
    let (last, code) = match (outcome, failed) {
        (Ok(_), Some(problem)) => (FromWorker::Refused { problems: vec![problem] }, exit::FILE),
        (Ok(Outcome::Finished(_)), None) => (FromWorker::Finished, exit::DONE),
        (Ok(Outcome::Stopped { step, .. }), None) => (FromWorker::Stopped { step }, exit::STOPPED),
        (Err(error), _) => ended_by(&error),
    };
    feed.end(last);
    if sent.recv_timeout(LAST_FRAMES).is_err() {
        say(format_args!("the server did not take the last events; they are in the journal"));
    }
    Ok(code)
}

/// An attempt may end before it has written where the run starts from; then the next one is told as the first was.
fn where_to_begin((directory, attempt): (&Path, u32), from: Option<&Path>) -> Result<Begin, TrainError> {
    Ok(match from {
        None if attempt == 1 => Begin::New,
        Some(checkpoint) if attempt == 1 || !holds_run(directory)? => Begin::From(checkpoint.to_owned()),
        None | Some(_) => Begin::Resume,
    })
}

fn ended_by(error: &TrainError) -> (FromWorker, u8) {
    let (problems, code) = match error {
        TrainError::Refused(problems) => (problems.clone(), exit::REFUSED),
        TrainError::Diverged(problem) => (vec![problem.clone()], exit::DIVERGED),
        TrainError::OutOfMemory { memory: Memory::Gpu, problem } => {
            (vec![problem.clone()], exit::OUT_OF_GPU_MEMORY)
        }
        TrainError::OutOfMemory { memory: Memory::Cpu, problem } => {
            (vec![problem.clone()], exit::OUT_OF_HOST_MEMORY)
        }
        TrainError::File { .. } => (vec![file_problem(error)], exit::FILE),
    };
    (FromWorker::Refused { problems }, code)
}

fn file_problem(error: &TrainError) -> Problem {
    let reason = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    storage(format!("{error}{reason}"))
}

fn storage(message: String) -> Problem {
    Problem::new(ProblemKind::Storage, message)
        .hint("make room on the disk, or look at the directory's permissions, then resume the job")
}

/// Writes every event down before it is sent.
struct Recorder {
    log: EventLog,
    standing: Arc<Standing>,
    feed: Arc<Feed>,
    stop: StopSignal,
    /// Why the journal has an end before the run's.
    failed: Option<Problem>,
}

impl Observer for Recorder {
    fn observe(&mut self, event: &Event) {
        match event {
            // The server decides about states, by how this process ends.
            Event::State { .. } => return,
            Event::Phase { phase, done, .. } => {
                self.standing.entered(*phase);
                if let (Phase::Training, Some(step)) = (phase, done) {
                    self.standing.reached(*step);
                }
            }
            Event::Stepped(stepped) => self.standing.reached(stepped.step),
            Event::Note { .. }
            | Event::Evaluated(_)
            | Event::Sampled(_)
            | Event::Saved { .. }
            | Event::Removed { .. }
            | Event::Damaged { .. }
            | Event::Exported { .. } => {}
        }
        if self.failed.is_some() {
            return;
        }
        match self.log.record(event) {
            Ok(()) => self.feed.grown(),
            // An observer can't fail: what is trained is saved, and the run ends as one that can't write.
            Err(error) => {
                self.failed = Some(file_problem(&error));
                self.stop.raise(StopReason::Shutdown);
            }
        }
    }
}

/// Tells the sending thread that there is more in the journal. It reads from there, so that a server that takes
/// nothing costs no memory.
#[derive(Debug, Default)]
struct Feed {
    news: Mutex<News>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct News {
    has_grown: bool,
    last: Option<FromWorker>,
}

impl Feed {
    fn grown(&self) {
        lock(&self.news).has_grown = true;
        self.wake.notify_one();
    }

    /// Sends this behind everything else.
    fn end(&self, last: FromWorker) {
        lock(&self.news).last = Some(last);
        self.wake.notify_one();
    }

    /// Starts the thread. The receiver is told when the last frame is sent, or never will be.
    fn start(
        self: &Arc<Self>,
        link: Link,
        mut journal: Journal,
        stop: StopSignal,
    ) -> io::Result<mpsc::Receiver<()>> {
        let feed = Arc::clone(self);
        let (done, sent) = mpsc::channel();
        thread::Builder::new().name("sender".to_owned()).spawn(move || {
            loop {
                let last = feed.wait();
                if let Err(error) = send_events(&link, &mut journal) {
                    say(format_args!("events can't be sent, so the run saves and ends: {error}"));
                    stop.raise(StopReason::Shutdown);
                    break;
                }
                if let Some(last) = last {
                    if let Err(error) = link.send(&last) {
                        say(format_args!("the server is gone: {error}"));
                    }
                    break;
                }
            }
            // Nobody may wait for it any more.
            let _ = done.send(());
        })?;
        Ok(sent)
    }

    /// Waits for news; the last frame, where it is time for it.
    fn wait(&self) -> Option<FromWorker> {
        let news = lock(&self.news);
        let is_idle = |news: &mut News| !news.has_grown && news.last.is_none();
        let mut news = self.wake.wait_while(news, is_idle).unwrap_or_else(PoisonError::into_inner);
        news.has_grown = false;
        news.last.take()
    }
}

/// Sends what the journal has, in as few frames as their limit allows.
fn send_events(link: &Link, journal: &mut Journal) -> Result<(), Box<dyn std::error::Error>> {
    loop {
        let mut events: Vec<EventRecord> = Vec::new();
        let before = journal.n_bytes();
        while events.len() < EVENTS_OF_A_FRAME && journal.n_bytes() - before < BYTES_OF_A_FRAME as u64 {
            match journal.next() {
                Some(record) => events.push(record?),
                None => break,
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        link.send(&FromWorker::Events(events))?;
    }
}
