use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::lane::{Lane, Turn};
use super::{Command, Follow, Shared, cannot_read};
use crate::journal::kafka::client::{Context, partition_number};
use crate::journal::kafka::mirror::Feed;
use crate::journal::{JournalError, TailSender};
use crate::observe::{Event, JournalEvent};

/// Between looks at what concerns no partition: logs, errors, statistics.
const CHORES: Duration = Duration::from_millis(100);
/// Of those taken at once.
const CHORES_AT_ONCE: usize = 8;
/// Between looks at a tail that had no room.
const BLOCKED: Duration = Duration::from_millis(2);

/// What the thread knows.
pub(super) struct Thread {
    pub topic: String,
    pub consumer: Arc<BaseConsumer<Context>>,
    pub inbox: Receiver<Command>,
    pub lanes: Vec<Lane>,
    /// Partitions with something to read, in turn.
    pub ready: VecDeque<u32>,
    /// Partitions whose tail has no room.
    pub blocked: BTreeSet<u32>,
    pub chores: Instant,
    pub feed: Option<Feed>,
    pub shared: Shared,
}

enum Next {
    GoOn,
    /// The end, and whom to tell.
    End(Option<SyncSender<()>>),
}

impl Thread {
    pub fn run(mut self) {
        let done = loop {
            match self.take_commands() {
                Next::GoOn => {}
                Next::End(done) => break done,
            }
            let blocked = std::mem::take(&mut self.blocked);
            self.ready.extend(blocked);
            for _ in 0..self.ready.len() {
                let Some(partition) = self.ready.pop_front() else { break };
                self.serve(partition);
            }
            if self.chores.elapsed() >= CHORES {
                self.do_chores();
            }
        };
        // Closing the consumer may take a while; the mirror's files must be free before.
        self.feed = None;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Takes all commands that wait, and waits itself if there is nothing to do.
    fn take_commands(&mut self) -> Next {
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
                Ok(Command::Stop(done)) => return Next::End(Some(done)),
                Err(RecvTimeoutError::Disconnected) => return Next::End(None),
                Err(RecvTimeoutError::Timeout) => break,
            }
            next = self.inbox.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
        if !follows.is_empty() {
            self.follow(follows);
        }
        Next::GoOn
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
            if let Some(feed) = &mut self.feed {
                feed.begin(partition, follow.from, follow.beginning);
            }
            if let Some(lane) = self.lanes.get_mut(partition as usize) {
                lane.tail = Some(follow);
            }
            // What an earlier tail left unread is there still, and keeps the queue from calling.
            self.ready.push_back(partition);
        }
    }

    fn assign(&self, follow: &Follow) -> Result<(), KafkaError> {
        // Never "the beginning": librdkafka remembers where that once was.
        let offset = KafkaOffset::Offset(i64::try_from(follow.from).unwrap_or(i64::MAX));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition_number(follow.partition), offset)?;
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
        list.add_partition(&self.topic, partition_number(partition));
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(partition, %error, "a partition could not be let go of");
        }
    }

    fn serve(&mut self, partition: u32) {
        let Some(lane) = self.lanes.get_mut(partition as usize) else { return };
        let turn = lane.turn(&self.shared, self.feed.as_mut());
        if let Some(feed) = &mut self.feed {
            feed.flush();
        }
        match turn {
            Turn::Empty => {}
            Turn::More => self.ready.push_back(partition),
            Turn::Blocked => {
                self.blocked.insert(partition);
            }
            Turn::Gone => self.stop(partition, None),
            Turn::Failed(error) => {
                self.note(partition, &error);
                self.stop(partition, Some(error));
            }
        }
    }

    /// What follows from an error beyond the end of the tail.
    fn note(&mut self, partition: u32, error: &JournalError) {
        match error {
            JournalError::Corrupt { .. } => {
                self.shared.metrics.record(Event::Journal(JournalEvent::Corrupt { partition }));
            }
            JournalError::Restarted { .. } => {
                self.shared.replaying.restart(partition);
                if let Some(feed) = &mut self.feed {
                    feed.clear(partition);
                }
            }
            _ => {}
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
