use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::Body;
use super::connection::Connection;
use super::head::Whole;
use super::outgoing::Outgoing;
use super::seats::Seat;
use crate::observe::{Event, Metrics};

/// Bytes asked for at once while a head is read.
const READ_AHEAD: usize = 4096;

/// A client's connection as Pingora sees it: what the door has read comes first; a request's body
/// that isn't whole by its deadline, and an answer that the client doesn't read, end it.
///
/// Dropping it closes the connection and frees its seat.
pub(super) struct ClientStream {
    inner: Stream,
    /// What was read and not yet handed on.
    ahead: BytesMut,
    outgoing: Outgoing,
    speaks_http2: bool,
    body: Body,
    body_deadline: Instant,
    /// How long the client may take no byte of an answer.
    stall_timeout: Duration,
    stalled_until: Option<Instant>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
    carried: Arc<ProxyDigest>,
    metrics: Arc<Metrics>,
    _seat: Seat,
}

impl ClientStream {
    pub fn new(
        inner: Stream,
        connection: Arc<Connection>,
        seat: Seat,
        metrics: Arc<Metrics>,
    ) -> pingora::Result<Self> {
        // The digest's place for a proxy's answer is the one place in a session, HTTP/1 or HTTP/2,
        // that carries something of ours.
        let answer = Box::new(ResponseHeader::build(200, Some(0))?);
        let carried = Arc::new(ProxyDigest::new(answer, Some(Box::new(connection.clone()))));
        Ok(Self {
            inner,
            ahead: BytesMut::new(),
            outgoing: Outgoing::default(),
            speaks_http2: false,
            body: Body::NONE,
            body_deadline: Instant::now(),
            stall_timeout: connection.listener.limits.body_timeout,
            stalled_until: None,
            read_timer: None,
            write_timer: None,
            connection,
            carried,
            metrics,
            _seat: seat,
        })
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// What was read and not yet handed on.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Reads more ahead; 0 is the end of the stream. Cancelling it loses nothing.
    pub async fn read_ahead(&mut self) -> io::Result<usize> {
        self.ahead.reserve(READ_AHEAD);
        self.inner.read_buf(&mut self.ahead).await
    }

    /// Reads and forgets what still comes.
    pub async fn discard(&mut self) -> io::Result<usize> {
        self.ahead.clear();
        self.read_ahead().await
    }

    /// Says that the client speaks HTTP/2, whatever ALPN said.
    pub fn speak_http2(&mut self) {
        self.speaks_http2 = true;
    }

    /// Begins a request whose whole head was read ahead: from here its body has `timeout`.
    pub fn begin_request(&mut self, head: Whole, timeout: Duration) {
        self.body = head.body;
        self.body_deadline = Instant::now() + timeout;
        self.body.advance(self.ahead.get(head.length..).unwrap_or_default());
    }

    /// Whether the body of the request in progress has come whole.
    pub fn body_is_over(&self) -> bool {
        self.body.is_over()
    }

    fn late(&self, reason: &'static str) -> io::Error {
        self.metrics.record(Event::ListenerRefused { reason });
        io::Error::new(io::ErrorKind::TimedOut, reason)
    }

    fn poll_all_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outgoing.poll_send(&mut self.inner, context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// Lets a write wait only so long as the client takes something of it.
    fn hold<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled_until = None;
            return written;
        }
        let stall_timeout = self.stall_timeout;
        let until = *self.stalled_until.get_or_insert_with(|| Instant::now() + stall_timeout);
        match poll_at(&mut self.write_timer, until, context) {
            Poll::Ready(()) => Poll::Ready(Err(self.late("answer-not-read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Waits with a timer that is made when it is first needed: most bodies and answers need none.
fn poll_at(
    timer: &mut Option<Pin<Box<Sleep>>>,
    at: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
    if timer.deadline() != at {
        timer.as_mut().reset(at);
    }
    timer.as_mut().poll(context)
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let taken = this.ahead.split_to(this.ahead.len().min(buffer.remaining()));
            buffer.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        if this.body.is_over() {
            return read;
        }
        // A client that sends a byte now and then is never pending for long: look at the time
        // whenever something comes as well.
        let is_late = match &read {
            Poll::Ready(_) => Instant::now() >= this.body_deadline,
            Poll::Pending => poll_at(&mut this.read_timer, this.body_deadline, context).is_ready(),
        };
        if is_late {
            return Poll::Ready(Err(this.late("body-timeout")));
        }
        this.body.advance(buffer.filled().get(before..).unwrap_or_default());
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let before = this.outgoing.progress();
        let written = this.outgoing.poll_write(&mut this.inner, context, bytes);
        if written.is_ready() && this.outgoing.progress() == before {
            // What is only gathered the client has not taken.
            return written;
        }
        this.hold(context, written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = this.outgoing.progress();
        let flushed = this.poll_all_out(context);
        if this.outgoing.progress() != before {
            this.stalled_until = None;
        }
        this.hold(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = match this.poll_all_out(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.inner).poll_shutdown(context),
            other => other,
        };
        this.hold(context, shut)
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    /// Through `poll_shutdown` above, so that a client that reads nothing can't hold it.
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            tracing::debug!(%error, "a connection did not close cleanly");
        }
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for ClientStream {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        if self.speaks_http2 { Some(ALPN::H2) } else { self.inner.selected_alpn_proto() }
    }
}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.carried.clone())
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

/// Not offered: the door has looked already.
impl Peek for ClientStream {}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientStream({})", self.connection.peer)
    }
}
