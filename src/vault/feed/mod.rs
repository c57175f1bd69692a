//! How the gateways of a fleet share their answers: by a compacted topic that every one of them
//! follows into its own table on disk.
//!
//! # The topic of answers
//!
//! Who fills an answer keeps it at once, in memory and on disk, and sends it to the topic behind
//! the request's back; the others take it over when it arrives (`codec` has the layout). A partition
//! holds the answers of its accounts and their purges, so that Kafka's order is the order in which
//! every gateway applies them, also one that was away and replays: what a table holds follows from
//! what it read, not from when.
//!
//! - Of two versions of an answer that which was asked for later stays, wherever it comes from. So
//!   nothing is lost or brought back when a record is read twice, comes back to who sent it, or
//!   arrives after a newer one of this gateway's own.
//! - A purge removes what stands before it. Purges of a route or of everything go to every
//!   partition, because there is no order between partitions.
//! - An answer behind a purge in the partition may yet show what was before: its fill may have begun
//!   when the purge had not reached that gateway. So an answer says up to where its sender had
//!   followed the partition (its *base*): a purge of it from there on makes it void, for everybody.
//!   The sender's own epochs (`epochs`) assure that no purge before the base fell into the fill.
//! - A purge asked for here is done here at once and owed to the topic until Kafka has it, over
//!   restarts too. Until the feed has passed it, answers that it removes are not taken over (`owed`).
//! - Each purge that arrives turns the epochs, so that memory and fills in progress forget as well.
//!
//! # The topic of changes
//!
//! What a backend says about an account removes the answers that were asked for before. Every
//! gateway reads it by itself, and there is no order between the two topics: an answer may arrive
//! after the event that makes it untrue. So an event is also noted in the table, and answers are
//! checked against the notes when they arrive; whatever the order, the outcome is the same. A table
//! that is begun reads this topic from its start, because the answers that it reads may be older
//! than any event of now. A note is kept as long as an answer may come from the topic
//! (`cache_retention`), and older answers are not taken over.
//!
//! # Positions
//!
//! How far each partition was read stands in the table, in one batch with what was read. When a
//! record may have been missed (the topics were made again, or what was to be read next is no longer
//! there), the table is thrown away and filled from the start. A gateway that starts does not answer
//! from disk before it knows what it missed, so that no purge is overlooked; unless Kafka is away,
//! for then the cache goes on with what it has.

mod apply;
mod batch;
mod classes;
mod codec;
mod event;
mod follower;
mod owed;
mod position;
mod reader;
mod sender;
mod standing;
mod statistics;

pub(super) use batch::Handed;
pub(super) use classes::DataClasses;
pub(super) use follower::Follower;
pub(super) use owed::Progress;
pub(super) use position::{Checkpoint, Source};
pub use standing::{FeedView, PartitionView, TopicView};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use self::owed::Owed;
use self::sender::Sender;
use self::standing::Standing;
use super::disk::Shared;
use super::table::ChangedKey;
use crate::account::AccountHasher;
use crate::config::model::{Kafka, Topic};
use crate::observe::{CacheFeedEvent, Event, Metrics};
use crate::request::{Clock, UnixMillis};

/// Something that a table remembers of its feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// Up to where a partition was taken over.
    Position { source: Source, partition: u32, checkpoint: Checkpoint },
    /// The topic is owed a purge, by its key there.
    Owed(Vec<u8>),
    /// It is no longer.
    Paid(Vec<u8>),
    /// An account changed.
    Changed { key: ChangedKey, at: UnixMillis },
}

/// What the threads of the feed, the thread that writes the table and the vault share.
pub(super) struct Feed {
    pub(super) kafka: Kafka,
    accounts: AccountHasher,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    classes: ArcSwap<DataClasses>,
    owed: Arc<Mutex<Owed>>,
    /// `None` until Kafka has answered for the first time.
    sender: ArcSwapOption<Sender>,
    standing: Standing,
    /// Goes up whenever the topics are to be read from other positions than where readers are;
    /// what they had on its way is dropped then.
    generation: AtomicU64,
    closing: AtomicBool,
}

impl Feed {
    pub(super) fn new(
        kafka: &Kafka,
        accounts: AccountHasher,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            accounts,
            clock,
            standing: Standing::new(Source::ALL.map(|source| topic(kafka, source)), &metrics),
            metrics,
            classes: ArcSwap::default(),
            owed: Arc::new(Mutex::new(Owed::new(kafka.partitions))),
            sender: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            kafka: kafka.clone(),
        })
    }

    fn topic(&self, source: Source) -> String {
        topic(&self.kafka, source)
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, event: CacheFeedEvent) {
        self.metrics.record(Event::CacheFeed(event));
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(super) fn set_classes(&self, classes: DataClasses) {
        self.classes.store(Arc::new(classes));
    }

    /// Whether the table may lack purges that the fleet knows of.
    pub(super) fn holds_back(&self) -> bool {
        self.standing.holds_back()
    }

    /// How long a purge waits for Kafka at most.
    pub(super) fn patience(&self) -> Duration {
        // The client itself gives up at the time-out, and says so.
        self.kafka.delivery_timeout + Duration::from_secs(1)
    }

    pub(super) fn view(&self) -> FeedView {
        self.standing.view(self.owed().count())
    }

    /// Starts to read the topics.
    pub(super) fn follow(self: &Arc<Self>, shared: &Arc<Shared>) -> std::io::Result<()> {
        Source::ALL.into_iter().try_for_each(|source| reader::spawn(shared, self, source))
    }

    /// Asks the readers to end.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

fn topic(kafka: &Kafka, source: Source) -> String {
    kafka.topic(match source {
        Source::Answers => Topic::AccountCache,
        Source::Changes => Topic::AccountChanges,
    })
}

#[cfg(test)]
mod tests;
