//! Where the service of this user keeps its data and listens: the one rule that the server and its clients share.
//!
//! The data is in `finetunelab` below the user's data directory (`$XDG_DATA_HOME`, or `~/.local/share`; other systems
//! have their own, see the `dirs` crate). The socket is in `finetunelab` below `$XDG_RUNTIME_DIR`, which is the user's
//! own, in memory, and gone after a logout; where there is no such directory it lies with the data.

use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};

/// The folder of ours in directories that all programs share.
const FOLDER: &str = "finetunelab";
/// The Unix socket's name.
const SOCKET: &str = "ftl.sock";
/// Holds the bearer token for loopback TCP.
const TOKEN: &str = "token";
/// What a service says that was started by a client.
const SERVER_LOG: &str = "server.log";
/// Held while a client starts a service.
const START_LOCK: &str = "start.lock";

/// What clients put into a data directory before there is a service.
pub const LEFT_BY_CLIENTS: [&str; 2] = [SERVER_LOG, START_LOCK];

/// Where jobs, database and logs are, unless somebody chooses another place.
///
/// # Errors
/// A [`Problem`] where the user has no home directory.
pub fn data_dir() -> Result<PathBuf, Problem> {
    dirs::data_dir().map(|dir| dir.join(FOLDER)).ok_or_else(|| {
        Problem::new(ProblemKind::NotFound, "there is no home directory to keep data in")
            .hint("set HOME or XDG_DATA_HOME")
    })
}

/// Where the service with the default data directory listens.
///
/// # Errors
/// As [`data_dir`].
pub fn socket() -> Result<PathBuf, Problem> {
    match dirs::runtime_dir().filter(|dir| dir.is_dir()) {
        Some(dir) => Ok(dir.join(FOLDER).join(SOCKET)),
        None => Ok(socket_in(&data_dir()?)),
    }
}

/// Where a service listens that was given a data directory and no socket.
pub fn socket_in(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET)
}

/// The bearer token for loopback TCP.
pub fn token_file(data_dir: &Path) -> PathBuf {
    data_dir.join(TOKEN)
}

/// Where a service writes that was started by a client.
pub fn server_log(data_dir: &Path) -> PathBuf {
    data_dir.join(SERVER_LOG)
}

/// Held while a client starts a service, so that two at once start one.
pub fn start_lock(data_dir: &Path) -> PathBuf {
    data_dir.join(START_LOCK)
}
