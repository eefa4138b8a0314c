//! What is written is there for the next process, whole or not at all.

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use turso::{Builder, Connection};

const INSERT: &str = "INSERT INTO entries (namespace, key, value, origin) VALUES (?1, ?2, ?3, ?4) \
                      ON CONFLICT(namespace, key) DO UPDATE SET value = excluded.value, origin = excluded.origin \
                      WHERE entries.origin = 1 AND excluded.origin = 0";
const SELECT: &str = "SELECT value FROM entries WHERE namespace = ?1 AND key = ?2";

/// Nothing here ever waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ftl-turso-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn open(path: &PathBuf) -> Connection {
    now(Builder::new_local(path.to_str().expect("UTF-8")).build()).expect("a file").connect().expect("a connection")
}

fn insert(connection: &Connection, key: &str, value: &[u8], origin: i64) -> u64 {
    let params = ("kernels", key.as_bytes().to_vec(), value.to_vec(), origin);
    now(connection.execute(INSERT, params)).expect("written")
}

fn read(connection: &Connection, key: &str) -> Option<Vec<u8>> {
    let mut rows = now(connection.query(SELECT, ("kernels", key.as_bytes().to_vec()))).expect("read");
    now(rows.next()).expect("a row or none").map(|row| row.get(0).expect("bytes"))
}

#[test]
fn entries_are_there_for_the_next_process_and_for_one_beside() {
    let path = path("entries");
    let (first, beside) = (open(&path), open(&path));
    assert_eq!(insert(&first, "a", b"one", 0), 1);
    assert_eq!(read(&beside, "a"), Some(b"one".to_vec()));
    assert_eq!(insert(&beside, "b", b"two", 0), 1);
    assert_eq!(read(&first, "b"), Some(b"two".to_vec()));
    assert_eq!(read(&open(&path), "b"), Some(b"two".to_vec()));
    assert_eq!(read(&first, "c"), None);
}

#[test]
fn an_entry_stays_as_it_is_unless_it_came_from_elsewhere() {
    let connection = open(&path("conflict"));
    assert_eq!(insert(&connection, "a", b"theirs", 1), 1);
    assert_eq!(insert(&connection, "a", b"ours", 0), 1);
    assert_eq!(insert(&connection, "a", b"another", 0), 0);
    assert_eq!(read(&connection, "a"), Some(b"ours".to_vec()));
    let purge = "DELETE FROM entries WHERE namespace = ?1 AND key = ?2";
    assert_eq!(now(connection.execute(purge, ("kernels", b"a".to_vec()))).expect("written"), 1);
    assert_eq!(read(&connection, "a"), None);
}

#[test]
fn a_torn_end_is_cut_off_and_nothing_before_it_is_lost() {
    let path = path("torn");
    insert(&open(&path), "a", b"whole", 0);
    let length = std::fs::metadata(&path).expect("a file").len();
    insert(&open(&path), "b", &[7; 1000], 0);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
    file.set_len(length + 100).expect("cut");
    let connection = open(&path);
    assert_eq!((read(&connection, "a"), read(&connection, "b")), (Some(b"whole".to_vec()), None));
    insert(&connection, "c", b"after", 0);
    let connection = open(&path);
    assert_eq!((read(&connection, "a"), read(&connection, "c")), (Some(b"whole".to_vec()), Some(b"after".to_vec())));
}

#[test]
fn a_file_of_another_kind_begins_anew() {
    let path = path("kind");
    std::fs::File::create(&path).expect("a file").write_all(b"SQLite format 3, or so").expect("written");
    let connection = open(&path);
    assert_eq!(read(&connection, "a"), None);
    insert(&connection, "a", b"one", 0);
    assert_eq!(read(&open(&path), "a"), Some(b"one".to_vec()));
}

#[test]
fn other_statements_are_refused() {
    let error = now(open(&path("refused")).execute("VACUUM", ())).expect_err("no such statement");
    assert_eq!(error.to_string(), "the stand-in for Turso does not know `VACUUM`");
}
