//! Flags, addresses, exit codes, and output that nobody reads.

use std::io::Read as _;
use std::process::{Command, Stdio};

use ftl_core::job::State;
use ftl_core::{Problem, ProblemKind};
use tonic::{Code, Status};

use super::fake::{Fake, refused};
use super::{Ran, bare, ftl, job, run, spec_file};

#[test]
fn unknown_flags_and_commands_are_wrong_usage() {
    let fake = Fake::start();
    let ran = run(&fake, &["jobs", "ls", "--lmit", "3"]).ended(2);
    assert!(ran.stderr.contains("unexpected argument '--lmit'"), "{ran:?}");
    assert_eq!(ran.stdout, "");
    let problem = &run(&fake, &["--json", "job"]).ended(2).json()["problem"];
    assert_eq!(problem["kind"], "invalid_value");
    assert_eq!(problem["message"], "unrecognized subcommand 'job'");
    assert_eq!(problem["hint"], "see `ftl --help`");
}

#[test]
fn help_and_version_are_results() {
    let fake = Fake::start();
    let ran = run(&fake, &["--help"]).ended(0);
    for command in
        ["train", "jobs", "data", "models", "config", "chat", "generate", "status", "gpus", "completions"]
    {
        assert!(ran.stdout.contains(&format!("\n  {command} ")), "{command}: {ran:?}");
    }
    assert!(run(&fake, &["--version"]).ended(0).stdout.starts_with("ftl "));
}

#[test]
fn addresses_that_can_not_be_used_are_refused() {
    let fake = Fake::start();
    let cases = [
        ("unix:", "--server: `unix:` names no socket"),
        ("tcp://127.0.0.1:1", "--server: `tcp://127.0.0.1:1` is no address of a server"),
        ("http://example.org:80", "--server: `http://example.org:80` is not on this machine"),
    ];
    for (address, expected) in cases {
        let ran = run(&fake, &["--server", address, "status"]).ended(2);
        assert!(ran.stderr.starts_with(&format!("error: {expected}")), "{ran:?}");
    }
    let ran: Ran = ftl(&fake, &["status"]).env("FTL_SERVER", "nowhere").output().expect("it runs").into();
    assert!(ran.ended(2).stderr.starts_with("error: FTL_SERVER: `nowhere` is no address"));
}

#[test]
fn named_server_that_does_not_answer_is_not_started() {
    let fake = Fake::start();
    let address = format!("unix:{}", fake.dir.path().join("nobody.sock").display());
    let ran = run(&fake, &["--server", &address, "status"]).ended(1);
    assert!(ran.stderr.starts_with(&format!("error: nobody answers at `{address}`")), "{ran:?}");
    assert!(!ran.stderr.contains("starting"), "{ran:?}");
    let document = run(&fake, &["--server", &address, "--json", "status"]).ended(1).json();
    assert_eq!(document["problem"]["kind"], "unavailable");
    assert_eq!(document["problems"][0], document["problem"]);
}

#[test]
fn token_comes_from_the_named_file_or_the_users_own() {
    let fake = Fake::start();
    fake.world().token = Some("sesame".to_owned());
    let address = format!("http://127.0.0.1:{}", fake.listen_on_port());
    let home = fake.dir.path();
    let ran = run(&fake, &["--server", &address, "status"]).ended(1);
    assert_eq!(ran.stderr, "error: the token is wrong or missing\n");
    let token = home.join("sesame.txt");
    std::fs::write(&token, "sesame\n").expect("a token");
    let token = token.to_str().expect("UTF-8");
    run(&fake, &["--server", &address, "--token-file", token, "status"]).ended(0);
    let own = home.join(".local/share/finetunelab");
    std::fs::create_dir_all(&own).expect("a directory");
    std::fs::write(own.join("token"), "sesame").expect("a token");
    run(&fake, &["--server", &address, "status"]).ended(0);
    let missing = run(&fake, &["--server", &address, "--token-file", "/nowhere/token", "status"]).ended(2);
    assert!(missing.stderr.starts_with("error: --token-file: the token can't be read from `/nowhere/token`"));
}

#[test]
fn token_for_a_socket_is_refused() {
    let fake = Fake::start();
    let ran = run(&fake, &["status", "--token-file", "/x"]).ended(2);
    assert!(
        ran.stderr.contains("--token-file: a token is for a service at an http address alone"),
        "{ran:?}"
    );
}

#[test]
fn errors_of_the_service_have_exit_codes_by_whose_fault_they_are() {
    let fake = Fake::start();
    let spec = spec_file(fake.dir.path());
    let spec = spec.to_str().expect("UTF-8");
    let problem = Problem::new(ProblemKind::BadData, "row 3 is empty").at("train.jsonl:3").hint("remove it");
    let cases = [
        (refused(Code::InvalidArgument, problem.clone()), 2, "bad_data"),
        (refused(Code::AlreadyExists, problem.clone()), 2, "bad_data"),
        (refused(Code::FailedPrecondition, problem.clone()), 1, "bad_data"),
        (refused(Code::ResourceExhausted, problem), 1, "bad_data"),
        (Status::internal("internal error"), 70, "internal"),
        (Status::unimplemented("what?"), 1, "protocol"),
        (Status::permission_denied("not you"), 1, "denied"),
    ];
    for (status, code, kind) in cases {
        let name = format!("{:?}", status.code());
        fake.world().refusal = Some(status);
        let ran = run(&fake, &["train", spec, "--json"]).ended(code);
        assert_eq!(ran.json()["problem"]["kind"], kind, "{name}");
    }
    fake.world().refusal = Some(refused(
        Code::InvalidArgument,
        Problem::new(ProblemKind::BadData, "row 3 is empty").at("train.jsonl:3").hint("remove it"),
    ));
    let ran = run(&fake, &["train", spec]).ended(2);
    assert_eq!(ran.stderr, "error: train.jsonl:3: row 3 is empty; remove it\n");
}

#[test]
fn reader_that_goes_away_ends_the_program_quietly() {
    let fake = Fake::start();
    for n in 0..3_000 {
        fake.world().add(job(n, "a name that takes its place", State::Succeeded));
    }
    let mut child = ftl(&fake, &["jobs", "ls", "--limit", "3000", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let status = child.wait().expect("it ends");
    let mut stderr = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut stderr).expect("text");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn output_that_can_not_be_written_is_a_failure() {
    let fake = Fake::start();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let ran: Ran = ftl(&fake, &["status"]).stdout(full).output().expect("it runs").into();
    assert!(ran.ended(1).stderr.starts_with("error: No space left on device"));
}

#[test]
fn completions_are_scripts_that_their_shells_can_read() {
    let home = tempfile::tempdir().expect("a directory");
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let ran: Ran = bare(home.path()).args(["completions", shell]).output().expect("it runs").into();
        let script = ran.ended(0).stdout;
        assert!(script.contains("checkpoints") && script.contains("follow"), "{shell}");
        let path = home.path().join(shell);
        std::fs::write(&path, script).expect("a script");
        match Command::new(shell).arg(check).arg(&path).output() {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {checked:?}"),
            // The words of the script were looked at; its syntax is looked at where the shell is.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{shell}"),
        }
    }
    let ran: Ran = bare(home.path()).args(["completions", "cmd"]).output().expect("it runs").into();
    assert!(ran.ended(2).stderr.contains("invalid value 'cmd'"));
}
