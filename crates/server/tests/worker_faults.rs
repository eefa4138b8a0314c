//! Workers that send nonsense, print without end, panic or die: what the server makes of them.

mod worker_support;

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use ftl_core::job::Exit;
use ftl_core::{Event, EventRecord, Problem, ProblemKind};
use ftl_server::worker::exit::{OUT_OF_GPU_MEMORY, OUT_OF_HOST_MEMORY};
use ftl_server::worker::frame;
use ftl_server::worker::journal::log_path;
use ftl_server::worker::message::{FromWorker, ToWorker};
use ftl_server::worker::{Ending, Report, guarded};
use tempfile::TempDir;
use worker_support::{PATIENCE, events, reports, script, spec, task, this_test, workers_of};

/// What comes of a training by this program.
async fn ending(program: &Path, dir: &TempDir) -> (Vec<Report>, Ending) {
    let workers = workers_of(program, dir.path());
    let mut training = workers.train(task(&spec(&[]), &dir.path().join("job"), 1)).await.expect("a process");
    let training = async {
        let reports = reports(&mut training).await;
        (reports, training.wait().await)
    };
    tokio::time::timeout(PATIENCE, training).await.expect("an ending")
}

fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

/// The message of the only problem.
fn message(ending: &Ending) -> &str {
    match &ending.problems[..] {
        [problem] => &problem.message,
        problems => panic!("{problems:?}"),
    }
}

#[tokio::test]
async fn frames_that_are_none_end_the_worker() {
    for (sent, why) in [
        (r"\377\377\377\377", "a frame of 4294967295 bytes exceeds the limit of 4194304"),
        (r"\002\000\000\000{}", "a frame can't be understood: expected value at line 1 column 2"),
        (r"\012\000\000\000{", "the stream ended within a frame"),
        (r"\012\000", "the stream ended within a frame"),
        (r#"\016\000\000\000{"dance":null}"#, "a frame can't be understood: unknown variant `dance`"),
        (
            r#"\044\000\000\000{"hello":{"nonce":"other","pid":12}}"#,
            "the greeting is meant for another server",
        ),
    ] {
        let dir = directory();
        let wait = if why.ends_with("within a frame") { "" } else { "; sleep 300" };
        let program = script(dir.path(), &format!("printf '{sent}' >&3{wait}"));
        let (_, ending) = ending(&program, &dir).await;
        assert!(matches!(ending.exit, Exit::Crashed { .. }), "{ending:?}");
        let expected = format!("the worker process sent something that can't be understood: {why}");
        assert!(message(&ending).starts_with(&expected), "{} for {expected}", message(&ending));
    }
}

#[tokio::test]
async fn a_worker_that_ends_in_silence_did_not_do_its_work() {
    for (text, exit, expected) in [
        ("exit 0", Exit::Crashed { signal: None, code: Some(0) }, "ended with code 0 and without saying why"),
        (
            "echo oh no; exit 9",
            Exit::Crashed { signal: None, code: Some(9) },
            "ended with code 9 and without saying why; it wrote last: `oh no`",
        ),
        ("exit 2", Exit::Data, "ended with code 2 and without saying why"),
        ("kill -SEGV $$", Exit::Crashed { signal: Some(11), code: None }, "ended by signal 11 (SIGSEGV)"),
        // A process that a driver left behind holds the socket open.
        (
            "sleep 300 & echo gone; exit 9",
            Exit::Crashed { signal: None, code: Some(9) },
            "ended with code 9 and without saying why; it wrote last: `gone`",
        ),
    ] {
        let dir = directory();
        let (_, ending) = ending(&script(dir.path(), text), &dir).await;
        assert_eq!((ending.exit, ending.finished), (exit, false));
        assert!(message(&ending).ends_with(expected), "{} for {expected}", message(&ending));
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_as_the_fault() {
    let dir = directory();
    let workers = workers_of(&dir.path().join("nothing"), dir.path());
    let error = workers.train(task(&spec(&[]), &dir.path().join("job"), 1)).await.expect_err("no program");
    assert_eq!(
        error.to_string(),
        "a worker process can't be started: No such file or directory (os error 2); \
         look at the machine's limits of memory, processes and open files"
    );
}

#[tokio::test]
async fn a_log_without_end_keeps_its_beginning_and_its_end() {
    let dir = directory();
    let text = "echo the beginning; yes 0123456789abcdef | head -c 400000000; echo; echo the end >&2; exit 9";
    let (_, ending) = ending(&script(dir.path(), text), &dir).await;
    assert_eq!(ending.log_tail.as_deref().and_then(|tail| tail.lines().last()), Some("the end"));
    assert!(ending.log_tail.is_some_and(|tail| tail.len() <= 4096));
    let log = fs::read_to_string(log_path(&dir.path().join("job"), 1)).expect("a log");
    assert!(log.len() <= 8 << 20, "{} bytes", log.len());
    assert!(log.starts_with("the beginning\n"));
    assert!(log.contains("\n[... the middle of this log was left out ...]\n"));
    assert!(log.ends_with("the end\n"));
}

/// Greets as a worker does.
fn greet() -> UnixStream {
    // SAFETY: the server put a socket there for this process alone.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(3) });
    let first = frame::read::<ToWorker>(&mut socket).expect("a frame");
    let Some(ToWorker::Task { nonce, .. }) = first else { panic!("no task: {first:?}") };
    frame::write(&mut socket, &FromWorker::Hello { nonce, pid: std::process::id() }).expect("a server");
    socket
}

#[test]
#[ignore = "another test starts it"]
fn panics() {
    let code = guarded(|| {
        let _socket = greet();
        panic!("the {} is out", "light")
    });
    std::process::exit(i32::from(code));
}

#[tokio::test]
async fn a_panic_is_shown_with_its_message() {
    let dir = directory();
    let (reports, ending) = ending(&this_test(dir.path(), "panics"), &dir).await;
    assert_eq!(reports, [Report::Started]);
    assert_eq!(ending.exit, Exit::Crashed { signal: None, code: Some(70) });
    assert!(
        message(&ending)
            .starts_with("the worker process met a fault of its own; it wrote last: `thread `panics`")
    );
    assert!(message(&ending).ends_with(": the light is out`"), "{}", message(&ending));
    let tail = ending.log_tail.expect("a log");
    assert!(tail.ends_with(": the light is out"), "{tail}");
    let log = fs::read_to_string(log_path(&dir.path().join("job"), 1)).expect("a log");
    assert!(log.contains("guarded"), "no backtrace: {log}");
}

#[test]
#[ignore = "another test starts it"]
fn lacks_gpu_memory() {
    let code = guarded(|| {
        let _socket = greet();
        let device =
            std::thread::spawn(|| panic!("out of device memory allocating 1048576 bytes\n0: somewhere"));
        // As CubeCL does it: the device's thread says why, and whoever waits for it only that it is gone.
        device.join().expect("the device's thread lives");
        0
    });
    std::process::exit(i32::from(code));
}

#[test]
#[ignore = "another test starts it"]
fn lacks_memory() {
    let _socket = greet();
    let layout = std::alloc::Layout::from_size_align(1 << 40, 8).expect("a layout");
    std::alloc::handle_alloc_error(layout);
}

#[tokio::test]
async fn a_lack_of_memory_is_told_from_a_crash() {
    for (name, exit, expected) in [
        ("lacks_gpu_memory", Exit::OomGpu, "the GPU has too little memory for this"),
        ("lacks_memory", Exit::OomHost, "the machine has too little memory for this"),
    ] {
        let dir = directory();
        let (_, ending) = ending(&this_test(dir.path(), name), &dir).await;
        assert_eq!(ending.exit, exit, "{ending:?}");
        assert_eq!((message(&ending), ending.problems[0].kind), (expected, ProblemKind::OutOfMemory));
        let hint = ending.problems[0].hint.as_deref().unwrap_or_default();
        assert!(hint.starts_with("lower `train.per_device_train_batch_size`"), "{hint}");
    }
}

/// Ends as a run that took more than `device.max_memory`.
fn took_more_than_it_may(code: u8) -> ! {
    let mut socket = greet();
    let problem = Problem::new(ProblemKind::OutOfMemory, "the run took 9 GiB").at("device.max_memory");
    frame::write(&mut socket, &FromWorker::Refused { problems: vec![problem] }).expect("a server");
    std::process::exit(i32::from(code));
}

#[test]
#[ignore = "another test starts it"]
fn exceeds_its_limit_on_the_gpu() {
    took_more_than_it_may(OUT_OF_GPU_MEMORY);
}

#[test]
#[ignore = "another test starts it"]
fn exceeds_its_limit_on_the_cpu() {
    took_more_than_it_may(OUT_OF_HOST_MEMORY);
}

#[tokio::test]
async fn a_limit_that_was_exceeded_is_a_lack_of_memory_in_the_words_of_the_run() {
    for (name, exit) in
        [("exceeds_its_limit_on_the_gpu", Exit::OomGpu), ("exceeds_its_limit_on_the_cpu", Exit::OomHost)]
    {
        let dir = directory();
        let (_, ending) = ending(&this_test(dir.path(), name), &dir).await;
        assert_eq!((ending.exit, message(&ending)), (exit, "the run took 9 GiB"), "{ending:?}");
    }
}

fn record(seq: u64) -> EventRecord {
    let message = format!("note {seq}");
    let event = Event::Note { level: ftl_core::event::NoteLevel::Info, message };
    EventRecord { seq, time_unix_ms: 1, event }
}

#[test]
#[ignore = "another test starts it"]
fn sends_half_of_its_journal() {
    let mut socket = greet();
    let job = std::env::current_exe().map(|_| std::env::var_os("JOB")).ok().flatten();
    let attempt = Path::new(&job.expect("a directory")).join("attempts/1");
    fs::create_dir_all(&attempt).expect("a directory");
    let lines: Vec<String> =
        (1..=2500).map(|seq| serde_json::to_string(&record(seq)).expect("JSON") + "\n").collect();
    fs::write(attempt.join("events.jsonl"), lines.concat() + "{\"seq\":25").expect("a journal");
    for seq in [1, 2, 2, 3] {
        frame::write(&mut socket, &FromWorker::Events(vec![record(seq)])).expect("a server");
    }
    std::process::exit(9);
}

#[tokio::test]
async fn events_that_were_written_down_and_not_sent_are_reported_once() {
    let dir = directory();
    let job = dir.path().join("job");
    let program = this_test(dir.path(), "sends_half_of_its_journal");
    let text = fs::read_to_string(&program).expect("a script");
    let text = text.replace("exec ", &format!("JOB='{}' exec ", job.display()));
    fs::write(&program, text).expect("a script");
    let (reports, _) = ending(&program, &dir).await;
    assert_eq!(events(&reports), (1..=2500).map(record).collect::<Vec<_>>());
    let lots: Vec<usize> = reports
        .iter()
        .filter_map(|report| match report {
            Report::Events(events) => Some(events.len()),
            Report::Started | Report::Heartbeat { .. } => None,
        })
        .collect();
    assert!(lots.iter().all(|n| *n <= 1000), "{lots:?}");
}

#[test]
#[ignore = "another test starts it"]
fn shows_what_it_inherited() {
    let _socket = greet();
    let mut files: Vec<String> = fs::read_dir("/proc/self/fd")
        .expect("a list")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let has = |name: &str| std::env::var_os(name).is_some();
    println!("\nfiles {}", files.len());
    println!("secret {} socket {} path {}", has("FTL_TOKEN"), has("NOTIFY_SOCKET"), has("PATH"));
    std::process::exit(9);
}

#[tokio::test]
#[ignore = "another test starts it"]
async fn server_with_secrets() {
    use std::os::fd::AsRawFd;

    let dir = directory();
    let open = fs::File::open("/dev/null").expect("a file");
    // What whoever started the server left open: not marked to be closed.
    // SAFETY: dup takes a number.
    let leaked = unsafe { libc::dup(open.as_raw_fd()) };
    assert!(leaked > 3);
    let (_, ending) = ending(&this_test(dir.path(), "shows_what_it_inherited"), &dir).await;
    let tail = ending.log_tail.expect("a log");
    // stdin, stdout, stderr, the socket, and the list itself.
    assert!(tail.contains("files 5\nsecret false socket false path true"), "{tail}");
}

#[test]
fn a_worker_inherits_neither_files_nor_secrets() {
    let server = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "server_with_secrets", "--ignored"])
        .envs([("FTL_TOKEN", "secret"), ("NOTIFY_SOCKET", "/run/notify")])
        .output()
        .expect("this program again");
    let said = String::from_utf8_lossy(&server.stdout);
    assert!(server.status.success() && said.contains("1 passed"), "{said}");
}
