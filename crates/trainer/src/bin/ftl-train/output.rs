//! What the program prints and how it ends: results on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use ftl_core::spec::resolved::{DeviceKind, ModelDtype};
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::device::{self, OpenDevice};
use ftl_trainer::error::TrainError;
use serde_json::json;

/// What goes to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All was done.
    Done,
    /// Stopped after saving.
    Stopped,
    /// The answer is no, and was printed.
    Negative,
    /// The input can't be used, and why was printed.
    Refused,
}

/// What every command gives back.
pub type CommandResult = Result<Ended, TrainError>;

/// Refused input.
const EXIT_REFUSED: u8 = 2;
/// Stopped after saving.
const EXIT_STOPPED: u8 = 3;

/// Prints what went wrong and chooses the exit code.
pub fn exit(result: CommandResult, format: Format) -> ExitCode {
    let error = match result {
        Ok(Ended::Done) => return ExitCode::SUCCESS,
        Ok(Ended::Stopped) => return ExitCode::from(EXIT_STOPPED),
        Ok(Ended::Refused) => return ExitCode::from(EXIT_REFUSED),
        Ok(Ended::Negative) => return ExitCode::FAILURE,
        Err(error) => error,
    };
    let (problems, code) = match &error {
        TrainError::Refused(problems) => (problems.clone(), ExitCode::from(EXIT_REFUSED)),
        TrainError::Diverged(problem) | TrainError::OutOfMemory { problem, .. } => {
            (vec![problem.clone()], ExitCode::FAILURE)
        }
        TrainError::File { .. } => (Vec::new(), ExitCode::FAILURE),
    };
    if format == Format::Json {
        let first = problems.first().map_or_else(
            || json!({"kind": "io", "message": chain(&error)}),
            |problem| serde_json::to_value(problem).expect("a problem is plain data"),
        );
        print(&json!({"problem": first, "problems": problems}).to_string());
    }
    if problems.is_empty() {
        note(&format!("error: {}", chain(&error)));
    }
    for problem in &problems {
        note(&format!("error: {problem}"));
    }
    code
}

/// Prints what is wrong with the command line, or the help that was asked for.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nothing more can be done where the terminal is gone.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        // The first paragraph is the error; usage and tips follow.
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let message = words.join(" ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        let problem = Problem::new(ProblemKind::InvalidValue, message).hint("see `ftl-train --help`");
        print(&json!({"problem": problem, "problems": [problem]}).to_string());
    }
    ExitCode::from(EXIT_REFUSED)
}

/// The error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// One line of the result. A reader that went away is no fault of the command.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A part of a line of the result, shown at once.
pub fn print_part(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// One line beside the result.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether progress may be drawn.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// `--device`, the same on every command that computes.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceArg {
    /// Where to compute: auto, cpu, cuda[:N] or vulkan[:N].
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceKind>,
}

impl DeviceArg {
    /// Opens it.
    pub fn open(&self, dtype: ModelDtype) -> Result<OpenDevice, Problem> {
        Ok(said(device::open(self.kind(), dtype)?))
    }

    fn kind(&self) -> DeviceKind {
        self.device.unwrap_or(DeviceKind::Auto)
    }
}

/// Says what was chosen, and why, where the choice was ours.
fn said(open: OpenDevice) -> OpenDevice {
    if open.reason.is_some() {
        note(&open.describe());
    }
    open
}
