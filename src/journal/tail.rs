use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc;

use super::{JournalError, Offset, Record};

/// The records of a partition in order: those that are there, then those to come. Bounded: a
/// reader that doesn't read holds the journal's sender back, not its memory up.
#[derive(Debug)]
pub struct Tail(mpsc::Receiver<Result<(Offset, Record), JournalError>>);

/// The journal's side of a [`Tail`].
pub type TailSender = mpsc::Sender<Result<(Offset, Record), JournalError>>;

impl Tail {
    /// Records that may wait to be read.
    pub const CAPACITY: usize = 4096;

    /// Both sides of a tail.
    pub fn channel() -> (TailSender, Self) {
        let (sender, receiver) = mpsc::channel(Self::CAPACITY);
        (sender, Self(receiver))
    }

    /// The next record; waits for it. An error is the last item. `None`: the journal is closed.
    pub async fn next(&mut self) -> Option<Result<(Offset, Record), JournalError>> {
        self.0.recv().await
    }

    /// Whether no record waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for a record, then takes it and those that wait behind it, at most `limit`. Says how
    /// many; none if the journal is closed.
    pub async fn next_many(
        &mut self,
        into: &mut Vec<Result<(Offset, Record), JournalError>>,
        limit: usize,
    ) -> usize {
        self.0.recv_many(into, limit).await
    }
}

impl Stream for Tail {
    type Item = Result<(Offset, Record), JournalError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
