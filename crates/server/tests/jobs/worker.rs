//! A worker that trains nothing. It takes the same lock, sends the same frames and ends with the same codes as the real one,
//! when the test says so: by a word in the file `command` of the job's directory, or in `command` beside all jobs.
//!
//! | word | what it does |
//! |---|---|
//! | `finish` | is done |
//! | `refuse` | refuses the data |
//! | `crash` | dies of a signal |
//! | `save` | writes a checkpoint, and goes on |
//!
//! Whoever computes holds a file lock of the place too. Where another process has it, two were given one place: that is
//! written down, and every test looks for it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ftl_core::inference::{FinishReason, InferencePart};
use ftl_core::{Event, EventRecord, Problem, ProblemKind};
use ftl_server::worker::exit;
use ftl_server::worker::frame;
use ftl_server::worker::journal::{attempt_directory, journal_path};
use ftl_server::worker::lock::{Holder, take};
use ftl_server::worker::message::{FromWorker, Given, Task, ToWorker};
use serde::{Deserialize, Serialize};

/// What commands are written to.
pub const COMMAND: &str = "command";
/// Where it is written down that two were at one place.
pub const VIOLATIONS: &str = "violations";
/// What a worker was told, in its job's directory.
pub const TOLD: &str = "told.json";
/// Between two looks at the commands.
const LOOK: Duration = Duration::from_millis(5);
const BEAT: Duration = Duration::from_secs(1);

/// What a worker was told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub device: String,
    pub from: Option<PathBuf>,
    pub attempt: u32,
}

#[test]
#[ignore = "other tests start it in the place of the program"]
fn scripted_worker() {
    let terminated = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&terminated)).expect("a signal");
    // SAFETY: the server put a socket there for this process alone.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(3) });
    let code = match frame::read::<ToWorker>(&mut socket) {
        Ok(Some(ToWorker::Task { nonce, task: Task::Train { directory, attempt, from, given, .. } })) => {
            let Given { device, why: _ } = given.expect("the service gives a place");
            train(socket, (nonce, terminated), (&directory, Told { device, from, attempt }))
        }
        Ok(Some(ToWorker::Task { nonce, task: Task::Infer { model, device, .. } })) => {
            answer(socket, nonce, (&model, &device))
        }
        // The service is gone already.
        Ok(None) | Err(_) => exit::DONE,
        Ok(Some(other)) => panic!("{other:?}"),
    };
    std::process::exit(i32::from(code));
}

fn train(
    socket: UnixStream,
    (nonce, terminated): (String, Arc<AtomicBool>),
    (directory, told): (&Path, Told),
) -> u8 {
    let home = directory.parent().and_then(Path::parent).expect("jobs are in a data directory").to_owned();
    let holder = Holder { pid: std::process::id(), attempt: told.attempt };
    let gone = || terminated.load(Ordering::SeqCst);
    let Ok(_lock) = take(directory, &holder, Duration::from_secs(60), &gone) else { return exit::STOPPED };
    let _place = at_place(&home, &told.device);
    fs::create_dir_all(attempt_directory(directory, told.attempt)).expect("a directory");
    fs::write(directory.join(TOLD), serde_json::to_vec(&told).expect("JSON")).expect("a file");
    let mut sending = socket.try_clone().expect("a descriptor");
    if frame::write(&mut sending, &FromWorker::Hello { nonce, pid: std::process::id() }).is_err() {
        return exit::STOPPED;
    }
    let stopped = listen(socket);
    let mut n_saved = 0;
    let (mut beaten, mut n_beats) = (Instant::now(), 0);
    loop {
        if gone() || *stopped.lock().expect("no panic") {
            let _ = frame::write(&mut sending, &FromWorker::Stopped { step: 1 });
            return exit::STOPPED;
        }
        match command(directory, &home).as_deref() {
            Some("finish") => {
                let _ = frame::write(&mut sending, &FromWorker::Finished);
                return exit::DONE;
            }
            Some("refuse") => {
                let problems = vec![Problem::new(ProblemKind::BadData, "row 7 is empty")];
                let _ = frame::write(&mut sending, &FromWorker::Refused { problems });
                return exit::REFUSED;
            }
            Some("crash") => {
                // SAFETY: kill only sends a signal, to this process.
                unsafe { libc::kill(std::process::id().cast_signed(), libc::SIGKILL) };
            }
            Some("save") => {
                n_saved += 1;
                let event = save(directory, (told.attempt, n_saved));
                let _ = frame::write(&mut sending, &FromWorker::Events(vec![event]));
            }
            Some(other) => panic!("`{other}` is no command"),
            None => {}
        }
        if beaten.elapsed() > BEAT {
            beaten = Instant::now();
            n_beats += 1;
            let _ = frame::write(
                &mut sending,
                &FromWorker::Heartbeat { step: n_saved, phase: None, pulse: n_beats },
            );
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether the service wants an end, or is gone.
fn listen(mut socket: UnixStream) -> Arc<Mutex<bool>> {
    let stopped = Arc::new(Mutex::new(false));
    let heard = Arc::clone(&stopped);
    std::thread::spawn(move || {
        loop {
            match frame::read::<ToWorker>(&mut socket) {
                Ok(Some(ToWorker::Stop)) | Ok(None) | Err(_) => break,
                Ok(Some(_)) => {}
            }
        }
        *heard.lock().expect("no panic") = true;
    });
    stopped
}

/// The next command: one for this job is taken, one for all stays.
fn command(directory: &Path, home: &Path) -> Option<String> {
    let path = directory.join(COMMAND);
    if let Ok(word) = fs::read_to_string(&path) {
        fs::remove_file(&path).expect("only this worker takes it");
        return Some(word);
    }
    fs::read_to_string(home.join(COMMAND)).ok()
}

fn save(directory: &Path, (attempt, seq): (u32, u64)) -> EventRecord {
    let step = u64::from(attempt) * 100 + seq;
    let checkpoint = directory.join(format!("checkpoint-{step}"));
    fs::create_dir_all(&checkpoint).expect("a directory");
    fs::write(checkpoint.join("weights"), b"weights").expect("a file");
    let path = checkpoint.to_str().expect("a path of this test").to_owned();
    let record = EventRecord { seq, time_unix_ms: seq, event: Event::Saved { step, path, bytes: 7 } };
    let mut journal = OpenOptions::new()
        .create(true)
        .append(true)
        .open(journal_path(directory, attempt))
        .expect("a journal");
    let line = format!("{}\n", serde_json::to_string(&record).expect("JSON"));
    journal.write_all(line.as_bytes()).expect("room");
    record
}

/// Takes the place, or writes down that somebody has it.
fn at_place(home: &Path, device: &str) -> File {
    let file = File::create(home.join(format!("place-{device}"))).expect("a file");
    if file.try_lock().is_err() {
        let mut all =
            OpenOptions::new().create(true).append(true).open(home.join(VIOLATIONS)).expect("a file");
        writeln!(all, "two at {device}").expect("room");
    }
    file
}

/// Answers each question with one word, the second it is asked, but waits while there is a file `hold` in the model.
fn answer(mut socket: UnixStream, nonce: String, (model, device): (&Path, &str)) -> u8 {
    let _place = (device != "cpu").then(|| at_place(model.parent().expect("a directory"), device));
    let mut send = |message| frame::write(&mut socket, &message).is_ok();
    if !send(FromWorker::Hello { nonce, pid: std::process::id() }) {
        return exit::DONE;
    }
    loop {
        let question = frame::read::<ToWorker>(&mut socket);
        let Ok(Some(ToWorker::Ask { id, .. })) = question else { return exit::DONE };
        let mut part = |part| frame::write(&mut socket, &FromWorker::Part { id, part }).is_ok();
        part(InferencePart::Started { device: device.to_owned(), prompt_tokens: 1 });
        while model.join("hold").exists() {
            std::thread::sleep(LOOK);
        }
        part(InferencePart::Text { text: "word".to_owned() });
        let stop_reason = FinishReason::MaxNewTokens;
        part(InferencePart::Finished { stop_reason, new_tokens: 1, elapsed_millis: 1 });
    }
}
