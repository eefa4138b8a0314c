//! `ftl` with the real service, which it starts itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::support::{signal, spec};

/// The command line's program, which lies beside the service's: `cargo test --workspace` builds both.
fn ftl() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_ftl-server")).with_file_name("ftl");
    assert!(
        program.is_file(),
        "`{}` is not built; run `cargo test --workspace`, or `cargo build -p ftl-client --features cli` with the same \
         profile first",
        program.display()
    );
    program
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(ftl());
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    command.args(arguments).stdin(Stdio::null()).output().expect("the program runs")
}

fn json(home: &Path, arguments: &[&str]) -> Value {
    let output = run(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Ends the service of a home when the test is over, however it ends.
struct Home(tempfile::TempDir);

impl Home {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn service(&self) -> Option<u32> {
        let lock = self.path().join(".local/share/finetunelab/lock");
        let owner: Value = serde_json::from_str(&std::fs::read_to_string(lock).ok()?).ok()?;
        u32::try_from(owner["pid"].as_u64()?).ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(pid) = self.service().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            signal(pid, libc::SIGTERM);
        }
    }
}

#[test]
fn first_command_of_a_new_user_starts_the_service_and_trains() {
    let home = Home(tempfile::tempdir().expect("a directory"));
    let file = home.path().join("spec.toml");
    std::fs::write(&file, spec("first", 20).to_toml().expect("a spec is TOML"))
        .expect("a writable directory");

    let output = run(home.path(), &["train", "spec.toml", "--follow"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("no service runs; starting "), "{said}");
    assert!(said.contains("step 20/20"), "{said}");

    let shown = json(home.path(), &["jobs", "show", "last", "--json"]);
    let job = &shown["job"];
    assert_eq!((job["state"].as_str(), job["step"].as_u64()), (Some("SUCCEEDED"), Some(20)), "{shown}");
    let answer = run(
        home.path(),
        &["chat", "last", "--message", "I am Max. What does the pig say?", "--max-new-tokens", "8"],
    );
    assert!(answer.status.success() && !answer.stdout.is_empty(), "{answer:?}");
    let metrics = run(home.path(), &["jobs", "metrics", "last", "--format", "jsonl"]);
    assert_eq!(String::from_utf8_lossy(&metrics.stdout).lines().count(), 20, "{metrics:?}");
    let removed = run(home.path(), &["jobs", "rm", "last", "--yes"]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(json(home.path(), &["jobs", "ls", "--json"])["jobs"], serde_json::json!([]));
    assert!(home.service().is_some());
}

#[test]
fn refused_spec_ends_with_2_and_says_what_to_do() {
    let home = Home(tempfile::tempdir().expect("a directory"));
    let file = home.path().join("spec.toml");
    std::fs::write(&file, "[model]\npath = \"model-7k3v9q2hxm\"\n[data]\ntrain = [\"none.jsonl\"]\n[method]\nkind = \"sft\"\n[adapter]\nkind = \"lora\"\n")
        .expect("a writable directory");
    let output = run(home.path(), &["train", "spec.toml", "--json"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(said["problem"]["field"], "model.path", "{said}");
    assert!(said["problem"]["hint"].is_string(), "{said}");
}
