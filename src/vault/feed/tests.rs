//! What the table makes of what the topics say, without a broker: the tests hand over themselves.
//! (tests/kafka/feed has the same with real ones.)

mod arrivals;
mod lasting;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::batch::{Arrival, Batch, What};
use super::codec::Message;
use super::event::{ChangeEvent, class_tag};
use super::*;
use crate::account::AccountKey;
use crate::config::model::Kafka;
use crate::request::{ManualClock, RouteId, UnixMillis};
use crate::vault::change::{Partition, Scope};
use crate::vault::entry::Entry;
use crate::vault::key::Place;
use crate::vault::record;
use crate::vault::seal::KeyRing;
use crate::vault::testing::{HOUR, NOW, Opened, entry, settings};
use crate::vault::{Vault, VaultError};

const PARTITIONS: u32 = 4;

fn kafka() -> Kafka {
    Kafka {
        // Nobody is there.
        brokers: vec!["127.0.0.1:1".into()],
        topic_prefix: "test".into(),
        partitions: PARTITIONS,
        replication: 1,
        tls: None,
        sasl: None,
        delivery_timeout: Duration::from_secs(1),
        session_timeout: Duration::from_secs(6),
        cache_retention: 24 * HOUR,
    }
}

/// A gateway whose topics are in the test's hand.
struct Fed {
    opened: Opened,
    feed: Arc<Feed>,
    /// By partition: the next offset.
    next: Vec<u64>,
}

impl Fed {
    async fn open(directory: &Path) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let metrics = Arc::<Metrics>::default();
        let accounts = AccountHasher::new(b"test");
        let shared: Arc<dyn Clock> = clock.clone();
        let vault =
            Vault::open_fed(directory, &settings(), &kafka(), accounts, shared, metrics.clone());
        let opened = Opened { vault: vault.unwrap(), clock, metrics };
        let feed = opened.vault.feed.clone().unwrap();
        let mut fed = Self { opened, feed, next: vec![0; PARTITIONS as usize] };
        fed.begin().await;
        fed
    }

    async fn hand(&self, handed: Handed) {
        assert!(self.opened.vault.disk.shared().queue.hand(handed));
        self.opened.vault.flush().await;
    }

    /// Does what the readers do when they begin, until there is nothing more to be read.
    async fn begin(&mut self) {
        for source in Source::ALL {
            let known = self.ask(source).await;
            let starts = (0..PARTITIONS)
                .map(|partition| (partition, known.get(&partition).copied().unwrap_or_default()));
            let starts: Vec<_> = starts.collect();
            if source == Source::Answers {
                self.next = starts.iter().map(|(_, start)| start.next).collect();
            }
            let generation = self.feed.generation();
            self.hand(Handed::Assigned { source, generation, starts }).await;
            self.hand(Handed::AtEnd { source, generation }).await;
        }
        assert!(self.opened.vault.feed().unwrap().current);
    }

    /// Where the table stands; a new one is begun anew first.
    async fn ask(&self, source: Source) -> std::collections::BTreeMap<u32, Checkpoint> {
        loop {
            let (answer, answered) = sync_channel(1);
            let generation = self.feed.generation();
            let identity = "cluster topics".to_owned();
            self.hand(Handed::Begin { source, generation, identity, answer }).await;
            if let Ok(known) = answered.recv() {
                return known.unwrap();
            }
        }
    }

    /// The next record of a partition. Returns its offset.
    async fn arrives(&mut self, partition: u32, message: Message) -> u64 {
        let offset = self.next[partition as usize];
        self.next[partition as usize] += 1;
        self.arrives_at(partition, offset, message).await;
        offset
    }

    async fn arrives_at(&self, partition: u32, offset: u64, message: Message) {
        let mut batch = Batch::new(Source::Answers, self.feed.generation());
        batch.read(partition, offset, NOW.0);
        batch.push(Arrival { partition, offset, what: What::Message(message) });
        self.hand(Handed::Batch(batch)).await;
    }

    async fn answer(&mut self, entry: &Entry, base: u64) {
        self.arrives(partition(entry), answer(entry, base)).await;
    }

    async fn changed(&self, event: ChangeEvent) {
        let mut batch = Batch::new(Source::Changes, self.feed.generation());
        batch.read(0, 0, NOW.0);
        batch.push(Arrival { partition: 0, offset: 0, what: What::Change(event) });
        self.hand(Handed::Batch(batch)).await;
    }

    /// The body that stands on disk.
    fn stands(&self, place: &Place) -> Option<usize> {
        let table = self.opened.vault.disk.shared().table.load_full()?;
        let record = table.get(place).unwrap()?;
        Some(record::open(&ring(), *place, &record, 0).unwrap().body.len())
    }

    fn read(&self, outcome: &str) -> u64 {
        let line = format!("tollgate_cache_feed_records_total{{outcome=\"{outcome}\"}} ");
        let exposition = self.opened.metrics.exposition();
        let found = exposition.lines().find_map(|text| text.strip_prefix(&line));
        found.map_or(0, |count| count.parse().unwrap())
    }

    fn disk_fails(&self, fails: bool) {
        self.opened.vault.disk.shared().faults.on.store(fails, SeqCst);
    }
}

fn ring() -> KeyRing {
    KeyRing::of(&["a key for tests"])
}

fn partition(entry: &Entry) -> u32 {
    Partition::of_place(&entry.place, PARTITIONS).number
}

fn answer(entry: &Entry, base: u64) -> Message {
    Message::Answer { place: entry.place, base, record: record::seal(&ring(), entry).unwrap() }
}

/// An entry that was asked for so many milliseconds later.
fn later(number: u64, size: usize, by: u64) -> Entry {
    let mut entry = entry(number, size);
    entry.asked = UnixMillis(entry.asked.0 + by);
    entry
}

fn purge(scope: Scope, number: u8) -> Message {
    Message::Purge(scope, Some([number; 16]))
}
