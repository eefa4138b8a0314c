//! What the program prints and how it ends: results on stdout, everything else on stderr.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use ftl_client::ClientError;
use ftl_client::terminal::{Paint, Table, clean};
use ftl_core::{Problem, ProblemKind};
use serde_json::{Value, json};
use tokio::signal::unix::SignalKind;

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
    /// The job is stopped, after saving.
    Stopped,
    /// The answer is no, and was printed.
    Negative,
    /// Something of what was asked for was refused, and that was printed.
    Refused,
    /// The user left before the end, by this signal.
    Left(SignalKind),
}

/// Why a command was not done.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for can't be done so.
    Refused(Vec<Problem>),
    /// What stands in the way is not the request.
    Failed(Problem),
    /// The service said no, or nothing.
    Client(ClientError),
    /// Stdout or a file.
    Io(io::Error),
}

/// What every command gives back.
pub type CommandResult = Result<Ended, Failure>;

const EXIT_FAILED: u8 = 1;
const EXIT_REFUSED: u8 = 2;
const EXIT_STOPPED: u8 = 3;
/// A bug of ours (`EX_SOFTWARE` of sysexits.h).
const EXIT_BUG: u8 = 70;
/// What shells show of a program that a signal ended: this and the signal's number.
const EXIT_SIGNAL: i32 = 128;

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Refused(vec![problem])
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Refused(problems)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The exit code of a bug of ours. The panic has told about itself.
pub fn bug() -> ExitCode {
    ExitCode::from(EXIT_BUG)
}

/// Prints what went wrong and chooses the exit code.
pub fn exit(result: CommandResult, format: Format) -> ExitCode {
    let failure = match result {
        Ok(ended) => return code(ended),
        // The reader has seen enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let Told { problems, code } = failure.told();
    if format == Format::Json {
        // Where stdout is what failed, the exit code and stderr say so.
        let _ = print_json(&document(&problems));
    }
    for problem in &problems {
        note(&format!("error: {}", line(problem)));
    }
    ExitCode::from(code)
}

fn code(ended: Ended) -> ExitCode {
    ExitCode::from(match ended {
        Ended::Done => return ExitCode::SUCCESS,
        Ended::Negative => EXIT_FAILED,
        Ended::Refused => EXIT_REFUSED,
        Ended::Stopped => EXIT_STOPPED,
        Ended::Left(signal) => u8::try_from(EXIT_SIGNAL + signal.as_raw_value()).unwrap_or(EXIT_FAILED),
    })
}

/// A failure as it is shown.
pub struct Told {
    /// As JSON, each with `kind` and `message`.
    pub problems: Vec<Value>,
    code: u8,
}

impl Failure {
    /// The failure as it is shown.
    pub fn told(self) -> Told {
        match self {
            Self::Refused(problems) => Told { problems: values(&problems), code: EXIT_REFUSED },
            Self::Failed(problem) => Told { problems: values(&[problem]), code: EXIT_FAILED },
            Self::Io(error) => Told { problems: vec![other("io", error.to_string())], code: EXIT_FAILED },
            Self::Client(error) => client_error(error),
        }
    }

    /// Whether the request was at fault, or what stood in the way.
    pub fn ended(&self) -> Ended {
        match self {
            Self::Refused(_)
            | Self::Client(
                ClientError::Refused(_) | ClientError::NotFound(_) | ClientError::AlreadyExists(_),
            ) => Ended::Refused,
            Self::Failed(_) | Self::Client(_) | Self::Io(_) => Ended::Negative,
        }
    }
}

/// All problems; the first alone too, for those who want no list.
pub fn document(problems: &[Value]) -> Value {
    json!({"problem": problems.first(), "problems": problems})
}

/// One problem on a line.
pub fn line(problem: &Value) -> String {
    let part = |key: &str| problem.get(key).and_then(Value::as_str).map(clean);
    let field = part("field").map(|field| format!("{field}: ")).unwrap_or_default();
    let hint = part("hint").map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{field}{}{hint}", part("message").unwrap_or_default())
}

fn values(problems: &[Problem]) -> Vec<Value> {
    problems.iter().map(|problem| serde_json::to_value(problem).expect("a problem is plain data")).collect()
}

fn client_error(error: ClientError) -> Told {
    let message = error.to_string();
    let one = |kind, code| Told { problems: vec![other(kind, message.clone())], code };
    match error {
        ClientError::Refused(problems) => Told { problems: values(&problems), code: EXIT_REFUSED },
        ClientError::NotFound(_) => one("not_found", EXIT_REFUSED),
        ClientError::AlreadyExists(problem) => Told { problems: values(&[problem]), code: EXIT_REFUSED },
        ClientError::Precondition(problems) => Told { problems: values(&problems), code: EXIT_FAILED },
        ClientError::Exhausted(problem) => Told { problems: values(&[problem]), code: EXIT_FAILED },
        ClientError::Unavailable(_) => one("unavailable", EXIT_FAILED),
        ClientError::TimedOut(_) => one("timed_out", EXIT_FAILED),
        ClientError::Denied(_) => one("denied", EXIT_FAILED),
        ClientError::Protocol(_) => one("protocol", EXIT_FAILED),
        ClientError::Internal { .. } => one("internal", EXIT_BUG),
    }
}

/// A failure that core has no kind for, since no input is at fault.
fn other(kind: &str, message: String) -> Value {
    json!({"kind": kind, "message": message})
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
        let problem = Problem::new(ProblemKind::InvalidValue, message).hint("see `ftl --help`");
        let _ = print_json(&document(&values(&[problem])));
    }
    ExitCode::from(EXIT_REFUSED)
}

/// One line of the result, or several.
pub fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// A part of a line of the result, shown at once.
pub fn print_part(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A JSON document on a line.
pub fn print_json(document: &Value) -> io::Result<()> {
    print(&document.to_string())
}

/// A table, in colours where somebody looks.
pub fn print_table(table: &Table) -> io::Result<()> {
    print(&table.text(if io::stdout().is_terminal() { Paint::Colored } else { Paint::Plain }))
}

/// Names on the left, what they stand for on the right.
pub fn print_fields(fields: &[(&str, String)]) -> io::Result<()> {
    let columns = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        print(&format!("{name:columns$}  {}", clean(value)))?;
    }
    Ok(())
}

/// One line beside the result.
pub fn note(text: &str) {
    // Nobody reads it any more.
    let _ = writeln!(io::stderr(), "{text}");
}
