//! Keeps a copy of what a connection received, so that the echo can show a request's head byte for byte.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Heads beyond this are not shown.
const LARGEST_HEAD: usize = 256 << 10;

/// What a connection received since the last head was taken.
#[derive(Clone, Default)]
pub struct Tap(Arc<Mutex<Vec<u8>>>);

impl Tap {
    /// The first head that was received, without the empty line at its end. Forgets everything received so far.
    pub fn take_head(&self) -> Option<String> {
        let received = std::mem::take(&mut *self.hold());
        let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
        received.get(..end).map(|head| String::from_utf8_lossy(head).into_owned())
    }

    fn record(&self, bytes: &[u8]) {
        let mut received = self.hold();
        let room = LARGEST_HEAD.saturating_sub(received.len());
        received.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    fn hold(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose incoming bytes also go to a [`Tap`].
pub struct Tapped<S> {
    stream: S,
    tap: Tap,
}

impl<S> Tapped<S> {
    /// Taps the stream.
    pub fn new(stream: S, tap: Tap) -> Self {
        Self { stream, tap }
    }

    /// The stream alone.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.tap.record(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
