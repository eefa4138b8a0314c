//! Figures, printed for a person: `cargo test -p ftl-store --release -- --ignored --nocapture rates`.

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use ftl_core::PageRequest;
use ftl_core::job::State;
use ftl_store::Store;

use crate::given::{created, record, running, saved, stepped, store, to};

const N_ROWS: u64 = 1_000_000;

#[test]
#[ignore = "prints figures that depend on the machine"]
fn rows_per_second() {
    let given = store();
    let store = &given.store;
    let (id, attempt) = running(store, 1);

    let n_slow = 200;
    let began = Instant::now();
    for bits in 0..n_slow {
        created(store, 100 + bits);
    }
    println!("changes of state: {:.0}/s", n_slow as f64 / began.elapsed().as_secs_f64());

    for (what, rows_per_call) in [("1 row a call", 1), ("10 rows a call", 10), ("1,000 rows a call", 1_000)] {
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
        println!("ingest, {what}: {:.0} rows/s", n_rows as f64 / began.elapsed().as_secs_f64());
    }

    let first = store.last_attempt_seq(&id, attempt.number).wait().unwrap() + 1;
    for from in (first..=N_ROWS).step_by(1_000) {
        let records = (from..from + 1_000).map(|seq| record(seq, stepped(seq))).collect();
        store.append_events(&id, attempt.number, records).wait().unwrap();
    }
    let records = (N_ROWS + 1..N_ROWS + 11).map(|seq| record(seq, saved(seq))).collect();
    store.append_events(&id, attempt.number, records).wait().unwrap();

    for limit in [256, 1_024, 8_192] {
        let began = Instant::now();
        let (mut after, mut n_rows) = (0, 0);
        loop {
            let events = store.events_after(&id, after, limit).wait().unwrap();
            let Some(last) = events.last() else { break };
            after = last.record.seq;
            n_rows += events.len();
        }
        println!("replay, {limit} at a time: {:.0} rows/s", n_rows as f64 / began.elapsed().as_secs_f64());
    }
    println!("database: {} MB", std::fs::metadata(given.path()).unwrap().len() / 1_000_000);

    store.transition(&id, to(State::Cancelled)).wait().unwrap();
    let began = Instant::now();
    store.delete_job(&id).wait().unwrap();
    println!("removing the job with its rows: {} ms", began.elapsed().as_millis());
}

#[test]
#[ignore = "prints figures that depend on the machine"]
fn time_to_list_50_of_10_000_jobs() {
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
    for states in [&[][..], &[State::Failed], &[State::Succeeded, State::Failed, State::Running]] {
        let (mut millis, mut token) = (Vec::new(), None);
        for _ in 0..200 {
            let began = Instant::now();
            let request = PageRequest { page_size: 50, page_token: token };
            let page = store.jobs(&request, states).wait().unwrap();
            millis.push(began.elapsed().as_secs_f64() * 1e3);
            token = page.next_page_token;
        }
        millis.sort_by(f64::total_cmp);
        println!("50 of 10,000 jobs in {states:?}: median {:.2} ms, p99 {:.2} ms", millis[100], millis[198]);
    }
}
