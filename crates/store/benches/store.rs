//! What the store takes and gives, on the disk where temporary files are, with `synchronous=FULL`:
//! `cargo bench -p ftl-store --bench store -- --record FILE`.

#![expect(clippy::unwrap_used, reason = "what fails here ends it")]
#![expect(clippy::print_stdout, reason = "the figures")]

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use ftl_core::PageRequest;
use ftl_core::job::State;
use ftl_store::{Store, check_file};

use given::{Given, created, record, running, saved, stepped, store, to};

#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
#[path = "../tests/store/given.rs"]
mod given;

const N_ROWS: u64 = 1_000_000;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let record = words.iter().position(|word| word == "--record").and_then(|place| words.get(place + 1));
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut figures = vec![
        "\"what\": \"the store with synchronous=FULL\"".to_owned(),
        "\"command\": \"cargo bench -p ftl-store --bench store\"".to_owned(),
        format!("\"n_threads\": {n_threads}"),
    ];
    figures.extend(rows());
    figures.extend(lists());
    let text = format!("{{\n  {}\n}}", figures.join(",\n  "));
    println!("{text}");
    if let Some(path) = record {
        std::fs::write(path, text + "\n").unwrap();
    }
}

fn rows() -> Vec<String> {
    let given = store();
    let store = &given.store;
    let (id, attempt) = running(store, 1);
    let mut figures = Vec::new();

    let n_slow = 200;
    let began = Instant::now();
    for bits in 0..n_slow {
        created(store, 100 + bits);
    }
    figures.push(per_sec("changes_of_state_per_sec", n_slow, began));

    for rows_per_call in [1, 10, 1_000] {
        let n_rows = N_ROWS / 5;
        let first = store.last_attempt_seq(&id, attempt.number).wait().unwrap() + 1;
        let began = Instant::now();
        let mut replies = Vec::new();
        for from in (first..first + n_rows).step_by(rows_per_call) {
            let records = (from..from + rows_per_call as u64).map(|seq| record(seq, stepped(seq))).collect();
            replies.push(store.append_events(&id, attempt.number, records));
        }
        for reply in replies {
            reply.wait().unwrap();
        }
        figures.push(per_sec(&format!("ingested_rows_per_sec_by_{rows_per_call}"), n_rows, began));
    }

    let first = store.last_attempt_seq(&id, attempt.number).wait().unwrap() + 1;
    for from in (first..=N_ROWS).step_by(1_000) {
        let records = (from..from + 1_000).map(|seq| record(seq, stepped(seq))).collect();
        store.append_events(&id, attempt.number, records).wait().unwrap();
    }
    let records = (N_ROWS + 1..N_ROWS + 11).map(|seq| record(seq, saved(seq))).collect();
    store.append_events(&id, attempt.number, records).wait().unwrap();

    for limit in [32, 256, 1_000, 8_192] {
        let began = Instant::now();
        let (mut after, mut n_rows) = (0, 0);
        loop {
            let events = store.events_after(&id, after, limit).wait().unwrap();
            let Some(last) = events.last() else { break };
            after = last.record.seq;
            n_rows += events.len() as u64;
        }
        figures.push(per_sec(&format!("replayed_rows_per_sec_by_{limit}"), n_rows, began));
    }
    figures.push(format!("\"database_mb\": {}", megabytes(&given)));

    let began = Instant::now();
    assert_eq!(check_file(&given.path()).unwrap().findings, []);
    figures.push(format!("\"check_millis\": {}", began.elapsed().as_millis()));
    let copy = given.folder.path().join("copy.db");
    let began = Instant::now();
    store.back_up(&copy).wait().unwrap();
    figures.push(format!("\"backup_millis\": {}", began.elapsed().as_millis()));

    store.transition(&id, to(State::Cancelled)).wait().unwrap();
    let began = Instant::now();
    store.delete_job(&id).wait().unwrap();
    figures.push(format!("\"removing_the_job_millis\": {}", began.elapsed().as_millis()));
    figures
}

fn per_sec(name: &str, n: u64, began: Instant) -> String {
    format!("\"{name}\": {:.0}", n as f64 / began.elapsed().as_secs_f64())
}

fn megabytes(given: &Given) -> u64 {
    std::fs::metadata(given.path()).unwrap().len() / 1_000_000
}

fn lists() -> Vec<String> {
    let given = store();
    created(&given.store, 1);
    let path = given.path();
    drop(given.store);
    let copies = "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 10000) \
                  INSERT INTO jobs (id, name, state, problems, step, n_attempts, seq, created_unix_ms, \
                                    ended_unix_ms, directory, spec) \
                  SELECT printf('job-%010d', x), name, iif(x % 7, 'SUCCEEDED', 'FAILED'), problems, x, 1, x, x, \
                         x, directory, spec FROM n, jobs WHERE jobs.number = 1";
    SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute(copies).unwrap();
    let store = Store::open(&path, |_, _| {}).unwrap();
    let cases: [(&str, &[State]); 3] = [
        ("any", &[]),
        ("one", &[State::Failed]),
        ("three", &[State::Succeeded, State::Failed, State::Running]),
    ];
    let mut figures = Vec::new();
    for (name, states) in cases {
        let (mut millis, mut token) = (Vec::new(), None);
        for _ in 0..200 {
            let began = Instant::now();
            let request = PageRequest { page_size: 50, page_token: token };
            let page = store.jobs(&request, states).wait().unwrap();
            millis.push(began.elapsed().as_secs_f64() * 1e3);
            token = page.next_page_token;
        }
        millis.sort_by(f64::total_cmp);
        let (middle, end) = (millis[100], millis[198]);
        figures.push(format!(
            "\"list_50_of_10000_jobs_in_{name}_state_millis\": {{ \"p50\": {middle:.2}, \"p99\": {end:.2} }}"
        ));
    }
    figures
}
