//! Where the service is reached: a Unix socket for the user's own programs, loopback TCP for those that can't use one.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::data_dir::{DataDirError, make_private_directory};
use crate::systemd::Inherited;

/// The kernel's `sun_path` has 108 bytes, the last of which is zero.
const MAX_PATH_BYTES: usize = 107;

/// Where the service is to be reached.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The address on TCP, which must be a loopback address; port 0 takes a free one. `None`: no TCP.
    pub tcp: Option<SocketAddr>,
    /// Sockets that are open already. One of them takes the place of one that would be opened.
    pub inherited: Inherited,
}

/// Why the service can't be reached there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Other machines could come in.
    #[error(
        "`{0}` can be reached from other machines, which the service does not allow; listen on 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// The kernel would cut the path off.
    #[error(
        "the socket's path `{path}` has {n_bytes} bytes, at most {MAX_PATH_BYTES} are possible; choose a shorter one with `--socket`"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        n_bytes: usize,
    },
    /// Somebody answers there.
    #[error("another service answers on `{0}`; choose another socket with `--socket`")]
    Answered(PathBuf),
    /// Something else has the name.
    #[error("`{0}` is there and no socket; choose another path with `--socket`")]
    NoSocket(PathBuf),
    /// Other users could come in.
    #[error(
        "the socket's directory `{path}` is open to others (mode {mode:o}); choose one that is yours alone (0700)"
    )]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// systemd listens elsewhere.
    #[error(
        "systemd handed over the socket `{inherited}`, and `--socket` names `{named}`; drop `--socket`, or change ListenStream= in the socket unit"
    )]
    OtherSocket {
        /// What was handed over.
        inherited: PathBuf,
        /// What was asked for.
        named: PathBuf,
    },
    /// Two ports.
    #[error("systemd handed over a TCP socket, and `--listen` names another; drop one of the two")]
    TwoPorts,
    /// The socket's directory can't be used.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// The operating system refused the socket.
    #[error("can't listen on `{place}`")]
    Io {
        /// The socket or address.
        place: String,
        /// What it said.
        source: io::Error,
    },
}

impl Listen {
    /// Refuses what can be refused before anything is started.
    ///
    /// # Errors
    /// An address that is not loopback, a path that is too long.
    pub fn check(&self) -> Result<(), ListenError> {
        if let Some(address) = self.tcp.filter(|address| !address.ip().is_loopback()) {
            return Err(ListenError::NotLoopback(address));
        }
        if let Some(inherited) = self.inherited.socket().filter(|inherited| *inherited != self.socket) {
            let named = self.socket.clone();
            return Err(ListenError::OtherSocket { inherited: inherited.to_owned(), named });
        }
        let n_bytes = self.socket.as_os_str().len();
        if n_bytes > MAX_PATH_BYTES {
            return Err(ListenError::TooLong { path: self.socket.clone(), n_bytes });
        }
        Ok(())
    }

    /// The Unix socket; whether it is one that was handed over.
    ///
    /// # Errors
    /// As [`unix`]; a socket that was handed over has to be in a directory of our own too.
    pub(crate) fn open_unix(&self) -> Result<(UnixListener, Origin), ListenError> {
        let failed = |source| ListenError::Io { place: format!("unix:{}", self.socket.display()), source };
        match self.inherited.unix().map_err(failed)? {
            Some(listener) => {
                check_directory(&self.socket)?;
                Ok((listener, Origin::Inherited))
            }
            None => Ok((unix(&self.socket)?, Origin::Own)),
        }
    }

    /// The TCP port, where there is to be one.
    ///
    /// # Errors
    /// It is not on loopback, there are two, or the operating system refuses.
    pub(crate) async fn open_tcp(&self) -> Result<Option<TcpListener>, ListenError> {
        let failed = |source| ListenError::Io { place: "the inherited TCP socket".to_owned(), source };
        match (self.inherited.tcp().map_err(failed)?, self.tcp) {
            (Some(_), Some(_)) => Err(ListenError::TwoPorts),
            (Some(listener), None) => {
                let address = listener.local_addr().map_err(failed)?;
                if !address.ip().is_loopback() {
                    return Err(ListenError::NotLoopback(address));
                }
                Ok(Some(listener))
            }
            (None, Some(address)) => tcp(address).await.map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The service opened it, and takes it away.
    Own,
    /// systemd's, which goes on listening, and starts the service again for the next caller.
    Inherited,
}

/// Refuses a directory that others can enter.
fn check_directory(socket: &Path) -> Result<(), ListenError> {
    let Some(directory) = socket.parent() else { return Ok(()) };
    let failed = |source| ListenError::Io { place: format!("unix:{}", socket.display()), source };
    let mode = fs::metadata(directory).map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(ListenError::OpenDirectory { path: directory.to_owned(), mode });
    }
    Ok(())
}

/// Listens on a Unix socket that only our user can open. One that nobody answers on is what a killed service left, and
/// gives way; the caller holds the lock of the data directory, so no other service of ours is about to listen there.
///
/// # Errors
/// Somebody answers, the directory is open to others, or the operating system refuses.
fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Io { place: format!("unix:{}", path.display()), source };
    if let Some(directory) = path.parent() {
        make_private_directory(directory)?;
        check_directory(path)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NoSocket(path.to_owned()));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
            Ok(_) => return Err(ListenError::Answered(path.to_owned())),
        },
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Listens on a loopback address.
///
/// # Errors
/// It is none, or the operating system refuses it.
async fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::Io { place: format!("http://{address}"), source })
}
