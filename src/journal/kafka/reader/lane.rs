use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::{Command, Follow, Shared, cannot_read};
use crate::journal::kafka::ACCOUNT_KEY;
use crate::journal::kafka::client::Context;
use crate::journal::kafka::mirror::Feed;
use crate::journal::{JournalError, Offset, Record};

/// Records of one partition handed on before the others have their turn.
const TURN: usize = 512;

/// One partition.
pub(super) struct Lane {
    queue: PartitionQueue<Context>,
    /// Whether a `Ready` is on its way.
    pub called: Arc<AtomicBool>,
    pub tail: Option<Follow>,
}

/// Why a lane's turn ended.
pub(super) enum Turn {
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

impl Lane {
    /// A partition's queue must be split off before the partition is assigned: else its first records
    /// go where those of all partitions go.
    pub fn new(
        topic: &str,
        partition: u32,
        consumer: &Arc<BaseConsumer<Context>>,
        commands: &Sender<Command>,
    ) -> Result<Self, JournalError> {
        let number =
            i32::try_from(partition).map_err(|_| JournalError::NoSuchPartition(partition))?;
        let mut queue = consumer.split_partition_queue(topic, number).ok_or_else(|| {
            JournalError::KafkaClient(format!(
                "no queue for partition {partition} of topic {topic}"
            ))
        })?;
        let called = Arc::new(AtomicBool::new(false));
        let (commands, flag) = (commands.clone(), Arc::clone(&called));
        // Called by librdkafka's threads under its locks: it must only pass the word on.
        queue.set_nonempty_callback(move || {
            if !flag.swap(true, Ordering::AcqRel) {
                let _ = commands.send(Command::Ready(partition));
            }
        });
        Ok(Self { queue, called, tail: None })
    }

    /// Hands on what waits, for as long as the tail has room.
    pub fn turn(&mut self, shared: &Shared, mut feed: Option<&mut Feed>) -> Turn {
        if let (Some(follow), Some(feed)) = (&self.tail, &feed)
            && !feed.has_room()
            && !shared.replaying.is_done(follow.partition)
        {
            return Turn::Blocked;
        }
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
                Ok(message) => follow.hand_on(&message, shared, feed.as_deref_mut()),
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

/// Whether a claim was made with this account key. One that doesn't say was: its gateway is of a
/// version that can't.
fn has_account_key(claim: &BorrowedMessage<'_>, own: &str) -> bool {
    let mut headers = claim.headers().into_iter().flat_map(Headers::iter);
    let named = headers.find(|header| header.key == ACCOUNT_KEY);
    named.is_none_or(|header| header.value == Some(own.as_bytes()))
}

impl Follow {
    fn hand_on(
        &mut self,
        message: &BorrowedMessage<'_>,
        shared: &Shared,
        feed: Option<&mut Feed>,
    ) -> Result<(), JournalError> {
        let offset = Offset::try_from(message.offset()).unwrap_or_default();
        if offset < self.from {
            return Ok(());
        }
        shared.health.reached();
        self.from = offset + 1;
        let partition = self.partition;
        let (key, payload) = (message.key().unwrap_or_default(), message.payload());
        let mut over = None;
        // Without one it is a tombstone: its key was taken away by hand.
        if let Some(bytes) = payload {
            let record = Record::decode(bytes).map_err(|reason| JournalError::Corrupt {
                partition,
                offset,
                reason,
            })?;
            match &record {
                Record::Horizon(horizon) => over = Some(horizon.ended),
                Record::Claim(claim) if !has_account_key(message, &shared.account_key) => {
                    let owner = Arc::clone(&claim.owner);
                    return Err(JournalError::AnotherAccountKey { partition, offset, owner });
                }
                Record::Claim(_) | Record::Use(_) => {}
            }
            shared.read_back.read(partition, key);
            // There is room, and a tail that was dropped meanwhile is noticed at the next record.
            let _ = self.sender.try_send(Ok((offset, record)));
        }
        if let Some(feed) = feed {
            feed.keep(partition, offset, key, payload);
            if let Some(ended) = over {
                feed.forget(partition, ended);
            }
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
