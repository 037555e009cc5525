//! Connections as both protocols get them: accepted without spinning, closed without a reset.

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;

use super::Settings;
use super::connections::{Connections, Peer};
use super::frames::{Frames, Unfinished};
use crate::telemetry::{Closed, NotLetIn};

/// After an error that is the process' own (no descriptors left), not the connection's.
const BACK_OFF: Duration = Duration::from_millis(50);

/// `EMFILE` and `ENFILE`.
const NO_DESCRIPTORS: [i32; 2] = [24, 23];

/// How long what a refused peer is still sending is read and thrown away. Closing at once would
/// reset the connection, and the peer would lose the answer that lies in its buffers.
const LINGER: Duration = Duration::from_secs(1);

/// A connection that never had a request is closed after this.
const UNUSED: Duration = Duration::from_secs(120);

type Timer = Pin<Box<Sleep>>;

/// How long a peer may take for what it has begun.
#[derive(Debug, Clone, Copy)]
struct Patience {
    header: Duration,
    body: Duration,
}

/// The stream of a listener's connections; it never ends and never fails.
#[derive(Debug)]
pub(super) struct Incoming {
    listener: TcpListener,
    connections: Arc<Connections>,
    patience: Patience,
    back_off: Option<Timer>,
    /// So that a run of errors is logged once.
    failing: bool,
    /// Given up for a moment to turn one away that else would wait for ever.
    spare: Option<File>,
}

impl Incoming {
    pub(super) fn new(
        listener: TcpListener,
        connections: Arc<Connections>,
        settings: &Settings,
    ) -> Self {
        let patience = Patience { header: settings.header_timeout, body: settings.body_timeout };
        Self { listener, connections, patience, back_off: None, failing: false, spare: spare() }
    }

    fn failed(&mut self, error: &io::Error, cx: &mut Context<'_>) {
        if !self.failing {
            tracing::warn!(%error, "can't accept connections, trying on");
        }
        self.failing = true;
        let none_left = error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code));
        if none_left && !self.connections.close_longest_idle() {
            drop(self.spare.take());
            if let Poll::Ready(Ok(_)) = self.listener.poll_accept(cx) {
                self.connections.metrics.refused(NotLetIn::Descriptors);
            }
            self.spare = spare();
        }
        self.back_off = Some(Box::pin(tokio::time::sleep(BACK_OFF)));
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Stream for Incoming {
    type Item = io::Result<Conn>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        loop {
            if let Some(timer) = &mut self.back_off {
                ready!(timer.as_mut().poll(cx));
                self.back_off = None;
            }
            ready!(self.connections.poll_room(cx));
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, from)) => {
                    self.failing = false;
                    if let Some(peer) = self.connections.let_in(from.ip()) {
                        return Poll::Ready(Some(Ok(Conn::new(stream, peer, self.patience))));
                    }
                }
                Err(error) => match error.kind() {
                    ConnectionAborted | ConnectionRefused | ConnectionReset => {}
                    _ => self.failed(&error, cx),
                },
            }
        }
    }
}

/// A connection that must say something in time and go on with what it has begun, is closed when its
/// place is needed, and lingers when it is closed.
#[derive(Debug)]
pub(super) struct Conn {
    stream: TcpStream,
    peer: Arc<Peer>,
    patience: Patience,
    opened: Instant,
    frames: Frames,
    /// What was unfinished when we last waited, by its number, and since when.
    unfinished: Option<(u64, Instant)>,
    /// Ends at the deadline that there was when it was set; a later one is found then.
    timer: Option<Timer>,
    /// Set once our side is closed.
    linger: Option<Timer>,
}

impl Conn {
    fn new(stream: TcpStream, peer: Arc<Peer>, patience: Patience) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "can't set TCP_NODELAY");
        }
        Self {
            stream,
            peer,
            patience,
            opened: Instant::now(),
            frames: Frames::default(),
            unfinished: None,
            timer: None,
            linger: None,
        }
    }

    pub(super) fn peer(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }

    /// Until when the peer must have gone on.
    fn deadline(&mut self) -> Option<(Instant, Closed)> {
        let Some((what, number)) = self.frames.unfinished() else {
            self.unfinished = None;
            return (!self.peer.is_used()).then_some((self.opened + UNUSED, Closed::Unused));
        };
        let since = match self.unfinished {
            Some((before, since)) if before == number => since,
            _ if what == Unfinished::Preface => self.opened,
            _ => Instant::now(),
        };
        self.unfinished = Some((number, since));
        let body = what == Unfinished::Body;
        let patience = if body { self.patience.body } else { self.patience.header };
        Some((since + patience, Closed::Unfinished))
    }

    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Option<Closed> {
        let (deadline, reason) = self.deadline()?;
        let new = || Box::pin(tokio::time::sleep_until(deadline));
        let timer = self.timer.get_or_insert_with(new);
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return Some(reason);
            }
            timer.as_mut().reset(deadline);
        }
        None
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.peer.left();
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.peer.poll_closing(cx) {
            let text = "another connection needs the place";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, text)));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.frames.read(buf.filled().get(before..).unwrap_or_default());
        } else if let Some(reason) = self.poll_overdue(cx) {
            self.peer.metrics().closed(reason);
            let text = format!("closed for being {}", reason.name());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        read
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.peer.is_closing() {
            return Poll::Ready(Ok(()));
        }
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let timer = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 8 << 10];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl tonic::transport::server::Connected for Conn {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer()
    }
}
