//! A process that is killed, and one that may not write any more.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;

use diesel::prelude::*;
use diesel::sql_types::Text;
use ftl_core::JobId;
use ftl_core::job::State;
use ftl_store::{Reply, Store, StoreError, check_file};

use crate::given::{note, record, running, stepped, store};

/// Where the child finds the database.
const PATH: &str = "FTL_STORE_TEST_DATABASE";

#[derive(QueryableByName)]
struct Check {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

fn child(name: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env(PATH, path);
    command
}

/// The numbers that a child says are kept, as they come.
fn acknowledged(child: &mut Child) -> impl Iterator<Item = u64> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("kept ")?.parse().ok())
}

fn open_in_child() -> Store {
    let path = std::env::var_os(PATH).expect("the parent test says where");
    Store::open(path.as_ref(), |_, _| {}).unwrap()
}

/// Appends without end, with several calls on their way at a time, and says what is kept.
#[test]
#[ignore = "the child of killed_writers_lose_nothing_that_was_acknowledged"]
fn writes_until_it_is_killed() {
    let store = open_in_child();
    let id = JobId::from_bits(1);
    let first = store.last_attempt_seq(&id, 1).wait().unwrap() + 1;
    let (sender, replies) = sync_channel::<(u64, Reply<u64>)>(20);
    let appending = std::thread::spawn(move || {
        for from in (first..).step_by(30) {
            let records = (from..from + 30)
                .map(|seq| record(seq, if seq % 10 == 0 { note("n") } else { stepped(seq) }))
                .collect();
            let reply = store.append_events(&id, 1, records);
            if sender.send((from + 29, reply)).is_err() {
                return;
            }
            // Now and then a change that interrupts the gathering.
            if from % 7 == 0 {
                store.set_setting("from", &from.to_string()).wait().unwrap();
            }
        }
    });
    for (seq, reply) in replies {
        reply.wait().unwrap();
        println!("kept {seq}");
    }
    appending.join().unwrap();
}

#[test]
fn killed_writers_lose_nothing_that_was_acknowledged() {
    let given = store();
    let (id, _) = running(&given.store, 1);
    let path = given.path();
    drop(given.store);
    let mut kept = 0;
    for round in 0..12 {
        let mut writer = child("crash::writes_until_it_is_killed", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut numbers = acknowledged(&mut writer);
        let n_before_the_kill = 1 + round * 5 % 17;
        let last = numbers.by_ref().take(n_before_the_kill).last().expect("the child writes");
        writer.kill().unwrap();
        // What it said before it died counts too.
        let last = numbers.last().unwrap_or(last);
        writer.wait().unwrap();
        assert!(last > kept, "round {round}: {last} after {kept}");

        let store = Store::open(&path, |_, _| {}).unwrap();
        kept = store.last_attempt_seq(&id, 1).wait().unwrap();
        assert!(kept >= last, "round {round}: {last} was acknowledged, {kept} is there");
        let events = store.events_after(&id, 3, u32::MAX).wait().unwrap();
        let seqs = events.iter().map(|event| event.record.seq);
        assert!(seqs.eq(4..=kept + 3), "round {round}");
        assert_eq!(store.job(&id).wait().unwrap().unwrap().seq, kept + 3);
    }
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let check: Check = diesel::sql_query("PRAGMA integrity_check").get_result(&mut connection).unwrap();
    assert_eq!(check.integrity_check, "ok");
}

/// Appends until the system refuses, says what is kept, and that the rest of the store goes on.
#[test]
#[ignore = "the child of a_refused_write_is_a_typed_error_and_loses_nothing"]
fn writes_until_it_is_refused() {
    let store = open_in_child();
    let id = JobId::from_bits(1);
    let append = |from| {
        let records = (from..from + 500).map(|seq| record(seq, stepped(seq))).collect();
        store.append_events(&id, 1, records).wait()
    };
    for from in (1..).step_by(500) {
        match append(from) {
            Ok(_) => println!("kept {}", from + 499),
            Err(StoreError::Io(text)) => {
                println!("refused: {text}");
                // Again, and not as if it had been kept.
                assert!(matches!(append(from), Err(StoreError::Io(_))));
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(store.job(&id).wait().unwrap().unwrap().state, State::Running);
    println!("reads go on");
}

/// The soft limit of a file's size; where it is reached, writing fails instead of ending the process.
fn limit_files(bytes: libc::rlim_t) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a `rlimit` that lives as long as the calls; signal only sets how one is taken.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &mut limits), 0);
        limits.rlim_cur = bytes;
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limits), 0);
    }
}

/// What readers share of a log that is not long: without it nobody can read either.
const SHARED_BYTES: u64 = 32_768;

/// Is refused again and again, each time after more has been written, and goes on each time.
#[test]
#[ignore = "the child of wherever_a_write_is_refused_nothing_is_lost_and_the_store_goes_on"]
fn is_refused_again_and_again() {
    let store = open_in_child();
    let id = JobId::from_bits(1);
    let log = std::path::PathBuf::from(std::env::var_os(PATH).unwrap());
    let log = log.with_file_name("ftl.db-wal");
    let append = |from: u64| {
        let records = (from..from + 40).map(|seq| record(seq, stepped(seq))).collect();
        store.append_events(&id, 1, records).wait()
    };
    let mut from = 1;
    let mut n_refused = 0;
    for round in 0..120_u64 {
        // Room for so much of the log and no more: in the middle of a page, of a frame, of its header.
        let written = log.metadata().map_or(0, |facts| facts.len());
        limit_files(written.max(SHARED_BYTES) + round * 700 % 9_000);
        for _ in 0..12 {
            match append(from) {
                Ok(_) => from += 40,
                Err(StoreError::Io(_) | StoreError::OutcomeUnknown(_)) => {
                    n_refused += 1;
                    break;
                }
                Err(other) => panic!("round {round}: {other:?}"),
            }
        }
        // Reading goes on, and so does writing when there is room, in the same store.
        assert_eq!(store.job(&id).wait().unwrap().unwrap().state, State::Running);
        limit_files(libc::RLIM_INFINITY);
        append(from).unwrap();
        from += 40;
    }
    println!("refused {n_refused}");
    println!("kept {}", from - 1);
}

#[test]
fn wherever_a_write_is_refused_nothing_is_lost_and_the_store_goes_on() {
    let given = store();
    let (id, _) = running(&given.store, 1);
    let path = given.path();
    drop(given.store);
    let output = child("crash::is_refused_again_and_again", &path).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let number = |word: &str| -> u64 {
        said.lines().find_map(|line| line.strip_prefix(word)).unwrap().trim().parse().unwrap()
    };
    assert!(number("refused") > 60, "{said}");
    assert_eq!(check_file(&path).unwrap().findings, []);
    let store = Store::open(&path, |_, _| {}).unwrap();
    assert_eq!(store.last_attempt_seq(&id, 1).wait().unwrap(), number("kept"));
    let events = store.events_after(&id, 3, u32::MAX).wait().unwrap();
    assert!(events.iter().map(|event| event.record.seq).eq(4..=number("kept") + 3));
}

#[cfg(unix)]
#[test]
fn a_refused_write_is_a_typed_error_and_loses_nothing() {
    let given = store();
    let (id, _) = running(&given.store, 1);
    let path = given.path();
    drop(given.store);
    // A file may not grow beyond so many blocks; without the trap the signal would end the child first.
    let direct = child("crash::writes_until_it_is_refused", &path);
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$@\"", "sh"])
        .arg(direct.get_program())
        .args(direct.get_args())
        .env(PATH, &path)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("refused: disk I/O error") && said.contains("reads go on"), "{said}");
    let kept = said.lines().filter_map(|line| line.strip_prefix("kept ")).next_back().unwrap();
    let kept: u64 = kept.parse().unwrap();

    let store = Store::open(&path, |_, _| {}).unwrap();
    assert_eq!(store.last_attempt_seq(&id, 1).wait().unwrap(), kept);
    let records = vec![record(kept + 1, stepped(kept + 1))];
    assert_eq!(store.append_events(&id, 1, records).wait().unwrap(), kept + 4);
}
