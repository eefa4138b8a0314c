//! `ftl-server doctor`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ftl_client::{Client, Endpoint};
use ftl_server::systemd::units::units;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ftl-server");

fn doctor(home: &Path) -> (Option<i32>, Value) {
    let output = Command::new(PROGRAM)
        .args(["doctor", "--json", "--data-dir"])
        .arg(home.join("data"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .output()
        .expect("the program");
    let value = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.code(), value)
}

fn says(report: &Value, expected: &str) -> bool {
    let findings = report["findings"].as_array().expect("a list");
    findings.iter().any(|finding| finding["message"].as_str().is_some_and(|text| text.contains(expected)))
}

fn units_of(home: &Path) -> PathBuf {
    home.join("config/systemd/user")
}

#[test]
fn machine_without_a_service_is_well_and_stays_without() {
    let home = tempfile::tempdir().expect("a directory");
    let (code, report) = doctor(home.path());
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["service"]["standing"], "absent");
    assert_eq!(
        (&report["data"]["exists"], &report["data"]["database"]),
        (&Value::Bool(false), &"absent".into())
    );
    assert!(report["machine"]["devices"].as_array().is_some_and(|devices| !devices.is_empty()), "{report}");
    assert_eq!(report["systemd"]["installed"], "absent");
    assert!(!home.path().join("data").exists(), "nothing was made");
    let output = Command::new(PROGRAM).arg("doctor").arg("--data-dir").arg(home.path()).output().expect("it");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("can train on ") && text.contains("service         none runs"), "{text}");
}

#[tokio::test]
async fn service_that_runs_is_asked_for_its_version() {
    let home = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--data-dir"])
        .arg(home.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut line)
        .expect("a line");
    let socket = home.path().join("data/ftl.sock");
    Client::connect(&Endpoint::Unix(socket.clone())).await.expect("it answers");
    let path = home.path().to_owned();
    let (code, report) = tokio::task::spawn_blocking(move || doctor(&path)).await.expect("no panic");
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["service"]["standing"], "answers", "{report}");
    assert_eq!(report["service"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["service"]["pid"], child.id());
    assert_eq!((&report["data"]["database"], &report["data"]["mode"]), (&"current".into(), &"700".into()));

    // One that runs and can't be reached is broken.
    std::fs::remove_file(&socket).expect("removed");
    let path = home.path().to_owned();
    let (code, report) = tokio::task::spawn_blocking(move || doctor(&path)).await.expect("no panic");
    assert_eq!((code, &report["service"]["standing"]), (Some(1), &"silent".into()), "{report}");
    assert!(says(&report, &format!("process {}", child.id())), "{report}");
    // SAFETY: kill only sends a signal, to a child that nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic");
    assert_eq!(status.expect("a child").code(), Some(0));
}

#[test]
fn what_is_wrong_with_the_data_is_found() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    std::fs::create_dir(&data).expect("made");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("set");
    std::fs::write(data.join("token"), "0".repeat(64)).expect("written");
    std::fs::set_permissions(data.join("token"), std::fs::Permissions::from_mode(0o644)).expect("set");
    std::fs::write(data.join("ftl.db"), "no database at all, but text").expect("written");
    let (code, report) = doctor(home.path());
    assert_eq!(code, Some(1), "{report}");
    for expected in
        ["is open to other users (mode 755)", "can be read by others (mode 644)", "ftl.db` can't be read"]
    {
        assert!(says(&report, expected), "`{expected}` in {report}");
    }
    assert_eq!(report["data"]["database"], "unreadable");
}

#[test]
fn units_of_another_version_or_of_a_program_that_moved_are_found() {
    let home = tempfile::tempdir().expect("a directory");
    let directory = units_of(home.path());
    std::fs::create_dir_all(&directory).expect("made");
    let write = |program: &Path, change: fn(String) -> String| {
        for unit in units(program, None).expect("writable") {
            std::fs::write(directory.join(unit.name), change(unit.text)).expect("written");
        }
    };
    write(Path::new(PROGRAM), |text| text);
    let (code, report) = doctor(home.path());
    assert_eq!((code, &report["systemd"]["installed"]), (Some(0), &"current".into()), "{report}");
    assert_eq!(report["systemd"]["program"], PROGRAM);

    write(Path::new(PROGRAM), |text| text.replace("WatchdogSec=30\n", ""));
    let (code, report) = doctor(home.path());
    assert_eq!((code, &report["systemd"]["installed"]), (Some(0), &"other".into()), "{report}");
    assert!(says(&report, "is not what this version installs"), "{report}");

    write(&home.path().join("moved/ftl-server"), |text| text);
    let (code, report) = doctor(home.path());
    assert_eq!(code, Some(1), "{report}");
    assert!(says(&report, "moved/ftl-server`, which is not there"), "{report}");
}
