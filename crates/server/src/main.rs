//! `ftl-server`: FineTune Lab's service.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or refused input, 70 a bug of ours, 78 a start that would fail again and
//! again until a person does something: the data directory is another service's, or its database is a newer
//! version's. (A worker's codes are its own business, see `worker::exit`.)

mod commands;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ftl_server::systemd::Inherited;
use ftl_server::telemetry::logs::{self, LogFormat};
use ftl_server::{db, demo, worker};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use commands::{BUG, FAILED, NOT_BY_ITSELF, REFUSED, doctor, failed, install, serve};

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
    Serve(serve::Args),
    /// Shows the whole product in about a minute, on a bare machine.
    Demo(demo::Args),
    /// Checks or copies the database of a data directory.
    #[command(subcommand)]
    Db(db::Command),
    /// Has systemd run the service for this user, and start it with the machine.
    Install(install::Args),
    /// Says what this machine can train on and how its service stands; exits with 1 where something is broken.
    Doctor(doctor::Args),
}

/// What callers that were left behind may hold on to.
const RUNTIME_ENDS_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Where files are limited (`ulimit -f`), writing fails as on a full disk instead of ending the process; workers inherit it.
    // SAFETY: it only sets how a signal is taken.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // What the service starts by itself. Before anything else: a worker is set up before other threads exist.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "worker") {
        return worker::main(words);
    }
    // The queue asks which GPUs a worker could use, and must find what a worker finds.
    ftl_trainer::device::prepare();
    let Arguments { log_format, command } = Arguments::parse();
    let level = match &command {
        // They tell their story themselves.
        Command::Demo(_) | Command::Db(_) | Command::Install(_) | Command::Doctor(_) => Level::WARN,
        Command::Serve(_) => Level::INFO,
    };
    if let Err(error) = logs::start(log_format, level) {
        return failed(&error, REFUSED);
    }
    // Before anything else opens a file.
    let inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => return failed(&error, NOT_BY_ITSELF),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error, FAILED),
    };
    let code = runtime.block_on(async {
        // A panic here is a bug of ours; those of handlers are answered elsewhere.
        match tokio::spawn(run(command, inherited)).await {
            Ok(code) => code,
            Err(error) => failed(&error, BUG),
        }
    });
    runtime.shutdown_timeout(RUNTIME_ENDS_WITHIN);
    code
}

async fn run(command: Command, inherited: Inherited) -> ExitCode {
    let shutdown = CancellationToken::new();
    if let Err(error) = end_on_signals(shutdown.clone()) {
        return failed(&error, FAILED);
    }
    match command {
        Command::Serve(arguments) => serve::run(arguments, inherited, shutdown).await,
        Command::Demo(arguments) => commands::demo::run(&arguments, shutdown).await,
        Command::Db(command) => db::run(command),
        Command::Install(arguments) => install::run(&arguments),
        Command::Doctor(arguments) => doctor::run(arguments).await,
    }
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
