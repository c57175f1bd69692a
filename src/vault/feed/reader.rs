//! Reads a topic, in a thread of its own, and hands what it says to the thread that writes the
//! table.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, sleep};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::Feed;
use super::batch::{Arrival, Batch, Handed, What};
use super::codec;
use super::event::ChangeEvent;
use super::position::{Checkpoint, Source};
use super::statistics::Context;
use crate::journal::kafka::client::{partition_number, reader_config, watermarks, words};
use crate::observe::{CacheFeedEvent, CacheFeedRecord};
use crate::vault::disk::Shared;

/// Longest wait for an answer to a question about the topics.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// Longest wait for records before anything else is looked after.
const POLL: Duration = Duration::from_millis(100);
/// Wait before a topic that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Records and bytes handed over at once.
const MOST_RECORDS: usize = 1000;
const MOST_BYTES: usize = 4 << 20;

/// Starts to follow a topic.
pub(super) fn spawn(shared: &Arc<Shared>, feed: &Arc<Feed>, source: Source) -> std::io::Result<()> {
    let (shared, feed) = (shared.clone(), feed.clone());
    let name = format!("feed-{}", source.word());
    let reader = Reader { topic: feed.topic(source), shared, feed, source };
    Builder::new().name(name).spawn(move || reader.run()).map(drop)
}

struct Reader {
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    source: Source,
    topic: String,
}

/// Why a topic is read no further from where it was.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// The table is to be fed from elsewhere, or no more.
    #[error("the feed begins again")]
    Again,
    /// It can't be read just now.
    #[error("{0}")]
    Trouble(String),
}

impl From<KafkaError> for Stop {
    fn from(error: KafkaError) -> Self {
        Self::Trouble(words(&error))
    }
}

type Reading = BaseConsumer<Context>;
/// Where partitions ended that were not read that far yet.
type Ahead = BTreeMap<u32, u64>;

impl Reader {
    fn run(self) {
        while !self.feed.is_closing() {
            let generation = self.feed.generation();
            if let Err(Stop::Trouble(error)) = self.follow(generation) {
                self.feed.standing.failed(self.source, error);
            }
            self.rest(generation);
        }
    }

    /// Unless there is already something new to do.
    fn rest(&self, generation: u64) {
        for _ in 0..RETRY.as_millis() / POLL.as_millis() {
            if !self.feed.is_closing() && self.feed.generation() == generation {
                sleep(POLL);
            }
        }
    }

    /// Reads from where the table stands, until that is elsewhere.
    fn follow(&self, generation: u64) -> Result<(), Stop> {
        let consumer = self.connect()?;
        let partitions = self.partitions(&consumer)?;
        let known = self.begin(&consumer, generation, partitions)?;
        let (starts, mut ahead) = self.starts(&consumer, generation, partitions, &known)?;
        let mut assignment = TopicPartitionList::new();
        for (partition, start) in &starts {
            assignment.add_partition_offset(
                &self.topic,
                partition_number(*partition),
                Offset::Offset(i64::try_from(start.next).unwrap_or(i64::MAX)),
            )?;
        }
        let mut told = false;
        self.hand(Handed::Assigned { source: self.source, generation, starts })?;
        consumer.assign(&assignment)?;
        loop {
            let batch = self.collect(&consumer, generation, &mut ahead)?;
            if let Some(batch) = batch {
                self.hand(Handed::Batch(batch))?;
            }
            if ahead.is_empty() && !told {
                self.hand(Handed::AtEnd { source: self.source, generation })?;
                told = true;
            }
            if self.feed.is_closing() || self.feed.generation() != generation {
                return Ok(());
            }
        }
    }

    fn connect(&self) -> Result<Reading, Stop> {
        let mut config = reader_config(&self.feed.kafka, self.source.word());
        config
            .set("statistics.interval.ms", "1000")
            .set("fetch.max.bytes", "8388608")
            .set("queued.max.messages.kbytes", "16384");
        if self.source == Source::Changes {
            // Backends may write in transactions; what they took back never happened.
            config.set("isolation.level", "read_committed");
        }
        let context = Context { feed: self.feed.clone(), source: self.source };
        Ok(config.create_with_context(context)?)
    }

    /// How many partitions the topic has. That of answers must have as many as are configured, or
    /// gateways would look for an account in different ones.
    fn partitions(&self, consumer: &Reading) -> Result<u32, Stop> {
        let metadata = consumer.fetch_metadata(Some(&self.topic), ANSWER)?;
        let found = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let count = found.filter(|topic| topic.error().is_none()).map(|t| t.partitions().len());
        let count = count.filter(|count| *count > 0).and_then(|count| u32::try_from(count).ok());
        let Some(count) = count else {
            return Err(Stop::Trouble(format!(
                "the topic {} is not there: `tollgate kafka init` makes it",
                self.topic
            )));
        };
        let wanted = self.feed.kafka.partitions;
        if self.source == Source::Answers && count != wanted {
            return Err(Stop::Trouble(format!(
                "the topic {} has {count} partitions and the configuration says {wanted}",
                self.topic
            )));
        }
        Ok(count)
    }

    /// Asks the table where it stands. One that was fed from elsewhere is begun anew first.
    fn begin(
        &self,
        consumer: &Reading,
        generation: u64,
        partitions: u32,
    ) -> Result<BTreeMap<u32, Checkpoint>, Stop> {
        let cluster = consumer
            .client()
            .fetch_cluster_id(ANSWER)
            .ok_or_else(|| Stop::Trouble("Kafka does not tell which cluster it is".into()))?;
        let topics = Source::ALL.map(|source| self.feed.topic(source)).join(" ");
        let identity = format!("{cluster} {topics} {}", self.feed.kafka.partitions);
        if self.source == Source::Answers {
            self.feed.provide_sender();
        }
        let (answer, answered) = sync_channel(1);
        self.hand(Handed::Begin { source: self.source, generation, identity, answer })?;
        match answered.recv() {
            Ok(Some(mut known)) => {
                known.retain(|partition, _| *partition < partitions);
                Ok(known)
            }
            Ok(None) => Err(Stop::Trouble("the account cache's disk is at fault".into())),
            Err(_) => Err(Stop::Again),
        }
    }

    /// Where to read each partition from: where the table stands, or else from the start. When
    /// something may be missing in between, the table has to be begun anew. Also the ends of those
    /// that have something to be read.
    fn starts(
        &self,
        consumer: &Reading,
        generation: u64,
        partitions: u32,
        known: &BTreeMap<u32, Checkpoint>,
    ) -> Result<(Vec<(u32, Checkpoint)>, Ahead), Stop> {
        let later = self.first_later(consumer, known)?;
        let (mut starts, mut ahead) = (Vec::new(), Ahead::new());
        for partition in 0..partitions {
            let number = partition_number(partition);
            let (low, high) = watermarks(consumer.client(), &self.topic, number, ANSWER)?;
            let (low, high) = (unsigned(low), unsigned(high));
            let start = Checkpoint { next: low, newest: 0, purged: low };
            let checkpoint = known.get(&partition).copied().unwrap_or(start);
            let made_again = checkpoint.next > high
                || later.get(&partition).is_some_and(|later| *later < checkpoint.next);
            if made_again || checkpoint.next < low {
                let why =
                    if made_again { "was made again" } else { "no longer has what was missed" };
                tracing::warn!(
                    topic = self.topic,
                    partition,
                    "the topic {why}; the account cache is filled from its start"
                );
                self.hand(Handed::StartOver { generation })?;
                return Err(Stop::Again);
            }
            starts.push((partition, checkpoint));
            if checkpoint.next < high {
                ahead.insert(partition, high);
            }
        }
        Ok((starts, ahead))
    }

    /// Of each partition the first record that is newer than all that were read. In the topic that
    /// was read it stands behind them.
    fn first_later(
        &self,
        consumer: &Reading,
        known: &BTreeMap<u32, Checkpoint>,
    ) -> Result<HashMap<u32, u64>, Stop> {
        let mut times = TopicPartitionList::new();
        for (partition, checkpoint) in known.iter().filter(|(_, known)| known.newest > 0) {
            let time = i64::try_from(checkpoint.newest + 1).unwrap_or(i64::MAX);
            times.add_partition_offset(
                &self.topic,
                partition_number(*partition),
                Offset::Offset(time),
            )?;
        }
        if times.count() == 0 {
            return Ok(HashMap::new());
        }
        let found = consumer.offsets_for_times(times, ANSWER)?;
        let offsets = found.elements().into_iter().filter_map(|found| match found.offset() {
            Offset::Offset(offset) => {
                Some((u32::try_from(found.partition()).ok()?, unsigned(offset)))
            }
            _ => None,
        });
        Ok(offsets.collect())
    }

    /// What has arrived, up to a bound. Takes partitions that are read to their end out of `ahead`:
    /// that at the beginning, since one that is always written to has no other. (Where the last
    /// thing is no record but the end of a transaction, the client says so.)
    fn collect(
        &self,
        consumer: &Reading,
        generation: u64,
        ahead: &mut Ahead,
    ) -> Result<Option<Batch>, Stop> {
        let mut batch = Batch::new(self.source, generation);
        let (mut patience, mut bytes) = (POLL, 0);
        while batch.len() < MOST_RECORDS && bytes < MOST_BYTES {
            match consumer.poll(patience) {
                None => break,
                Some(Ok(message)) => {
                    bytes += message.payload_len() + message.key_len();
                    self.take(&message, &mut batch);
                    ahead.retain(|partition, end| {
                        partition_number(*partition) != message.partition()
                            || unsigned(message.offset()) + 1 < *end
                    });
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ahead.remove(&u32::try_from(partition).unwrap_or(u32::MAX));
                }
                Some(Err(error)) => self.bear(&error)?,
            }
            patience = Duration::ZERO;
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Brokers that can't be reached are tried again underneath. Any other trouble may mean that
    /// the topic is not what it was.
    fn bear(&self, error: &KafkaError) -> Result<(), Stop> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::Authentication
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable,
            ) => {
                self.feed.standing.failed(self.source, words(error));
                Ok(())
            }
            _ => Err(Stop::Trouble(words(error))),
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>, batch: &mut Batch) {
        let Ok(partition) = u32::try_from(message.partition()) else { return };
        let offset = unsigned(message.offset());
        let time = message.timestamp().to_millis().map_or(0, unsigned);
        batch.read(partition, offset, time);
        let what = match self.source {
            Source::Answers => {
                let read = codec::decode(message.key().unwrap_or_default(), message.payload());
                read.map(What::Message).map_err(|error| {
                    tracing::warn!(partition, offset, %error, "a record can't be read");
                    self.feed.record(CacheFeedEvent::Read(CacheFeedRecord::Unreadable));
                })
            }
            Source::Changes => {
                let now = self.feed.clock.now();
                let read = ChangeEvent::read(message.payload(), &self.feed.accounts, now);
                read.map(What::Change).map_err(|error| {
                    tracing::warn!(partition, offset, %error, "a change event is bad and is skipped");
                    self.feed.record(CacheFeedEvent::BadChange(error.word()));
                })
            }
        };
        if let Ok(what) = what {
            batch.push(Arrival { partition, offset, what });
        }
    }

    fn hand(&self, handed: Handed) -> Result<(), Stop> {
        if self.shared.queue.hand(handed) { Ok(()) } else { Err(Stop::Again) }
    }
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or_default()
}
