//! `ftl-server`: FineTune Lab's service.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or refused input, 70 a bug of ours, 78 a start that would fail again and
//! again until a person does something: the data directory is another service's, or its database is a newer
//! version's. (A worker's codes are its own business, see `worker::exit`.)

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ftl_client::places;
use ftl_server::data_dir::DataDirError;
use ftl_server::db;
use ftl_server::demo::{self, DemoError};
use ftl_server::listen::ListenError;
use ftl_server::telemetry::logs::{self, LogFormat};
use ftl_server::{Config, Ready, ServeError, serve_and_tell, worker};
use ftl_store::StoreError;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;

/// FineTune Lab's service: keeps jobs, trains them one after the other, answers over gRPC.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How log lines are written; FTL_LOG filters them.
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Runs the service until it is told to end (SIGTERM, Ctrl-C).
    Serve(Serve),
    /// Shows the whole product in about a minute, on a bare machine.
    Demo(demo::Args),
    /// Checks or copies the database of a data directory.
    #[command(subcommand)]
    Db(db::Command),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Where jobs and the database are. Default: finetunelab in the user's data directory (~/.local/share).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The Unix socket. Default: ftl.sock in --data-dir; without that, finetunelab/ftl.sock in XDG_RUNTIME_DIR.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Also listen on TCP, on a loopback address; callers send the token that the file `token` of the data directory
    /// holds. Port 0 takes a free one.
    #[arg(long, value_name = "127.0.0.1:PORT")]
    listen: Option<SocketAddr>,
}

/// Wrong usage or refused input.
const REFUSED: u8 = 2;
/// A bug of ours (`EX_SOFTWARE`).
const BUG: u8 = 70;
/// A person has to do something first (`EX_CONFIG`); what restarts the service must not try again.
const NOT_BY_ITSELF: u8 = 78;
/// What callers that were left behind may hold on to.
const RUNTIME_ENDS_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // What the service starts by itself. Before anything else: a worker is set up before other threads exist.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "worker") {
        return worker::main(words);
    }
    let Arguments { log_format, command } = Arguments::parse();
    let level = match &command {
        // The demo tells its story itself.
        Command::Demo(_) | Command::Db(_) => Level::WARN,
        Command::Serve(_) => Level::INFO,
    };
    if let Err(error) = logs::start(log_format, level) {
        return failed(&error, REFUSED);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error, 1),
    };
    let code = runtime.block_on(async {
        // A panic here is a bug of ours; those of handlers are answered elsewhere.
        match tokio::spawn(run(command)).await {
            Ok(code) => code,
            Err(error) => failed(&error, BUG),
        }
    });
    runtime.shutdown_timeout(RUNTIME_ENDS_WITHIN);
    code
}

async fn run(command: Command) -> ExitCode {
    let shutdown = CancellationToken::new();
    if let Err(error) = end_on_signals(shutdown.clone()) {
        return failed(&error, 1);
    }
    match command {
        Command::Serve(arguments) => match config(arguments) {
            Ok(config) => match serve_and_tell(config, shutdown, tell).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error, code_of(&error)),
            },
            Err(problem) => failed(&problem, REFUSED),
        },
        Command::Db(command) => db::run(command),
        Command::Demo(arguments) => match demo::run(&arguments, shutdown).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error @ DemoError::Refused(_)) => failed(&error, REFUSED),
            Err(error) => failed(&error, 1),
        },
    }
}

fn config(arguments: Serve) -> Result<Config, ftl_core::Problem> {
    let Serve { data_dir, socket, listen } = arguments;
    let (data_dir, socket) = match (data_dir, socket) {
        (Some(data_dir), socket) => (data_dir, socket),
        (None, Some(socket)) => (places::data_dir()?, Some(socket)),
        (None, None) => (places::data_dir()?, Some(places::socket()?)),
    };
    Ok(Config { socket, listen, ..Config::new(data_dir) })
}

/// Raises `shutdown` when the process is told to end.
fn end_on_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}

/// For whoever started the service and waits until it can be talked to.
fn tell(ready: &Ready) {
    let Ready { socket, tcp, token } = ready;
    let mut lines = format!("listening on unix:{}\n", socket.display());
    if let Some(address) = tcp {
        lines.push_str(&format!("listening on http://{address}, token in {}\n", token.display()));
    }
    // Nobody may be reading; the service is ready all the same.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
}

fn code_of(error: &ServeError) -> u8 {
    match error {
        ServeError::DataDir(DataDirError::InUse { .. })
        | ServeError::Store(
            StoreError::NewerDatabase { .. }
            | StoreError::NotOurs { .. }
            | StoreError::AlreadyOpen(_)
            | StoreError::SqliteTooOld { .. },
        ) => NOT_BY_ITSELF,
        ServeError::DataDir(DataDirError::NotOurs(_) | DataDirError::OtherUser { .. })
        | ServeError::Listen(
            ListenError::NotLoopback(_)
            | ListenError::TooLong { .. }
            | ListenError::NoSocket(_)
            | ListenError::OpenDirectory { .. }
            | ListenError::Directory(_),
        )
        | ServeError::Token(_) => REFUSED,
        ServeError::DataDir(DataDirError::Io { .. })
        | ServeError::Listen(ListenError::Answered(_) | ListenError::Io { .. })
        | ServeError::Store(_)
        | ServeError::Workers(_)
        | ServeError::Jobs(_)
        | ServeError::Datasets(_)
        | ServeError::Io(_)
        | ServeError::Transport(_) => 1,
    }
}

/// Says why, with every cause, on stderr.
fn failed(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    // The terminal may be gone; the code says it too.
    let _ = writeln!(std::io::stderr(), "ftl-server: {text}");
    ExitCode::from(code)
}
