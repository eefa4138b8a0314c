//! Two services on one data directory.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::support::{Service, command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_service_refuses_and_names_the_first() {
    let home = tempfile::tempdir().expect("a directory");
    let first = Service::start(home.path()).await;
    let mut second = command(home.path());
    second.stderr(Stdio::piped());
    let began = Instant::now();
    let output = second.output().expect("the program starts");
    let elapsed = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    assert!(said.contains("data"), "{said}");
    // No measurement: a service that waits for the lock would wait until the first one ends.
    assert!(elapsed < Duration::from_secs(30), "{elapsed:?}");
    first.client().await.system_info().await.expect("the first one is unharmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_ends_in_order_when_it_is_told_to() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    assert_eq!(service.terminate(), Some(0));
    let again = Service::start(home.path()).await;
    again.client().await.system_info().await.expect("nothing is in the way of the next one");
}
