//! `ftl-server db`, beside a service and without one.

use std::path::Path;
use std::process::{Command, Output};

use ftl_core::job::State;

use super::support::{Service, reaches, spec, submit};

fn db(arguments: &[&str], data_dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftl-server"));
    command.arg("db").args(arguments).arg("--data-dir").arg(data_dir).output().expect("the program runs")
}

fn document(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_is_checked_and_copied_beside_a_service_and_without_one() {
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = home.path().join("data");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let job = submit(&client, &spec("short", 20)).await;
    reaches(&client, &job.id, State::Succeeded).await;

    let beside = db(&["check", "--json"], &data_dir);
    assert_eq!(beside.status.code(), Some(0), "{beside:?}");
    let found = document(&beside);
    assert_eq!((&found["whole"], &found["checkup"]["n_jobs"]), (&true.into(), &1.into()), "{found}");
    let copy = home.path().join("copy.db");
    let path = copy.to_str().expect("text").to_owned();
    assert_eq!(db(&["backup", &path], &data_dir).status.code(), Some(0));
    let again = db(&["backup", &path, "--json"], &data_dir);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert_eq!(document(&again)["problem"]["kind"], "output_exists");
    let nowhere = db(&["backup", "/nowhere/at/all", "--json"], &data_dir);
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
    // The service is as good as before.
    reaches(&client, &submit(&client, &spec("another", 5)).await.id, State::Succeeded).await;

    assert_eq!(service.terminate(), Some(0));
    let without = db(&["check"], &data_dir);
    let said = String::from_utf8_lossy(&without.stdout).into_owned();
    assert!(
        without.status.success() && said.contains("has 2 jobs") && said.ends_with("it is whole\n"),
        "{said}"
    );

    let database = data_dir.join("ftl.db");
    let mut bytes = std::fs::read(&database).expect("it is there");
    let end = bytes.len() - 2 * 4_096;
    bytes[end..].fill(0xab);
    std::fs::write(&database, bytes).expect("it can be written");
    let damaged = db(&["check", "--json"], &data_dir);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    let found = document(&damaged);
    assert_eq!(found["whole"], false);
    assert!(found["checkup"]["findings"].as_array().is_some_and(|findings| !findings.is_empty()), "{found}");

    let empty = db(&["check", "--json"], &home.path().join("nothing"));
    assert_eq!(empty.status.code(), Some(2), "{empty:?}");
    assert!(
        document(&empty)["problem"]["message"].as_str().is_some_and(|said| said.contains("there is none"))
    );
    for left_over in ["ftl.db-wal", "ftl.db-shm"] {
        let removed = std::fs::remove_file(data_dir.join(left_over));
        assert!(removed.is_ok() || !data_dir.join(left_over).exists(), "{removed:?}");
    }
    std::fs::copy(&copy, &database).expect("a backup is put back");
    assert_eq!(db(&["check"], &data_dir).status.code(), Some(0));
}
