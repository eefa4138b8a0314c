//! Connections: how many may be open, and how long one may stay that has not shown who it is.
//!
//! HTTP's own limits begin with a request. A connection that never says a word, or one byte a second, is older than any
//! request, so it is watched here, below HTTP: until the [guard](crate::guard) has let a request of it in, a connection
//! has [`SHOWN_WITHIN`]. Afterwards it belongs to somebody who may use the service, and may be silent for as long as it
//! answers HTTP/2's pings.
//!
//! Each listener has its own places, so that strangers who crowd the port do not keep the user's own programs from the
//! socket. Whoever comes when all are taken gets one of a few spare places, where the guard answers every request with
//! the reason; beyond those, callers wait in the kernel's queue.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::stream;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

/// How long a connection may stay without a request that is let in. A program on this machine needs milliseconds.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// Connections beyond the limit that are told so.
const N_SPARE: usize = 32;
/// After a failed accept (no file descriptor is left, mostly) the next try waits, rather than spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Files and sockets that the service may have open, where the system lets it.
const ENOUGH_FILES: libc::rlim_t = 8_192;

/// Raises the number of files that this process may have open. What shells and systemd give a process (1,024, for the
/// sake of programs that use `select`) is fewer than the service has places for.
pub fn allow_many() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 || limit.rlim_cur >= ENOUGH_FILES
    {
        return;
    }
    limit.rlim_cur = ENOUGH_FILES.min(limit.rlim_max);
    // SAFETY: `limit` is valid for the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        warn!(most = limit.rlim_cur, "the number of open files can't be raised");
    }
}

/// The connections of one listener. Clones share them.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    shown_within: Duration,
    n_open: AtomicUsize,
    places: Arc<Semaphore>,
}

impl Connections {
    /// Gives places to `most` connections at once.
    pub fn new(most: usize) -> Self {
        Self::with_time(most, SHOWN_WITHIN)
    }

    /// As [`Connections::new`], with another time in which a connection has to show who it is.
    pub fn with_time(most: usize, shown_within: Duration) -> Self {
        let places = Arc::new(Semaphore::new(most + N_SPARE));
        Self(Arc::new(Shared { most, shown_within, n_open: AtomicUsize::new(0), places }))
    }

    /// How many are open.
    pub fn n_open(&self) -> usize {
        self.0.n_open.load(Ordering::Relaxed)
    }

    /// How many may be open.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// Connections to a Unix socket, as they come. Never ends.
    pub fn over_unix(self, listener: UnixListener) -> impl Stream<Item = io::Result<Connection<UnixStream>>> {
        stream! {
            loop {
                let place = self.place().await;
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                        yield Ok(self.open(stream, uid, place));
                    }
                    Err(error) => failed(&error).await,
                }
            }
        }
    }

    /// Connections to a TCP port, as they come. Never ends.
    pub fn over_tcp(self, listener: TcpListener) -> impl Stream<Item = io::Result<Connection<TcpStream>>> {
        stream! {
            loop {
                let place = self.place().await;
                match listener.accept().await {
                    Ok((stream, _)) => {
                        // Events are small and are to be seen when they happen.
                        if let Err(error) = stream.set_nodelay(true) {
                            debug!(%error, "a connection will be slow");
                        }
                        yield Ok(self.open(stream, None, place));
                    }
                    Err(error) => failed(&error).await,
                }
            }
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.0.places);
        if places.available_permits() == 0 {
            warn!(most = self.0.most, "as many connections are open as the service gives; more wait");
        }
        places.acquire_owned().await.expect("nobody closes the semaphore")
    }

    fn open<T>(&self, stream: T, uid: Option<u32>, place: OwnedSemaphorePermit) -> Connection<T> {
        let n_before = self.0.n_open.fetch_add(1, Ordering::Relaxed);
        let most = (n_before >= self.0.most).then_some(self.0.most);
        let peer = Peer(Arc::new(About { uid, beyond: most, is_let_in: AtomicBool::new(false) }));
        let deadline = Box::pin(tokio::time::sleep(self.0.shown_within));
        Connection {
            stream,
            peer,
            deadline: Some(deadline),
            _place: Place { shared: self.0.clone(), _permit: place },
        }
    }
}

async fn failed(error: &io::Error) {
    // A caller that left before it was accepted is nothing to speak of.
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    warn!(%error, "a connection can't be accepted");
    tokio::time::sleep(PAUSE).await;
}

/// Who is at the other end of a connection. Stands among the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Peer(Arc<About>);

#[derive(Debug)]
struct About {
    uid: Option<u32>,
    /// The limit that this connection is beyond.
    beyond: Option<usize>,
    is_let_in: AtomicBool,
}

impl Peer {
    /// A peer on a Unix socket as whom the kernel names it.
    pub fn of_user(uid: Option<u32>) -> Self {
        Self(Arc::new(About { uid, beyond: None, is_let_in: AtomicBool::new(false) }))
    }

    /// The user that its process acts as; `None` where the kernel does not say, and on TCP.
    pub fn uid(&self) -> Option<u32> {
        self.0.uid
    }

    /// The limit on connections, where this one is beyond it.
    pub fn beyond(&self) -> Option<usize> {
        self.0.beyond
    }

    /// A request of it was let in: the connection may stay.
    pub fn let_in(&self) {
        self.0.is_let_in.store(true, Ordering::Release);
    }

    fn is_let_in(&self) -> bool {
        self.0.is_let_in.load(Ordering::Acquire)
    }
}

/// A connection with its place among those of its listener.
#[derive(Debug)]
pub struct Connection<T> {
    stream: T,
    peer: Peer,
    /// `None` once a request of it was let in.
    deadline: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Connected for Connection<T> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<T> Connection<T> {
    /// Fails once the connection had its time.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(deadline) = &mut self.deadline else { return Ok(()) };
        if self.peer.is_let_in() {
            self.deadline = None;
            return Ok(());
        }
        if deadline.as_mut().poll(cx).is_ready() || deadline.deadline() <= Instant::now() {
            debug!("a connection without a request that was let in is closed");
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Err(error) = self.poll_deadline(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
