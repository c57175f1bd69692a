//! The journal: an ordered, durable, partitioned log of records. All that is exact about quotas
//! rests on the few promises that [`Journal`] makes; everything above the trait is the same
//! whichever journal stands below it.

mod codec;
mod embedded;
mod error;
pub(crate) mod kafka;
mod record;
mod store;
mod tail;

pub use codec::RecordError;
pub use embedded::Embedded;
pub use error::JournalError;
pub use kafka::{Kafka, Tuning, topics};
pub use record::{
    AccountBytes, Bucket, Claim, Horizon, Label, Offset, Period, Record, RecordKey, Use,
};
pub use tail::{Tail, TailSender};

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::request::UnixMillis;

/// Partitions that one process should own.
pub type Share = Arc<BTreeSet<u32>>;

/// An ordered, durable log in partitions.
///
/// What an implementation promises, and all that may be relied on:
/// - A partition is in total order by offset; offsets rise and are never used again.
/// - An append writes its record once at most, also where it is retried underneath.
/// - A record that [`append`](Journal::append) confirmed is durable, and every tail delivers it,
///   or a later record with the same [key](Record::key).
/// - A record whose append failed for certain
///   ([`JournalError::is_ambiguous`] is false) never appears. One whose append failed ambiguously
///   may appear, at once or later, or never.
/// - A tail delivers durable records only, in order.
/// - Of several records with one key only the last need be kept (compaction). Writers keep that
///   harmless by having at most one record for each key on its way.
#[async_trait]
pub trait Journal: Send + Sync {
    /// How many partitions there are, numbered from 0. Fixed for the life of the journal.
    fn partitions(&self) -> u32;

    /// Appends a record and resolves once it is durable.
    async fn append(&self, partition: u32, record: Record) -> Result<Offset, JournalError>;

    /// All records of a partition from an offset on, then those to come.
    async fn tail(&self, partition: u32, from: Offset) -> Result<Tail, JournalError>;

    /// One past the offset of the last durable record.
    async fn end(&self, partition: u32) -> Result<Offset, JournalError>;

    /// Lets go of records whose period ended at or before a time; says how many. A journal that
    /// removes them by an age of its own does nothing here.
    async fn forget(&self, partition: u32, ended: UnixMillis) -> Result<u64, JournalError>;

    /// The partitions that this process should own, as it changes. A proposal, by which the load
    /// is shared out: who owns a partition is decided by the claims in it alone.
    fn share(&self) -> watch::Receiver<Share>;

    /// Gives its share up for good, so that it is proposed to others.
    async fn resign(&self);

    /// Lets go of everything that another process needs to open the same journal, once what was
    /// appended is durable. Until it is [regained](Journal::regain), appends fail and tails stand
    /// still. A journal that several processes can have open does nothing.
    async fn release(&self) {}

    /// Takes back what was released.
    ///
    /// # Errors
    /// It can't be opened. It is tried again, as after a failure of the disk.
    async fn regain(&self) -> Result<(), JournalError> {
        Ok(())
    }

    /// What is wrong with the journal as a whole just now, in words for an operator.
    fn trouble(&self) -> Option<String>;

    /// How many milliseconds this machine's clock is ahead of the one that dates the journal's
    /// records, at least; negative if it is behind. 0 where that is not known.
    fn clock_ahead(&self) -> i64 {
        0
    }

    /// Whether a partition's tail has delivered all that was there when it was opened. An offset
    /// doesn't tell: what stood before the end may have been removed.
    fn is_replayed(&self, partition: u32) -> bool;

    /// How far the tails have read towards what was there when they were opened. A journal that
    /// reads from this machine's own disk need not say.
    fn replay(&self) -> Replay {
        Replay::DONE
    }
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Partitions whose tail has reached what was the end when it was opened.
    pub done: u32,
    /// All partitions.
    pub partitions: u32,
    /// Records read so far.
    pub records: u64,
    /// Of all that is to be read; 100 only when it is done.
    pub percent: u8,
}

impl Replay {
    /// Nothing is left to read.
    pub const DONE: Self = Self { done: 0, partitions: 0, records: 0, percent: 100 };

    /// Whether everything that was there has been read.
    pub fn is_done(&self) -> bool {
        self.done == self.partitions
    }
}
