//! Connections as both protocols get them: accepted without spinning, closed without a reset.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_stream::Stream;

/// After an error that is the process' own (no descriptors left), not the connection's.
const BACK_OFF: Duration = Duration::from_millis(50);

/// How long what a refused peer is still sending is read and thrown away. Closing at once would
/// reset the connection, and the peer would lose the answer that lies in its buffers.
const LINGER: Duration = Duration::from_secs(1);

/// Length of HTTP/2's client preface; an HTTP/1 request with a body is longer.
const PREFACE_LEN: usize = 24;

type Timer = Pin<Box<Sleep>>;

/// The stream of a listener's connections; it never ends and never fails.
#[derive(Debug)]
pub(super) struct Incoming {
    listener: TcpListener,
    header_timeout: Duration,
    back_off: Option<Timer>,
    /// So that a run of errors is logged once.
    failing: bool,
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, header_timeout: Duration) -> Self {
        Self { listener, header_timeout, back_off: None, failing: false }
    }

    fn failed(&mut self, error: &io::Error) {
        if !self.failing {
            tracing::warn!(%error, "can't accept connections, trying on");
        }
        self.failing = true;
        self.back_off = Some(Box::pin(tokio::time::sleep(BACK_OFF)));
    }
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
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => {
                    self.failing = false;
                    return Poll::Ready(Some(Ok(Conn::new(stream, self.header_timeout))));
                }
                Err(error) => match error.kind() {
                    ConnectionAborted | ConnectionRefused | ConnectionReset => {}
                    _ => self.failed(&error),
                },
            }
        }
    }
}

/// A connection that must say something in time, and lingers when it is closed.
#[derive(Debug)]
pub(super) struct Conn {
    stream: TcpStream,
    /// Bytes of the preface that are still awaited, and until when.
    preface: Option<(usize, Timer)>,
    /// Set once our side is closed.
    linger: Option<Timer>,
}

impl Conn {
    fn new(stream: TcpStream, header_timeout: Duration) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "can't set TCP_NODELAY");
        }
        let timer = Box::pin(tokio::time::sleep(header_timeout));
        Self { stream, preface: Some((PREFACE_LEN, timer)), linger: None }
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Some((awaited, timer)) = &mut self.preface else { return read };
        if read.is_ready() {
            let n = buf.filled().len().saturating_sub(before);
            *awaited = awaited.saturating_sub(n);
            if *awaited == 0 {
                self.preface = None;
            }
        } else if timer.as_mut().poll(cx).is_ready() {
            let text = format!("{awaited} bytes short of a request within header_timeout");
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
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}
