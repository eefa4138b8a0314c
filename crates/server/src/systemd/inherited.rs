//! Sockets that systemd has opened for the service (sd_listen_fds(3)). It listens before the service runs, and goes on
//! while the service is exchanged, so no caller is turned away in between.
//!
//! What a socket is follows from the socket, not from its name: one Unix socket and one loopback port are taken, in
//! any order, and anything else is refused rather than left open to somebody.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The sockets that were inherited; empty without systemd. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    unix: Option<Arc<(UnixListener, PathBuf)>>,
    tcp: Option<Arc<TcpListener>>,
}

/// Why inherited sockets can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// The variables say nothing sensible.
    #[error("LISTEN_FDS and LISTEN_FDNAMES do not describe sockets that were handed over")]
    Variables(#[source] io::Error),
    /// Neither of what is taken.
    #[error(
        "the inherited file descriptor {fd} (`{name}`) is neither a listening Unix stream socket with a path nor a listening TCP socket; see ListenStream= in the socket unit"
    )]
    Strange {
        /// Its number.
        fd: RawFd,
        /// Its name in the socket unit.
        name: String,
    },
    /// Two of a kind.
    #[error(
        "two {kind} sockets were inherited, and the service takes one; remove a ListenStream= from the socket unit"
    )]
    Several {
        /// `Unix` or `TCP`.
        kind: &'static str,
    },
}

impl Inherited {
    /// Takes the sockets that this process was started with. To be called once, before anything else opens a file.
    ///
    /// # Errors
    /// Something was handed over that the service can't listen on.
    pub fn take() -> Result<Self, InheritedError> {
        let mut found = Self::default();
        for (fd, name) in sd_notify::listen_fds_with_names().map_err(InheritedError::Variables)? {
            // SAFETY: systemd opened the descriptor for this process (LISTEN_PID says so), and nobody else takes it:
            // this is called once.
            let fd_owned = unsafe { OwnedFd::from_raw_fd(fd) };
            found.add(fd, name, fd_owned)?;
        }
        Ok(found)
    }

    fn add(&mut self, fd: RawFd, name: String, owned: OwnedFd) -> Result<(), InheritedError> {
        if !is_listening_stream(fd) {
            return Err(InheritedError::Strange { fd, name });
        }
        let unix = UnixListener::from(owned);
        match unix.local_addr() {
            Ok(address) => {
                let Some(path) = address.as_pathname().map(Path::to_owned) else {
                    return Err(InheritedError::Strange { fd, name });
                };
                if self.unix.replace(Arc::new((unix, path))).is_some() {
                    return Err(InheritedError::Several { kind: "Unix" });
                }
            }
            Err(_) => {
                let tcp = TcpListener::from(OwnedFd::from(unix));
                if tcp.local_addr().is_err() {
                    return Err(InheritedError::Strange { fd, name });
                }
                if self.tcp.replace(Arc::new(tcp)).is_some() {
                    return Err(InheritedError::Several { kind: "TCP" });
                }
            }
        }
        Ok(())
    }

    /// Where the Unix socket is, where there is one.
    pub fn socket(&self) -> Option<&Path> {
        self.unix.as_ref().map(|unix| unix.1.as_path())
    }

    /// The Unix socket.
    ///
    /// # Errors
    /// The operating system refuses another handle.
    pub(crate) fn unix(&self) -> io::Result<Option<tokio::net::UnixListener>> {
        let Some(unix) = &self.unix else { return Ok(None) };
        let listener = unix.0.try_clone()?;
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener).map(Some)
    }

    /// The TCP port.
    ///
    /// # Errors
    /// The operating system refuses another handle.
    pub(crate) fn tcp(&self) -> io::Result<Option<tokio::net::TcpListener>> {
        let Some(tcp) = &self.tcp else { return Ok(None) };
        let listener = tcp.try_clone()?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener).map(Some)
    }
}

fn is_listening_stream(fd: RawFd) -> bool {
    let option = |name| {
        let mut value: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: `value` and `length` are valid for the call, and `length` is the size of `value`.
        let code =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
        (code == 0).then_some(value)
    };
    option(libc::SO_TYPE) == Some(libc::SOCK_STREAM) && option(libc::SO_ACCEPTCONN) == Some(1)
}
