//! The feed's part in the thread that writes the table.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::batch::Handed;
use super::codec::{PurgeNumber, purge_key, purge_of};
use super::owed::Progress;
use super::position::{Checkpoint, Purges, Source};
use super::{Feed, Noted};
use crate::observe::{CacheFeedEvent, CacheFeedSent};
use crate::vault::change::{Change, Partition, Scope};
use crate::vault::key::Place;
use crate::vault::table::Table;
use crate::vault::writer::Writer;

/// How long what is on its way may take at the end of the process.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// A partition as it was followed.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What the table says next.
    pub(super) checkpoint: Checkpoint,
    /// Up to where purges have turned the epochs: never goes back while the topic is the same.
    pub(super) seen: u64,
    pub(super) purges: Purges,
}

/// Applies what the topics say, and sends what is filled and purged here.
pub(in crate::vault) struct Follower {
    pub(super) feed: Arc<Feed>,
    pub(super) answers: HashMap<u32, Lane>,
    changes: HashMap<u32, Lane>,
    /// Purges of more than an account that were done already, the latest last.
    pub(super) wide: VecDeque<PurgeNumber>,
    /// The table could not take something: it is read again when the disk is back.
    pub(super) behind: bool,
}

impl Follower {
    /// Takes up what the table remembers; without one, once there is one.
    pub(in crate::vault) fn new(feed: Arc<Feed>, table: Option<&Table>) -> Self {
        let (answers, changes, wide) = Default::default();
        let behind = table.is_none();
        let follower = Self { feed, answers, changes, wide, behind };
        follower.take_up(table);
        follower
    }

    fn take_up(&self, table: Option<&Table>) {
        let owed = table.and_then(|table| table.owed().ok());
        for scope in owed.into_iter().flatten().filter_map(|key| purge_of(&key).ok()) {
            self.feed.owed().owe(&scope);
        }
    }

    pub(super) fn lanes(&mut self, source: Source) -> &mut HashMap<u32, Lane> {
        match source {
            Source::Answers => &mut self.answers,
            Source::Changes => &mut self.changes,
        }
    }

    pub(in crate::vault) fn take_on(&mut self, handed: Handed, writer: &mut Writer) {
        let current = self.feed.generation();
        match handed {
            Handed::Begin { source, generation, identity, answer } if generation == current => {
                if let Some(known) = self.begin(source, &identity, writer) {
                    // Who asked may have gone.
                    let _ = answer.send(known);
                }
            }
            Handed::StartOver { generation } if generation == current => {
                if let Some(table) = writer.table() {
                    let identity = table.identity().ok().flatten().unwrap_or_default();
                    self.start_over(&identity, &table, writer);
                }
            }
            Handed::Assigned { source, generation, starts } if generation == current => {
                self.assigned(source, starts);
            }
            Handed::Batch(batch) if batch.generation == current => self.batch(batch, writer),
            Handed::AtEnd { source, generation } if generation == current && !self.behind => {
                self.feed.standing.is_at_end(source);
            }
            // From before the feed began again.
            _ => {}
        }
    }

    /// `None`: the table was begun anew, and so must the readers.
    fn begin(
        &mut self,
        source: Source,
        identity: &str,
        writer: &mut Writer,
    ) -> Option<Option<BTreeMap<u32, Checkpoint>>> {
        let Some(table) = writer.table() else { return Some(self.live(source)) };
        let stands = table.identity().and_then(|fed| Ok((fed, table.positions(source)?)));
        match stands {
            Ok((fed, positions)) if fed.as_deref() == Some(identity) => Some(Some(positions)),
            Ok((fed, _)) => {
                if let Some(fed) = fed {
                    tracing::warn!(
                        was = fed,
                        is = identity,
                        "the account cache was fed from elsewhere"
                    );
                }
                self.start_over(identity, &table, writer);
                None
            }
            Err(error) => {
                drop(table);
                writer.broke(&error);
                Some(self.live(source))
            }
        }
    }

    /// Without a table purges must still reach memory, from where they last did.
    fn live(&mut self, source: Source) -> Option<BTreeMap<u32, Checkpoint>> {
        let lanes = self.lanes(source);
        let seen = lanes.iter().map(|(partition, lane)| {
            let checkpoint = Checkpoint { next: lane.seen, ..lane.checkpoint };
            (*partition, checkpoint)
        });
        (!lanes.is_empty()).then(|| seen.collect())
    }

    fn start_over(&mut self, identity: &str, table: &Arc<Table>, writer: &mut Writer) {
        self.answers.clear();
        self.changes.clear();
        self.feed.owed().start_over();
        // What memory has may have been purged in what was missed.
        writer.forget(&Scope::All);
        let was_used = table.size().1 > 0 || table.identity().is_ok_and(|fed| fed.is_some());
        if let Err(error) = table.start_over(identity) {
            writer.broke(&error);
        }
        // Again, for lookups that read from it meanwhile.
        writer.turn(&Scope::All);
        self.again();
        if was_used {
            self.feed.record(CacheFeedEvent::StartedOver);
        }
    }

    /// Sends the readers back to where the table stands.
    fn again(&self) {
        self.feed.standing.is_behind();
        self.feed.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn assigned(&mut self, source: Source, starts: Vec<(u32, Checkpoint)>) {
        let positions = starts.iter().map(|(partition, start)| (*partition, start.next));
        self.feed.standing.begins(source, positions);
        let lanes = self.lanes(source);
        for (partition, checkpoint) in starts {
            let lane = lanes.entry(partition).or_insert_with(|| Lane {
                purges: Purges::after(checkpoint.purged),
                ..Lane::default()
            });
            lane.checkpoint = checkpoint;
            lane.seen = lane.seen.max(checkpoint.next);
        }
    }

    pub(super) fn partition_of(&self, place: &Place) -> u32 {
        Partition::of_place(place, self.feed.kafka.partitions).number
    }

    /// Sends an answer that was filled here.
    pub(in crate::vault) fn send(&self, place: &Place, record: &[u8]) {
        let partition = self.partition_of(place);
        // Without either, Kafka has not answered yet.
        let sender = self.feed.sender.load();
        let (Some(sender), Some(lane)) = (&*sender, self.answers.get(&partition)) else {
            return self.feed.record(CacheFeedEvent::Sent(CacheFeedSent::Undelivered));
        };
        sender.answer(partition, place, lane.seen, record);
    }

    /// Takes on a purge that was asked for here, and what the table is to remember of it.
    pub(in crate::vault) fn owe(
        &self,
        scope: &Scope,
    ) -> (Option<watch::Receiver<Progress>>, Option<Change>) {
        let progress = self.feed.owed().owe(scope);
        (progress, purge_key(scope).map(|key| Change::Note(Noted::Owed(key))))
    }

    /// Sends the purges that are owed, and forgets those that are not any more.
    pub(in crate::vault) fn pay(&self, writer: &mut Writer) {
        let sender = self.feed.sender.load_full();
        if let Some(failed) = sender.as_ref().filter(|sender| sender.has_failed()) {
            tracing::error!("the account cache's producer failed for good; a new one takes over");
            self.feed.renew_sender(failed.bound());
        }
        let unsent = self.feed.owed().take_unsent();
        for sending in unsent {
            match &*self.feed.sender.load() {
                Some(sender) => sender.purge(sending),
                None => self.feed.owed().late(&sending),
            }
        }
        let (settled, purges) = {
            let mut owed = self.feed.owed();
            (owed.take_settled(), owed.count())
        };
        self.feed.record(CacheFeedEvent::Owed(purges));
        if !settled.is_empty() {
            let paid = settled.into_iter().map(|key| Change::Note(Noted::Paid(key)));
            // At worst one is sent once more after a restart.
            let _ = writer.change(paid.collect());
        }
    }

    /// The table may lack something: the disk was at fault.
    pub(in crate::vault) fn lacks_something(&mut self) {
        self.behind = true;
    }

    /// What is due now and then.
    pub(in crate::vault) fn look_after(&mut self, writer: &mut Writer) {
        if self.behind && writer.table().is_some() {
            self.catch_up(writer);
        }
        self.pay(writer);
    }

    /// The table takes changes again: it lacks what came meanwhile, and what is owed may not be
    /// remembered there.
    fn catch_up(&mut self, writer: &mut Writer) {
        self.behind = false;
        self.again();
        // Of an earlier process, if there was no table before.
        self.take_up(writer.table().as_deref());
        let keys = self.feed.owed().keys();
        let owed = keys.into_iter().map(|key| Change::Note(Noted::Owed(key)));
        let _ = writer.change(owed.collect());
        self.tidy(writer);
    }

    /// Lets go of changes that no answer can be from before of. Begins to note them, too.
    pub(in crate::vault) fn tidy(&self, writer: &mut Writer) {
        let Some(table) = writer.table() else { return };
        let kept = self.feed.kafka.cache_retention;
        if let Err(error) = table.forget_changes(self.feed.clock.now(), kept) {
            drop(table);
            writer.broke(&error);
        }
    }

    /// A last chance for what is on its way.
    pub(in crate::vault) fn close(&self, writer: &mut Writer) {
        if let Some(sender) = self.feed.sender.swap(None) {
            sender.flush(LAST_PATIENCE);
        }
        self.pay(writer);
    }
}
