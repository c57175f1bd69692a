use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::position::Source;
use crate::observe::{CacheFeedEvent, Event, Metrics};

/// How long the disk is not asked for answers while the feed may catch up and nothing arrives.
/// Beyond that Kafka counts as away, and the cache goes on with what it has.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

/// How the vault stands to the topics that feed it, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedView {
    /// Whether all that the topics said up to now was taken over at least once since the start.
    /// Before that, answers are not given from disk, unless Kafka is away.
    pub current: bool,
    /// Purges of this gateway that Kafka has not taken yet, so that other gateways may still give
    /// what they remove.
    pub owed_purges: u64,
    /// The topic of answers and the topic of changes.
    pub topics: Vec<TopicView>,
}

/// One topic of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Its name.
    pub topic: String,
    /// Whether a broker is connected.
    pub connected: bool,
    /// What went wrong last, if nothing has come since.
    pub error: Option<String>,
    /// Its partitions, as far as they are read.
    pub partitions: Vec<PartitionView>,
}

/// How far a partition was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Its number.
    pub partition: u32,
    /// The offset to read next: all before it stands in the table.
    pub next: u64,
    /// Records not read yet, as of some moments ago; `None`: not known.
    pub lag: Option<u64>,
}

/// What is known of the feed's state.
pub(super) struct Standing {
    topics: [Mutex<State>; 2],
    metrics: Arc<Metrics>,
    born: Instant,
    /// Milliseconds after `born` at which the feed last moved on.
    moved: AtomicU64,
}

#[derive(Default)]
struct State {
    topic: String,
    current: bool,
    connected: bool,
    error: Option<String>,
    partitions: BTreeMap<u32, (u64, Option<u64>)>,
}

impl Standing {
    pub(super) fn new(topics: [String; 2], metrics: &Arc<Metrics>) -> Self {
        let topics = topics.map(|topic| Mutex::new(State { topic, ..State::default() }));
        Self { topics, metrics: metrics.clone(), born: Instant::now(), moved: AtomicU64::new(0) }
    }

    fn state(&self, source: Source) -> MutexGuard<'_, State> {
        let [answers, changes] = &self.topics;
        let state = match source {
            Source::Answers => answers,
            Source::Changes => changes,
        };
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    pub(super) fn holds_back(&self) -> bool {
        let waits = Source::ALL.into_iter().any(|source| !self.state(source).current);
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        waits && self.born.elapsed().saturating_sub(moved) < LONGEST_HOLD
    }

    /// A topic is read from here on.
    pub(super) fn begins(&self, source: Source, positions: impl Iterator<Item = (u32, u64)>) {
        let mut state = self.state(source);
        state.current = false;
        state.error = None;
        state.partitions = positions.map(|(partition, next)| (partition, (next, None))).collect();
        drop(state);
        self.moved();
    }

    pub(super) fn reached(&self, source: Source, partition: u32, next: u64) {
        let mut state = self.state(source);
        state.partitions.entry(partition).or_default().0 = next;
        state.error = None;
        drop(state);
        self.moved();
    }

    /// Everything that a topic had when it was begun has been taken over.
    pub(super) fn is_at_end(&self, source: Source) {
        let mut state = self.state(source);
        if !std::mem::replace(&mut state.current, true) {
            tracing::info!(topic = state.topic, "the account cache has caught up");
        }
    }

    /// The table lacks something again.
    pub(super) fn is_behind(&self) {
        Source::ALL.into_iter().for_each(|source| self.state(source).current = false);
        self.moved();
    }

    /// Something went wrong. Logged when it is another thing than before.
    pub(super) fn failed(&self, source: Source, error: String) {
        let mut state = self.state(source);
        if state.error.as_ref() != Some(&error) {
            tracing::warn!(topic = state.topic, %error, "the account cache's feed has trouble");
            state.error = Some(error);
        }
    }

    pub(super) fn connected(&self, source: Source, connected: bool) {
        let mut state = self.state(source);
        if connected && !state.connected {
            state.error = None;
        }
        state.connected = connected;
        let event = CacheFeedEvent::Connected { topic: source.word(), connected };
        self.metrics.record(Event::CacheFeed(event));
    }

    /// Where partitions end, and whether they were read that far. (What a transaction writes at
    /// its end is no record, but takes an offset.)
    pub(super) fn ends(&self, source: Source, ends: impl Iterator<Item = (u32, u64, bool)>) {
        let mut state = self.state(source);
        let mut records = 0;
        for (partition, end, read) in ends {
            if let Some((next, lag)) = state.partitions.get_mut(&partition) {
                let left = if read { 0 } else { end.saturating_sub(*next) };
                records += left;
                *lag = Some(left);
            }
        }
        let event = CacheFeedEvent::Lag { topic: source.word(), records };
        self.metrics.record(Event::CacheFeed(event));
    }

    pub(super) fn view(&self, owed_purges: u64) -> FeedView {
        let topics = Source::ALL.map(|source| {
            let state = self.state(source);
            let partitions = state.partitions.iter().map(|(partition, (next, lag))| {
                PartitionView { partition: *partition, next: *next, lag: *lag }
            });
            TopicView {
                topic: state.topic.clone(),
                connected: state.connected,
                error: state.error.clone(),
                partitions: partitions.collect(),
            }
        });
        let current = Source::ALL.into_iter().all(|source| self.state(source).current);
        FeedView { current, owed_purges, topics: topics.into() }
    }
}
