use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora::protocols::Stream;
use tokio::io::AsyncWrite;

/// Bytes that wait for more before they are written. A head and a short body then share one write,
/// which is most of what a small answer costs. No more than that: a body that comes slowly must not
/// wait for long.
const GATHERED: usize = 4096;

/// What is written and not yet on its way. Nothing is kept of it between answers, since most
/// connections wait most of the time.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// Of them, those that are on their way.
    sent: usize,
    /// How often the connection took something.
    progress: u64,
}

impl Outgoing {
    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    fn took(&mut self, count: usize) {
        self.progress = self.progress.wrapping_add(1);
        self.sent += count;
        if self.waiting().is_empty() {
            (self.bytes, self.sent) = (Vec::new(), 0);
        }
    }

    /// Tells by a change that the connection took something since.
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// Takes bytes, to be written at the next flush if they are few, else along with what waits.
    pub fn poll_write(
        &mut self,
        to: &mut Stream,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let room = GATHERED.saturating_sub(self.bytes.len());
            if bytes.len() <= room {
                self.bytes.extend_from_slice(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            if self.waiting().is_empty() {
                let count = ready!(Pin::new(to).poll_write(context, bytes))?;
                self.progress = self.progress.wrapping_add(1);
                return Poll::Ready(Ok(count));
            }
            // A TLS stream says that it is, and writes the first of them only.
            if to.get_ssl().is_none() && to.is_write_vectored() {
                let both = [IoSlice::new(self.waiting()), IoSlice::new(bytes)];
                let count =
                    written(ready!(Pin::new(&mut *to).poll_write_vectored(context, &both)))?;
                let own = count.min(self.waiting().len());
                self.took(own);
                if count > own {
                    return Poll::Ready(Ok(count - own));
                }
            } else {
                // A TLS record for what waits alone would cost as much as one for both.
                let (now, _) = bytes.split_at(room);
                if !now.is_empty() {
                    self.bytes.extend_from_slice(now);
                    return Poll::Ready(Ok(now.len()));
                }
                ready!(self.poll_send(to, context))?;
            }
        }
    }

    /// Hands all on that waits.
    pub fn poll_send(
        &mut self,
        to: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.waiting().is_empty() {
            let count = written(ready!(Pin::new(&mut *to).poll_write(context, self.waiting())))?;
            self.took(count);
        }
        Poll::Ready(Ok(()))
    }
}

fn written(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        other => other,
    }
}
