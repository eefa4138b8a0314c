//! `ftl-server serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use ftl_client::places;
use ftl_server::connections;
use ftl_server::crash_reports::CrashReports;
use ftl_server::data_dir::DataDirError;
use ftl_server::listen::ListenError;
use ftl_server::systemd::{Inherited, notify};
use ftl_server::telemetry::logs;
use ftl_server::{Config, Ready, ServeError, serve_and_tell};
use ftl_store::StoreError;
use tokio_util::sync::CancellationToken;

use super::{FAILED, NOT_BY_ITSELF, REFUSED, failed, print};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where jobs and the database are. Default: finetunelab in the user's data directory (~/.local/share).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The Unix socket. Default: the one that systemd has opened; ftl.sock in --data-dir; without that,
    /// finetunelab/ftl.sock in XDG_RUNTIME_DIR.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Also listen on TCP, on a loopback address, for gRPC, gRPC-Web and /metrics; callers send the token that the file
    /// `token` of the data directory holds. Port 0 takes a free one.
    #[arg(long, value_name = "127.0.0.1:PORT")]
    listen: Option<SocketAddr>,
}

/// Runs it, on the sockets that systemd has opened or on its own.
pub async fn run(arguments: Args, inherited: Inherited, shutdown: CancellationToken) -> ExitCode {
    notify::starting();
    connections::allow_many();
    match config(arguments, inherited) {
        Ok(config) => {
            logs::write_panics_down(CrashReports::of(&config.data_dir));
            match serve_and_tell(config, shutdown, tell).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error, code_of(&error)),
            }
        }
        Err(problem) => failed(&problem, REFUSED),
    }
}

fn config(arguments: Args, inherited: Inherited) -> Result<Config, ftl_core::Problem> {
    let Args { data_dir, socket, listen } = arguments;
    let socket = socket.or_else(|| inherited.socket().map(PathBuf::from));
    let (data_dir, socket) = match (data_dir, socket) {
        (Some(data_dir), socket) => (data_dir, socket),
        (None, Some(socket)) => (places::data_dir()?, Some(socket)),
        (None, None) => (places::data_dir()?, Some(places::socket()?)),
    };
    Ok(Config { socket, listen, inherited, ..Config::new(data_dir) })
}

/// For whoever started the service and waits until it can be talked to.
fn tell(ready: &Ready) {
    let Ready { socket, tcp, token } = ready;
    let mut lines = format!("listening on unix:{}\n", socket.display());
    if let Some(address) = tcp {
        lines.push_str(&format!("listening on http://{address}, token in {}\n", token.display()));
    }
    print(&lines);
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
            | ListenError::OtherSocket { .. }
            | ListenError::TwoPorts
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
        | ServeError::Transport(_) => FAILED,
    }
}
