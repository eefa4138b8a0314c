//! The service that the program starts: here a script that reports, and hands the socket to the fake.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::fake::Fake;
use super::{Ran, bare_program, wait_until};

/// `ftl` on its own: beside the one that was built a real `ftl-server` may lie, which would be started first.
fn alone(home: &Path) -> Command {
    let program = home.join("ftl");
    if !program.exists() {
        // By another process: one that this test program starts meanwhile would inherit the file while it is open for
        // writing, and a file that anybody has open so can't be run.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ftl")).arg(&program).status();
        assert!(copied.expect("`cp` runs").success(), "room for a copy");
    }
    bare_program(&program, home)
}

/// A home in which `ftl-server` is a script on the PATH.
struct Home {
    fake: Fake,
    dir: tempfile::TempDir,
}

impl Home {
    fn new(script: impl FnOnce(&Fake) -> String) -> Self {
        let home = Self { fake: Fake::start(), dir: tempfile::tempdir().expect("a directory") };
        let script = script(&home.fake);
        let bin = home.dir.path().join("bin");
        std::fs::create_dir(&bin).expect("a directory");
        let path = bin.join("ftl-server");
        // By another process, as in `alone`.
        let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let written = Command::new("sh").args(["-c", write]).arg(&path).arg(script).status();
        assert!(written.expect("`sh` runs").success(), "a script that can be run");
        home
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join(".local/share/finetunelab")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = alone(self.dir.path());
        let bin = self.dir.path().join("bin");
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().expect("the program runs").into()
    }
}

/// Puts a link to the fake's socket where the program looks for the service.
fn answering(fake: &Fake) -> String {
    format!(
        "echo \"$@ in $(pwd)\" >> \"$HOME/starts\"\ncut -d ' ' -f 6 /proc/$$/stat > \"$HOME/session\"\n\
         echo $$ > \"$HOME/pid\"\necho hello\nln -s {} ftl.sock",
        fake.socket().display()
    )
}

#[test]
fn service_is_started_where_none_runs() {
    let home = Home::new(answering);
    let ran = home.run(&["status"]).ended(0);
    let program = home.dir.path().join("bin/ftl-server");
    assert_eq!(ran.stderr, format!("no service runs; starting {}\n", program.display()));
    let data = std::fs::canonicalize(home.data()).expect("the data directory");
    let starts = std::fs::read_to_string(home.dir.path().join("starts")).expect("the script ran");
    assert_eq!(starts, format!("serve in {}\n", data.display()));
    let read = |name: &str| std::fs::read_to_string(home.dir.path().join(name)).expect("the script ran");
    assert_eq!(read("session"), read("pid"), "it leads a session of its own");
    assert_eq!(std::fs::read_to_string(data.join("server.log")).expect("its log"), "hello\n");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("server.log"))), (0o700, 0o600));
    assert_eq!(home.run(&["status"]).ended(0).stderr, "", "it runs now");
}

#[test]
fn runtime_directory_is_where_the_socket_is_looked_for_first() {
    let home = Home::new(|_| "exit 1".to_owned());
    let runtime = home.dir.path().join("run");
    std::fs::create_dir_all(runtime.join("finetunelab")).expect("a directory");
    home.fake.listen(runtime.join("finetunelab/ftl.sock"));
    let mut command = home.command(&["status"]);
    let ran = Ran::from(command.env("XDG_RUNTIME_DIR", &runtime).output().expect("it runs")).ended(0);
    assert!(ran.stdout.contains("run/finetunelab/ftl.sock"), "{ran:?}");
}

#[test]
fn two_commands_at_once_start_one_service() {
    // Slow enough that the other commands meet the first one at it.
    let home = Home::new(|fake| {
        format!(
            "sleep 0.5
{}",
            answering(fake)
        )
    });
    let start = || {
        let mut command = home.command(&["status", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let children = [start(), start(), start()];
    for child in children {
        Ran::from(child.wait_with_output().expect("it ends")).ended(0);
    }
    let starts = std::fs::read_to_string(home.dir.path().join("starts")).expect("the script ran");
    assert_eq!(starts.lines().count(), 1, "{starts}");
}

#[test]
fn service_that_ends_at_once_is_told_with_its_log() {
    let home = Home::new(|_| "echo 'the database is newer than this program' >&2\nexit 78".to_owned());
    let ran = home.run(&["status", "--json"]).ended(1);
    assert!(ran.stderr.contains("server.log:\nthe database is newer than this program\n"), "{ran:?}");
    let message = &ran.json()["problem"]["message"];
    assert_eq!(message, "the service could not be started: it ended at once, exit status: 78");
}

#[test]
fn missing_program_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let ran = Ran::from(alone(home.path()).env("PATH", "/nowhere").arg("status").output().expect("it runs"))
        .ended(1);
    let expected = "error: no service runs, and `ftl-server` is neither beside `ftl` nor on the PATH; install it, or name a \
                    running one with `--server`\n";
    assert_eq!(ran.stderr, expected);
}

#[test]
fn service_outlives_the_command_that_started_it() {
    let wait = "while [ ! -e \"$HOME/go\" ]; do sleep 0.05; done\necho done >> \"$HOME/starts\"";
    let home = Home::new(|fake| format!("{}\n{wait}", answering(fake)));
    home.run(&["status"]).ended(0);
    std::fs::write(home.dir.path().join("go"), "").expect("a sign");
    let starts = || std::fs::read_to_string(home.dir.path().join("starts")).unwrap_or_default();
    wait_until("the script comes to its end", || starts().contains("done"));
}

#[test]
fn service_that_never_answers_is_waited_for_ten_seconds() {
    let home = Home::new(|_| "echo thinking\nexec sleep 11".to_owned());
    let ran = home.run(&["status"]).ended(1);
    assert!(ran.stderr.contains("server.log:\nthinking\n"), "{ran:?}");
    assert!(
        ran.stderr.contains("error: the service could not be started: it did not answer within 10 s; see "),
        "{ran:?}"
    );
}

#[test]
fn command_that_is_stuck_at_it_is_waited_for_ten_seconds() {
    let home = Home::new(|_| "echo started >> \"$HOME/starts\"".to_owned());
    std::fs::create_dir_all(home.data()).expect("a directory");
    let lock = std::fs::File::create(home.data().join("start.lock")).expect("a file");
    lock.lock().expect("nobody has it");
    let ran = home.run(&["status"]).ended(1);
    assert!(ran.stderr.contains("another command has been starting it for 10 s"), "{ran:?}");
    assert!(!home.dir.path().join("starts").exists(), "a second one was started");
}

#[test]
fn doctor_is_the_services_program_and_starts_no_service() {
    let home =
        Home::new(|_| "echo \"$@\" >> \"$HOME/starts\"\necho '{\"version\":\"1\"}'\nexit 1".to_owned());
    let ran = home.run(&["doctor", "--json"]).ended(1);
    assert_eq!(ran.json()["version"], "1");
    assert_eq!(home.run(&["doctor"]).ended(1).stderr, "");
    let starts = std::fs::read_to_string(home.dir.path().join("starts")).expect("the script ran");
    assert_eq!(starts, "doctor --json\ndoctor\n");
    assert!(!home.data().exists(), "nothing was made for a service");
    let ran = home.run(&["doctor", "--server", "unix:/x"]).ended(2);
    assert_eq!(ran.stderr, "error: --server: this command looks at this machine alone; drop it\n");

    let broken = Home::new(|_| "exit 70".to_owned());
    let ran = broken.run(&["doctor"]).ended(1);
    assert!(ran.stderr.contains("did not tell; it ended with exit status: 70"), "{ran:?}");
    let alone =
        Ran::from(alone(home.dir.path()).env("PATH", "/nowhere").arg("doctor").output().expect("it runs"));
    assert!(alone.ended(1).stderr.contains("is neither beside `ftl` nor on the PATH; install it"));
}
