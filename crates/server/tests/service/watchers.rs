//! Many who watch one job, one of whom does not read.

use std::process::{Command, Stdio};
use std::time::Duration;

use ftl_core::job::State;

use super::support::{Service, events, reaches, signal, socket, spec, steps, submit};

const N_WATCHERS: usize = 99;
const N_STEPS: u64 = 300;

/// Set for the process that watches and is stopped.
const WATCH: &str = "FTL_TEST_WATCH";

/// The hundredth watcher, as a process of its own: this test is started again with `WATCH` set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_process() {
    let Ok(asked) = std::env::var(WATCH) else { return };
    let (home, id) = asked.split_once('|').expect("`home|job`");
    let endpoint = ftl_client::Endpoint::Unix(socket(home.as_ref()));
    let client = ftl_client::Client::connect(&endpoint).await.expect("it answers");
    let seen = steps(&events(&client, &id.parse().expect("an id"), 0).await);
    assert_eq!(seen, (1..=N_STEPS).collect::<Vec<_>>());
    println!("saw them all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_watchers_see_every_event_although_one_does_not_read() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    // Something to be queued behind, so that all watch from the start.
    let first = submit(&client, &spec("first", super::support::ENDLESS)).await;
    let job = submit(&client, &spec("watched", N_STEPS)).await;
    let mut sleeper = Command::new(std::env::current_exe().expect("a test has a program"))
        .args(["--exact", "watchers::watcher_process", "--nocapture"])
        .env(WATCH, format!("{}|{}", home.path().display(), job.id))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("this program starts");
    let watchers: Vec<_> = (0..N_WATCHERS)
        .map(|_| {
            let (endpoint, id) = (service.endpoint(), job.id.clone());
            tokio::spawn(async move {
                let client = ftl_client::Client::connect(&endpoint).await.expect("it answers");
                events(&client, &id, 0).await
            })
        })
        .collect();
    // Time to connect; if it is too short the test shows less, not something else.
    tokio::time::sleep(Duration::from_secs(1)).await;
    signal(sleeper.id(), libc::SIGSTOP);
    client.cancel_job(&first.id).await.expect("it runs");
    reaches(&client, &job.id, State::Succeeded).await;

    let mut all = Vec::new();
    for watcher in watchers {
        all.push(watcher.await.expect("no panic"));
    }
    assert_eq!(steps(&all[0]), (1..=N_STEPS).collect::<Vec<_>>());
    let seqs =
        |events: &[ftl_core::job::JobEvent]| events.iter().map(|event| event.record.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&all[0]), (1..=all[0].len() as u64).collect::<Vec<_>>());
    for seen in &all {
        assert_eq!(seqs(seen), seqs(&all[0]));
    }

    // What the sleeper missed is still there for it.
    signal(sleeper.id(), libc::SIGCONT);
    let output = tokio::task::spawn_blocking(move || {
        let status = sleeper.wait();
        (status, std::io::read_to_string(sleeper.stdout.take().expect("it is piped")))
    });
    let (status, said) = output.await.expect("no panic");
    assert!(status.expect("a child").success());
    assert!(said.expect("text").contains("saw them all"));
}
