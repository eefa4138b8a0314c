//! `ftl-server db`: looks after the database of a data directory without a service, or beside one that runs: both commands
//! read alone, in one snapshot, so a service that works on the database meanwhile is neither held up nor hurried.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ftl_client::places;
use ftl_core::{Problem, ProblemKind};
use ftl_store::{Checkup, Finding, Standing, StoreError, back_up_file, check_file};
use serde_json::{Value, json};

use crate::status::chain;

/// The file of the database in a data directory.
const DATABASE: &str = "ftl.db";

/// `db` and its subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Looks for damage: what SQLite finds, and whether jobs, attempts and events fit together. A service may run.
    Check(Arguments),
    /// Copies the database to a file that does not exist yet. A service may run.
    Backup(BackupArguments),
}

/// Which database, and how to tell of it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where jobs and the database are. Default: finetunelab in the user's data directory (~/.local/share).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON document on stdout.
    #[arg(long)]
    json: bool,
}

/// Flags of `db backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArguments {
    /// The file that the copy becomes.
    path: PathBuf,
    #[command(flatten)]
    of: Arguments,
}

/// What went wrong, and the exit code that says so.
struct Failed {
    problem: Problem,
    code: u8,
}

/// It was looked at or tried, and is not well.
const FAILED: u8 = 1;
/// Wrong usage or refused input.
const REFUSED: u8 = 2;
/// A newer version's database: no other try will do better (`EX_CONFIG`).
const NEWER: u8 = 78;

/// Runs it. Exit codes: 0 whole, or copied; 1 damaged, or not copied; 2 nothing to look at, or a path that can't be used;
/// 78 the database is a newer version's.
pub fn run(command: Command) -> ExitCode {
    let (json, done) = match command {
        Command::Check(arguments) => (arguments.json, check(&arguments)),
        Command::Backup(BackupArguments { path, of }) => (of.json, back_up(&path, &of)),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failed { problem, code }) => {
            if json {
                print(&json!({ "problem": problem }).to_string());
            }
            // The terminal may be gone; the code says it too.
            let _ = writeln!(std::io::stderr(), "ftl-server: {problem}");
            ExitCode::from(code)
        }
    }
}

fn check(arguments: &Arguments) -> Result<u8, Failed> {
    let path = database(arguments)?;
    let checkup = check_file(&path).map_err(failed)?;
    let Checkup { version, standing, n_jobs, n_events, findings } = &checkup;
    if arguments.json {
        let document: Value = json!({ "path": path, "whole": findings.is_empty(), "checkup": checkup });
        print(&document.to_string());
    } else {
        let standing = match standing {
            Standing::Current => "",
            Standing::Older => ", which the next start of the service brings up to date",
        };
        print(&format!(
            "{} has {n_jobs} jobs with {n_events} events, version {version}{standing}",
            path.display()
        ));
        for Finding { kind, message } in findings {
            print(&format!("{kind}: {message}"));
        }
        print(match findings.len() {
            0 => "it is whole",
            _ => "it is damaged; restore a backup, or ask for help before a service works on it again",
        });
    }
    Ok(if findings.is_empty() { 0 } else { FAILED })
}

fn back_up(to: &Path, arguments: &Arguments) -> Result<u8, Failed> {
    let path = database(arguments)?;
    let bytes = match back_up_file(&path, to) {
        Ok(bytes) => bytes,
        Err(StoreError::File { path, source }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            let problem =
                Problem::new(ProblemKind::OutputExists, format!("`{}` exists already", path.display()));
            let problem = problem.at("PATH").hint("name a file that does not exist; nothing is overwritten");
            return Err(Failed { problem, code: REFUSED });
        }
        Err(error) => return Err(failed(error)),
    };
    if arguments.json {
        print(&json!({ "backup": { "path": to, "bytes": bytes } }).to_string());
    } else {
        print(&format!("{} holds the database as it is now, {bytes} bytes", to.display()));
    }
    Ok(0)
}

fn database(arguments: &Arguments) -> Result<PathBuf, Failed> {
    let directory = match &arguments.data_dir {
        Some(directory) => directory.clone(),
        None => places::data_dir().map_err(|problem| Failed { problem, code: REFUSED })?,
    };
    Ok(directory.join(DATABASE))
}

fn failed(error: StoreError) -> Failed {
    let code = match &error {
        StoreError::NewerDatabase { .. } => NEWER,
        StoreError::NotOurs { .. } => REFUSED,
        StoreError::NotFound
        | StoreError::Illegal(_)
        | StoreError::NotAtRest(_)
        | StoreError::NotQueued(_)
        | StoreError::PlaceChanged { .. }
        | StoreError::AttemptEnded(_)
        | StoreError::RequestIdTaken
        | StoreError::NameTaken
        | StoreError::IdTaken
        | StoreError::BadPageToken
        | StoreError::StateAmongEvents(_)
        | StoreError::Unstorable { .. }
        | StoreError::Unreadable { .. }
        | StoreError::AlreadyOpen(_)
        | StoreError::SqliteTooOld { .. }
        | StoreError::Busy(_)
        | StoreError::DiskFull(_)
        | StoreError::ReadOnly(_)
        | StoreError::Damaged(_)
        | StoreError::Io(_)
        | StoreError::File { .. }
        | StoreError::OutcomeUnknown(_)
        | StoreError::Sql(_)
        | StoreError::Panicked(_)
        | StoreError::Closed => FAILED,
    };
    Failed { problem: Problem::new(ProblemKind::Storage, chain(&error)), code }
}

fn print(line: &str) {
    // Nobody may be reading; the exit code says it too.
    let _ = writeln!(std::io::stdout(), "{line}");
}
