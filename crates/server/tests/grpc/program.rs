//! `ftl-server` as a program: what it prints, and how it exits.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ftl_client::{Client, Endpoint};

fn serve(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftl-server"));
    command.arg("serve").arg("--data-dir").arg(home.join("data")).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn program_says_where_it_listens_and_a_second_one_exits_with_78() {
    let home = tempfile::tempdir().expect("a directory");
    let mut first = serve(home.path());
    let mut child =
        first.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let socket = home.path().join("data/ftl.sock");
    assert_eq!(line(), format!("listening on unix:{}", socket.display()));
    let tcp = line();
    let token = home.path().join("data/token");
    assert!(tcp.starts_with("listening on http://127.0.0.1:"), "{tcp}");
    assert!(tcp.ends_with(&format!(", token in {}", token.display())), "{tcp}");
    let client =
        Client::connect(&Endpoint::Unix(socket)).await.expect("whoever read the line finds it ready");
    assert_eq!(client.system_info().await.expect("it answers").pid, child.id());

    let second = serve(home.path()).output().expect("the program");
    assert_eq!(second.status.code(), Some(78), "{}", said(&second));
    let expected = format!("is in use by process {}", child.id());
    assert!(said(&second).contains(&expected), "{}", said(&second));

    // SAFETY: kill only sends a signal, to a child that nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
    // On another thread: the client has to hear that the service ends, and to leave.
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic");
    assert_eq!(status.expect("a child").code(), Some(0));
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_right() {
    let home = tempfile::tempdir().expect("a directory");
    let cases = [
        (["--listen", "0.0.0.0:0"], "listen on 127.0.0.1 or [::1]"),
        (["--listen", "localhost"], "invalid socket address"),
        (["--log-format", "xml"], "possible values: text, json"),
    ];
    for (arguments, expected) in cases {
        let output = serve(home.path()).args(arguments).output().expect("the program");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    }
    let output = serve(home.path()).env("FTL_LOG", "ftl=loud").output().expect("the program");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("the filter `ftl=loud` in FTL_LOG can't be read"), "{}", said(&output));
}

#[test]
fn logs_are_json_where_that_is_asked_for() {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = serve(home.path());
    let mut child = command
        .args(["--log-format", "json"])
        .env("FTL_LOG", "info")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let line = lines.next().expect("a line").expect("text");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (line["level"].as_str(), line["message"].as_str()),
        (Some("INFO"), Some("the service is ready"))
    );
    // SAFETY: kill only sends a signal, to a child that nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}
