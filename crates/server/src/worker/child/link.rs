//! The worker's end of the socket pair.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ftl_core::StopSignal;
use ftl_core::job::Phase;

use super::say;
use crate::worker::frame::{self, FrameError};
use crate::worker::message::{FromWorker, ToWorker};
use crate::worker::spawn::SOCKET_FD;

/// How often the server is told that this process is alive.
const BEAT: Duration = Duration::from_secs(2);

/// Takes over fd 3. Only once, before other files are opened.
///
/// # Errors
/// There is no socket.
pub(super) fn from_server() -> io::Result<UnixStream> {
    let mut kind: libc::c_int = 0;
    let mut length = size_of_val(&kind) as libc::socklen_t;
    let (kind_pointer, length_pointer) = ((&raw mut kind).cast::<libc::c_void>(), &raw mut length);
    // SAFETY: the pointers are those of a `c_int` and its length, which the call fills in.
    let result =
        unsafe { libc::getsockopt(SOCKET_FD, libc::SOL_SOCKET, libc::SO_TYPE, kind_pointer, length_pointer) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // What a driver starts shall not hold the socket open.
    // SAFETY: fcntl with F_SETFD reads no memory.
    if unsafe { libc::fcntl(SOCKET_FD, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, a socket, and nobody else's: the server put it there for us.
    Ok(UnixStream::from(unsafe { OwnedFd::from_raw_fd(SOCKET_FD) }))
}

/// Sends frames from any thread.
#[derive(Clone, Debug)]
pub(super) struct Link(Arc<Ends>);

#[derive(Debug)]
struct Ends {
    sending: Mutex<UnixStream>,
    reading: Mutex<Option<UnixStream>>,
}

impl Link {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        let reading = Mutex::new(Some(socket.try_clone()?));
        Ok(Self(Arc::new(Ends { sending: Mutex::new(socket), reading })))
    }

    /// Sends a frame; waits where the server is slow to read.
    pub(super) fn send(&self, message: &FromWorker) -> Result<(), FrameError> {
        frame::write(&mut *lock(&self.0.sending), message)
    }

    /// Gives every further frame of the server to `take`, on a thread of its own; `None` is the end of the server.
    pub(super) fn listen(&self, take: impl Fn(Option<ToWorker>) + Send + 'static) -> io::Result<()> {
        let Some(mut socket) = lock(&self.0.reading).take() else { return Ok(()) };
        thread::Builder::new().name("listener".to_owned()).spawn(move || {
            loop {
                match frame::read(&mut socket) {
                    Ok(Some(message)) => take(Some(message)),
                    Ok(None) => return take(None),
                    Err(error) => {
                        say(format_args!("the server sent something that is no frame: {error}"));
                        return take(None);
                    }
                }
            }
        })?;
        Ok(())
    }

    /// Tells the server every two seconds that this process is alive, where it stands, and whether it gets on, which
    /// shows in how often `work` was looked at.
    pub(super) fn beat(&self, standing: Arc<Standing>, work: StopSignal) -> io::Result<()> {
        let link = self.clone();
        thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            loop {
                let (step, phase) = *lock(&standing.0);
                // Whoever listens finds out about the end of the server.
                let pulse = work.n_looks();
                if link.send(&FromWorker::Heartbeat { step, phase, pulse }).is_err() {
                    return;
                }
                thread::sleep(BEAT);
            }
        })?;
        Ok(())
    }
}

/// Where the work stands: the step, and what it is busy with.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<(u64, Option<Phase>)>);

impl Standing {
    pub(super) fn reached(&self, step: u64) {
        lock(&self.0).0 = step;
    }

    pub(super) fn entered(&self, phase: Phase) {
        lock(&self.0).1 = Some(phase);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
