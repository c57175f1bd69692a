//! The journal of a whole fleet, on Apache Kafka: the quota topic's partitions are the journal's.

mod balance;
pub(crate) mod client;
mod health;
mod mirror;
mod open;
mod read_back;
mod reader;
mod replay;
pub(crate) mod statistics;
pub mod topics;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::KafkaError;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use self::balance::Balance;
use self::health::Health;
use self::mirror::{Mirror, Origin};
use self::read_back::ReadBack;
use self::reader::{Follow, Reader};
use self::replay::Replaying;
use self::writer::Writer;
use super::{Journal, JournalError, Offset, Record, Replay, Share, Tail};
use crate::config::model;
use crate::observe::Metrics;
use crate::request::UnixMillis;

/// Header of a claim: the fingerprint of the account key of the gateway that made it.
const ACCOUNT_KEY: &str = "tollgate-account-key";
/// How long to wait for Kafka at start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A journal on a topic of Kafka, shared by all gateways of a fleet.
///
/// Each partition has one tail at a time: a new one ends the one before.
pub struct Kafka {
    topic: String,
    partitions: u32,
    writer: Arc<Writer>,
    reader: Reader,
    mirror: Option<Mirror>,
    replaying: Arc<Replaying>,
    balance: Balance,
    health: Arc<Health>,
}

impl Kafka {
    /// Opens the journal on the quota topic, and waits a minute for Kafka if it can't be reached.
    /// `directory` is this process's own, for what need not be read from Kafka again;
    /// `account_key` is the fingerprint of the gateway's account key, which all of a fleet share.
    ///
    /// # Errors
    /// [`JournalError::Unreachable`], [`NoTopic`](JournalError::NoTopic),
    /// [`TopicPartitions`](JournalError::TopicPartitions),
    /// [`Forbidden`](JournalError::Forbidden) and [`KafkaClient`](JournalError::KafkaClient),
    /// each saying what to do.
    pub async fn open(
        settings: &model::Kafka,
        directory: &Path,
        account_key: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, JournalError> {
        Self::open_with(settings, directory, account_key, metrics, Tuning::default()).await
    }

    /// [`Kafka::open`] with other bounds.
    ///
    /// # Errors
    /// As [`Kafka::open`].
    pub async fn open_with(
        settings: &model::Kafka,
        directory: &Path,
        account_key: &str,
        metrics: Arc<Metrics>,
        tuning: Tuning,
    ) -> Result<Self, JournalError> {
        let (settings, directory) = (settings.clone(), directory.to_owned());
        let key: Arc<str> = account_key.into();
        let opened = spawn_blocking(move || open(&settings, &directory, key, &metrics, tuning));
        opened.await.map_err(|_| JournalError::Closed)?
    }

    fn check(&self, partition: u32) -> Result<(), JournalError> {
        if partition < self.partitions {
            return Ok(());
        }
        Err(JournalError::NoSuchPartition(partition))
    }

    /// The partition's first offset and one past its last.
    async fn watermarks(&self, partition: u32) -> Result<(Offset, Offset), JournalError> {
        self.check(partition)?;
        let writer = Arc::clone(&self.writer);
        let asked = spawn_blocking(move || writer.watermarks(partition));
        asked.await.map_err(|_| JournalError::Closed)?
    }

    /// The mirror, if it has something of a partition from an offset on, and Kafka goes on from
    /// there.
    fn mirrored(
        &self,
        partition: u32,
        from: Offset,
        (first, end): (Offset, Offset),
    ) -> Option<&Mirror> {
        let mirror = self.mirror.as_ref()?;
        let next = mirror.next(partition)?;
        if next < first || next > end {
            mirror.clear(partition);
            return None;
        }
        (from < next).then_some(mirror)
    }
}

/// Bounds that are seldom other than their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How long to wait for Kafka at start.
    pub patience: Duration,
    /// Records that may wait to be confirmed.
    pub queue: usize,
    /// Records that may wait for the mirror on this machine's disk.
    pub backlog: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { patience: PATIENCE, queue: writer::QUEUE, backlog: mirror::BACKLOG }
    }
}

fn open(
    settings: &model::Kafka,
    directory: &Path,
    account_key: Arc<str>,
    metrics: &Arc<Metrics>,
    tuning: Tuning,
) -> Result<Kafka, JournalError> {
    let failed = |error: KafkaError| JournalError::KafkaClient(error.to_string());
    open::look_for_files(settings)?;
    let (topic, partitions) = (settings.topic(model::Topic::Quotas), settings.partitions);
    let health = Health::new(settings.brokers.join(","), topic.clone(), Arc::clone(metrics));
    let consumer = reader::consumer(settings, &health).map_err(failed)?;
    open::wait_for_topic(settings, &consumer, &health, tuning.patience)?;
    let origin = Origin { settings, consumer: &consumer, health: &health };
    let mirror = mirror::open(&directory.join("mirror"), &origin, metrics)?;
    let read_back = ReadBack::new(partitions, metrics);
    let replaying = Replaying::new(topic.clone(), partitions, metrics);
    let writer = Writer::new(settings, tuning.queue, &account_key, &health, &read_back, metrics);
    let writer = writer.map(Arc::new).map_err(failed)?;
    let shared = reader::Shared {
        account_key,
        health: Arc::clone(&health),
        read_back,
        replaying: Arc::clone(&replaying),
        metrics: Arc::clone(metrics),
    };
    let feed = mirror.as_ref().map(|mirror| mirror.feed(tuning.backlog));
    let reader = Reader::start(topic.clone(), partitions, consumer, feed, shared)?;
    let balance = Balance::start(settings, &health)?;
    Ok(Kafka { topic, partitions, writer, reader, mirror, replaying, balance, health })
}

#[async_trait]
impl Journal for Kafka {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    async fn append(&self, partition: u32, record: Record) -> Result<Offset, JournalError> {
        self.check(partition)?;
        self.writer.append(partition, &record).await
    }

    async fn tail(&self, partition: u32, from: Offset) -> Result<Tail, JournalError> {
        let (first, end) = self.watermarks(partition).await?;
        // Whoever has read something must not read on behind a gap, nor in another topic.
        let lost = self.replaying.has_restarted(partition) || from < first || from > end;
        if from > 0 && lost {
            if let Some(mirror) = &self.mirror {
                mirror.clear(partition);
            }
            return Err(JournalError::Restarted { partition, offset: from });
        }
        let (sender, tail) = Tail::channel();
        if from == 0 {
            self.replaying.begin(partition);
        }
        let beginning = from <= first;
        let from = from.max(first);
        self.replaying.open(partition, from, end);
        let follow = Follow { partition, from, beginning, sender };
        match self.mirrored(partition, from, (first, end)) {
            Some(mirror) => mirror.pour(follow, &self.replaying, self.reader.line().clone()),
            None => self.reader.line().follow(follow),
        }
        Ok(tail)
    }

    async fn end(&self, partition: u32) -> Result<Offset, JournalError> {
        Ok(self.watermarks(partition).await?.1)
    }

    /// In Kafka the topic's retention removes them.
    async fn forget(&self, partition: u32, ended: UnixMillis) -> Result<u64, JournalError> {
        self.check(partition)?;
        match &self.mirror {
            Some(mirror) => Ok(mirror.forget(partition, ended).await),
            None => Ok(0),
        }
    }

    fn share(&self) -> watch::Receiver<Share> {
        self.balance.share()
    }

    async fn resign(&self) {
        self.balance.resign().await;
    }

    fn trouble(&self) -> Option<String> {
        self.health.trouble()
    }

    fn clock_ahead(&self) -> i64 {
        self.health.clock_ahead()
    }

    fn is_replayed(&self, partition: u32) -> bool {
        self.replaying.is_done(partition)
    }

    fn replay(&self) -> Replay {
        self.replaying.progress()
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("topic", &self.topic).finish_non_exhaustive()
    }
}
