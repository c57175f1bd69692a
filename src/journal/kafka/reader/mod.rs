//! Reading: one consumer for all partitions, on a thread of its own, which hands records to the
//! partitions' tails. Each partition has a queue of its own within librdkafka, so that a tail that
//! isn't read holds back its own partition and no other, and so that an error is known by its
//! partition.

mod lane;
mod thread;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use self::lane::Lane;
use self::thread::Thread;
use super::client::{Context, reader_config, words};
use super::health::Health;
use super::mirror::Feed;
use super::read_back::ReadBack;
use super::replay::Replaying;
use crate::config::model;
use crate::journal::{JournalError, Offset, TailSender};
use crate::observe::Metrics;

/// Between the statistics that say how far a partition is behind and whether a broker is connected.
const STATISTICS: Duration = Duration::from_secs(2);
/// Of one partition, what librdkafka holds for a tail that isn't read.
const HELD_RECORDS: &str = "10000";
const HELD_KILOBYTES: &str = "2048";
/// One answer of a broker, over all partitions.
const ANSWER_BYTES: &str = "8388608";

/// The consumer. Until the reader is started, whoever has it polls it.
pub(super) fn consumer(
    settings: &model::Kafka,
    health: &Arc<Health>,
) -> Result<Arc<BaseConsumer<Context>>, KafkaError> {
    let mut config = reader_config(settings, "journal-reader");
    config
        .set("statistics.interval.ms", STATISTICS.as_millis().to_string())
        .set("queued.min.messages", HELD_RECORDS)
        .set("queued.max.messages.kbytes", HELD_KILOBYTES)
        .set("fetch.max.bytes", ANSWER_BYTES);
    BaseConsumer::from_config_and_context(&config, Context::judging(health)).map(Arc::new)
}

/// The reader's side for its callers. Dropped, it ends the thread.
pub(super) struct Reader {
    line: Line,
}

/// By which tails are handed to the reader.
#[derive(Clone)]
pub(super) struct Line(Sender<Command>);

enum Command {
    /// A partition's queue is no longer empty.
    Ready(u32),
    Follow(Follow),
    /// Ends the thread; answered once it has let go of the mirror.
    Stop(SyncSender<()>),
}

/// A tail to feed from an offset on.
pub(super) struct Follow {
    pub partition: u32,
    /// First offset to deliver.
    pub from: Offset,
    /// Kafka has no earlier one.
    pub beginning: bool,
    pub sender: TailSender,
}

/// What the reader tells others of.
pub(super) struct Shared {
    pub account_key: Arc<str>,
    pub health: Arc<Health>,
    pub read_back: Arc<ReadBack>,
    pub replaying: Arc<Replaying>,
    pub metrics: Arc<Metrics>,
}

impl Reader {
    pub fn start(
        topic: String,
        partitions: u32,
        consumer: Arc<BaseConsumer<Context>>,
        feed: Option<Feed>,
        shared: Shared,
    ) -> Result<Self, JournalError> {
        let (commands, inbox) = channel();
        let lanes = (0..partitions)
            .map(|partition| Lane::new(&topic, partition, &consumer, &commands))
            .collect::<Result<Vec<_>, _>>()?;
        let thread = Thread {
            topic,
            consumer,
            inbox,
            lanes,
            ready: VecDeque::new(),
            blocked: BTreeSet::new(),
            chores: Instant::now(),
            feed,
            shared,
        };
        std::thread::Builder::new()
            .name("journal-reader".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| JournalError::KafkaClient(error.to_string()))?;
        Ok(Self { line: Line(commands) })
    }

    /// For tails.
    pub fn line(&self) -> &Line {
        &self.line
    }
}

impl Line {
    /// Feeds a tail; one that the partition had before ends.
    pub fn follow(&self, follow: Follow) {
        if !follow.sender.is_closed() {
            // Fails only if the thread has ended; the tail ends then.
            let _ = self.0.send(Command::Follow(follow));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (done, ended) = sync_channel(1);
        if self.line.0.send(Command::Stop(done)).is_ok() {
            // An error means that it has ended.
            let _ = ended.recv();
        }
    }
}

pub(super) fn cannot_read(partition: u32, error: &KafkaError) -> JournalError {
    let reason = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            "Kafka does not let this gateway read the topic: `tollgate kafka check` names the \
             permissions that it needs"
                .to_owned()
        }
        _ => words(error),
    };
    JournalError::CannotRead { partition, reason }
}
