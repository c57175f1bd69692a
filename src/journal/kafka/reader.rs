//! Reading: one consumer for all partitions, on a thread of its own, which hands records to the
//! partitions' tails. Each partition has a queue of its own within librdkafka, so that a tail that
//! isn't read holds back its own partition and no other, and so that an error is known by its
//! partition.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::client::{Context, reader_config};
use super::health::Health;
use super::read_back::ReadBack;
use super::replay::Replaying;
use crate::config::model;
use crate::journal::{JournalError, Offset, Record, TailSender};
use crate::observe::{Event, Metrics};

/// Between looks at what concerns no partition: logs, errors, statistics.
const CHORES: Duration = Duration::from_millis(100);
/// Of those taken at once.
const CHORES_AT_ONCE: usize = 8;
/// Between looks at a tail that had no room.
const BLOCKED: Duration = Duration::from_millis(2);
/// Records of one partition handed on before the others have their turn.
const TURN: usize = 512;

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
    commands: Sender<Command>,
    consumer: Arc<BaseConsumer<Context>>,
}

enum Command {
    /// A partition's queue is no longer empty.
    Ready(u32),
    Follow(Follow),
    Stop,
}

/// A tail to feed from an offset on.
pub(super) struct Follow {
    pub partition: u32,
    /// First offset to deliver.
    pub from: Offset,
    /// Read from the first record that there is, which is the one at `from` or later.
    pub beginning: bool,
    pub sender: TailSender,
}

/// What the thread knows.
struct Thread {
    topic: String,
    consumer: Arc<BaseConsumer<Context>>,
    inbox: Receiver<Command>,
    lanes: Vec<Lane>,
    /// Partitions with something to read, in turn.
    ready: VecDeque<u32>,
    /// Partitions whose tail has no room.
    blocked: BTreeSet<u32>,
    chores: Instant,
    shared: Shared,
}

/// What the reader tells others of.
pub(super) struct Shared {
    pub health: Arc<Health>,
    pub read_back: Arc<ReadBack>,
    pub replaying: Arc<Replaying>,
    pub metrics: Arc<Metrics>,
}

/// One partition.
struct Lane {
    queue: PartitionQueue<Context>,
    /// Whether a `Ready` is on its way.
    called: Arc<AtomicBool>,
    tail: Option<Follow>,
}

/// Why a lane's turn ended.
enum Turn {
    /// Nothing is left to read.
    Empty,
    /// There may be more.
    More,
    /// The tail has no room.
    Blocked,
    /// The tail was dropped.
    Gone,
    /// The partition can't be read on.
    Failed(JournalError),
}

impl Reader {
    pub fn start(
        topic: String,
        partitions: u32,
        consumer: Arc<BaseConsumer<Context>>,
        shared: Shared,
    ) -> Result<Self, JournalError> {
        let (commands, inbox) = channel();
        let lanes = (0..partitions)
            .map(|partition| lane(&topic, partition, &consumer, &commands))
            .collect::<Result<Vec<_>, _>>()?;
        let thread = Thread {
            topic,
            consumer: Arc::clone(&consumer),
            inbox,
            lanes,
            ready: VecDeque::new(),
            blocked: BTreeSet::new(),
            chores: Instant::now(),
            shared,
        };
        thread::Builder::new()
            .name("journal-reader".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| JournalError::KafkaClient(error.to_string()))?;
        Ok(Self { commands, consumer })
    }

    /// Feeds a tail; one that the partition had before ends.
    pub fn follow(&self, follow: Follow) {
        // Fails only if the thread has ended; the tail ends then.
        let _ = self.commands.send(Command::Follow(follow));
    }

    /// For questions about offsets.
    pub fn consumer(&self) -> &Arc<BaseConsumer<Context>> {
        &self.consumer
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
    }
}

/// A partition's queue must be split off before the partition is assigned: else its first records
/// go where those of all partitions go.
fn lane(
    topic: &str,
    partition: u32,
    consumer: &Arc<BaseConsumer<Context>>,
    commands: &Sender<Command>,
) -> Result<Lane, JournalError> {
    let number = i32::try_from(partition).map_err(|_| JournalError::NoSuchPartition(partition))?;
    let mut queue = consumer.split_partition_queue(topic, number).ok_or_else(|| {
        JournalError::KafkaClient(format!("no queue for partition {partition} of topic {topic}"))
    })?;
    let called = Arc::new(AtomicBool::new(false));
    let (commands, flag) = (commands.clone(), Arc::clone(&called));
    // Called by librdkafka's threads under its locks: it must only pass the word on.
    queue.set_nonempty_callback(move || {
        if !flag.swap(true, Ordering::AcqRel) {
            let _ = commands.send(Command::Ready(partition));
        }
    });
    Ok(Lane { queue, called, tail: None })
}

impl Thread {
    fn run(mut self) {
        while self.take_commands() {
            let blocked = std::mem::take(&mut self.blocked);
            self.ready.extend(blocked);
            for _ in 0..self.ready.len() {
                let Some(partition) = self.ready.pop_front() else { break };
                self.serve(partition);
            }
            if self.chores.elapsed() >= CHORES {
                self.do_chores();
            }
        }
    }

    /// Takes all commands that wait, and waits itself if there is nothing to do. False: the end.
    fn take_commands(&mut self) -> bool {
        let wait = match (self.ready.is_empty(), self.blocked.is_empty()) {
            (false, _) => Duration::ZERO,
            (true, false) => BLOCKED,
            (true, true) => CHORES.saturating_sub(self.chores.elapsed()),
        };
        let mut follows = Vec::new();
        let mut next = self.inbox.recv_timeout(wait);
        loop {
            match next {
                Ok(Command::Ready(partition)) => {
                    if let Some(lane) = self.lanes.get(partition as usize) {
                        // Before the queue is read: what comes from now on calls again.
                        lane.called.store(false, Ordering::Release);
                        self.ready.push_back(partition);
                    }
                }
                Ok(Command::Follow(follow)) => follows.push(follow),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => break,
            }
            next = self.inbox.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
        if !follows.is_empty() {
            self.follow(follows);
        }
        true
    }

    fn do_chores(&mut self) {
        self.chores = Instant::now();
        for _ in 0..CHORES_AT_ONCE {
            // None may mean that it was a line of the log, with more behind it. What concerns all
            // partitions was reported to the context already.
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
                tracing::debug!(%error, "the Kafka reader complained");
            }
        }
        self.shared.replaying.report();
    }

    fn follow(&mut self, follows: Vec<Follow>) {
        for follow in follows {
            let partition = follow.partition;
            self.stop(partition, Some(replaced(partition)));
            if let Err(error) = self.assign(&follow) {
                let _ = follow.sender.try_send(Err(cannot_read(partition, &error)));
                continue;
            }
            if let Some(lane) = self.lanes.get_mut(partition as usize) {
                lane.tail = Some(follow);
            }
        }
    }

    fn assign(&self, follow: &Follow) -> Result<(), KafkaError> {
        let offset = if follow.beginning {
            KafkaOffset::Beginning
        } else {
            KafkaOffset::Offset(i64::try_from(follow.from).unwrap_or(i64::MAX))
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, number(follow.partition), offset)?;
        self.consumer.incremental_assign(&list)
    }

    /// Lets go of a partition; its tail ends, with an error if there is one.
    fn stop(&mut self, partition: u32, error: Option<JournalError>) {
        let Some(lane) = self.lanes.get_mut(partition as usize) else { return };
        let Some(follow) = lane.tail.take() else { return };
        if let Some(error) = error {
            end(follow.sender, error);
        }
        self.blocked.remove(&partition);
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, number(partition));
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(partition, %error, "a partition could not be let go of");
        }
    }

    fn serve(&mut self, partition: u32) {
        let Some(lane) = self.lanes.get_mut(partition as usize) else { return };
        match lane.turn(&self.shared) {
            Turn::Empty => {}
            Turn::More => self.ready.push_back(partition),
            Turn::Blocked => {
                self.blocked.insert(partition);
            }
            Turn::Gone => self.stop(partition, None),
            Turn::Failed(error) => {
                if matches!(error, JournalError::Corrupt { .. }) {
                    self.shared.metrics.record(Event::JournalCorrupt { partition });
                }
                self.stop(partition, Some(error));
            }
        }
    }
}

impl Lane {
    /// Hands on what waits, for as long as the tail has room.
    fn turn(&mut self, shared: &Shared) -> Turn {
        for _ in 0..TURN {
            if let Some(follow) = &self.tail {
                if follow.sender.is_closed() {
                    return Turn::Gone;
                }
                if follow.sender.capacity() == 0 {
                    return Turn::Blocked;
                }
            }
            let Some(polled) = self.queue.poll(Duration::ZERO) else { return Turn::Empty };
            // Nobody wants it any more.
            let Some(follow) = &mut self.tail else { continue };
            let handed = match polled {
                Ok(message) => follow.hand_on(&message, shared),
                Err(KafkaError::PartitionEOF(_)) => {
                    shared.replaying.done(follow.partition);
                    Ok(())
                }
                Err(error) => Err(follow.failed(&error)),
            };
            if let Err(error) = handed {
                return Turn::Failed(error);
            }
        }
        Turn::More
    }
}

impl Follow {
    fn hand_on(
        &mut self,
        message: &BorrowedMessage<'_>,
        shared: &Shared,
    ) -> Result<(), JournalError> {
        let offset = Offset::try_from(message.offset()).unwrap_or_default();
        if offset < self.from {
            return Ok(());
        }
        shared.health.reached();
        self.from = offset + 1;
        let partition = self.partition;
        // A tombstone: its key was taken away by hand.
        if let Some(bytes) = message.payload() {
            let record = Record::decode(bytes).map_err(|reason| JournalError::Corrupt {
                partition,
                offset,
                reason,
            })?;
            shared.read_back.read(partition, message.key().unwrap_or_default());
            // There is room, and a tail that was dropped meanwhile is noticed at the next record.
            let _ = self.sender.try_send(Ok((offset, record)));
        }
        shared.replaying.read(partition, offset);
        Ok(())
    }

    fn failed(&self, error: &KafkaError) -> JournalError {
        let partition = self.partition;
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => JournalError::Restarted { partition, offset: self.from },
            _ => cannot_read(partition, error),
        }
    }
}

/// The last item of a tail. If the tail has no room, it is told once it has.
fn end(sender: TailSender, error: JournalError) {
    if let Err(tokio::sync::mpsc::error::TrySendError::Full(item)) = sender.try_send(Err(error)) {
        let _ = thread::Builder::new().name("journal-tail-end".to_owned()).spawn(move || {
            let _ = sender.blocking_send(item);
        });
    }
}

fn replaced(partition: u32) -> JournalError {
    let reason = "another tail of the same partition was opened".to_owned();
    JournalError::CannotRead { partition, reason }
}

fn number(partition: u32) -> i32 {
    // Partitions are numbered by Kafka, in 31 bits.
    i32::try_from(partition).unwrap_or(i32::MAX)
}

pub(super) fn cannot_read(partition: u32, error: &KafkaError) -> JournalError {
    let reason = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            "Kafka does not let this gateway read the topic: `tollgate kafka check` names the \
             permissions that it needs"
                .to_owned()
        }
        Some(code) => format!("Kafka: {code}"),
        None => error.to_string(),
    };
    JournalError::CannotRead { partition, reason }
}
