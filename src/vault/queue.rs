use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pingora_cache::key::HashBinary;
use tokio::sync::{oneshot, watch};

use super::change::Scope;
use super::entry::Entry;
use super::feed::{Handed, Progress};

/// What waits for the disk, between the requests that cause it and the one thread that does it.
///
/// Requests never wait here: when the bound is reached, an answer is simply not written to disk.
/// Removals are not bounded, for each has somebody who waits for it. Only the readers of a feed
/// wait, so that they read no faster than the disk takes it.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Told when what the feed handed over was taken.
    room: Condvar,
    bound: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// In order of arrival; what to write is in `entries`, which has the newest version.
    order: VecDeque<HashBinary>,
    /// Also those being written just now: a lookup finds them here until they are on disk.
    entries: HashMap<HashBinary, Waiting>,
    bytes: u64,
    removals: Vec<Removal>,
    handed: Vec<Handed>,
    barriers: Vec<oneshot::Sender<()>>,
    closing: bool,
}

/// Pieces of a feed that may wait, a batch each at most.
const MOST_HANDED: usize = 2;

#[derive(Debug)]
struct Waiting {
    entry: Arc<Entry>,
    /// In `order`; else being written.
    in_order: bool,
}

/// A purge that somebody waits for.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) scope: Scope,
    /// Whether the other gateways of a fleet must do the same.
    pub(super) everywhere: bool,
    /// Told once it is durable; not if the disk failed.
    pub(super) done: Option<oneshot::Sender<Removed>>,
}

/// What a purge did here, and how it goes on its way to the other gateways of a fleet.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) count: u64,
    pub(super) progress: Option<watch::Receiver<Progress>>,
}

/// What the thread takes at once.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) removals: Vec<Removal>,
    pub(super) handed: Vec<Handed>,
    /// Told when all that was put before is durable.
    pub(super) barriers: Vec<oneshot::Sender<()>>,
    /// Nothing more will come.
    pub(super) last: bool,
}

impl Queue {
    pub(super) fn new(bound: u64) -> Self {
        let (state, changed, room) = Default::default();
        Self { state, changed, room, bound: AtomicU64::new(bound) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_bound(&self, bytes: u64) {
        self.bound.store(bytes, Ordering::Relaxed);
    }

    /// Puts an entry in, unless the queue is full.
    pub(super) fn put(&self, entry: Arc<Entry>) -> bool {
        let weight = entry.weight();
        let mut state = self.state();
        let full = state.bytes + weight > self.bound.load(Ordering::Relaxed);
        if state.closing || (full && !state.entries.is_empty()) {
            return false;
        }
        let hash = entry.place.hash;
        let replaced = state.entries.insert(hash, Waiting { entry, in_order: true });
        let freed = replaced.as_ref().map_or(0, |waiting| waiting.entry.weight());
        state.bytes = (state.bytes + weight).saturating_sub(freed);
        if !replaced.is_some_and(|waiting| waiting.in_order) {
            state.order.push_back(hash);
        }
        self.changed.notify_one();
        true
    }

    /// `false`: the queue is closed.
    pub(super) fn remove(&self, removal: Removal) -> bool {
        let mut state = self.state();
        if state.closing {
            return false;
        }
        state.removals.push(removal);
        self.changed.notify_one();
        true
    }

    /// Hands over a piece of the feed; waits for room. `false`: the queue is closed.
    pub(super) fn hand(&self, handed: Handed) -> bool {
        let mut state = self.state();
        while !state.closing && state.handed.len() >= MOST_HANDED {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closing {
            return false;
        }
        state.handed.push(handed);
        self.changed.notify_one();
        true
    }

    pub(super) fn barrier(&self) -> oneshot::Receiver<()> {
        let (told, waits) = oneshot::channel();
        let mut state = self.state();
        if !state.closing {
            state.barriers.push(told);
            self.changed.notify_one();
        }
        waits
    }

    /// What a feed handed over is let go of: it comes again.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        state.handed.clear();
        self.changed.notify_one();
        self.room.notify_all();
    }

    /// Takes work again, for a writer to come.
    pub(super) fn reopen(&self) {
        self.state().closing = false;
    }

    /// An entry that is not on disk yet.
    pub(super) fn get(&self, hash: &HashBinary) -> Option<Arc<Entry>> {
        self.state().entries.get(hash).map(|waiting| waiting.entry.clone())
    }

    pub(super) fn len(&self) -> u64 {
        self.state().entries.len() as u64
    }

    /// Waits for work, no longer than `patience`. Takes every removal and at most `most` entries.
    pub(super) fn take(&self, patience: Duration, most: usize) -> Work {
        let until = Instant::now() + patience;
        let mut state = self.state();
        while state.is_idle() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Work::default();
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        self.room.notify_all();
        state.take(most)
    }

    /// The entries are on disk, or given up.
    pub(super) fn finished(&self, entries: &[Arc<Entry>]) {
        let mut state = self.state();
        for entry in entries {
            let hash = &entry.place.hash;
            // A newer version may have come meanwhile.
            if state.entries.get(hash).is_some_and(|there| Arc::ptr_eq(&there.entry, entry)) {
                state.entries.remove(hash);
                state.bytes = state.bytes.saturating_sub(entry.weight());
            }
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.order.is_empty()
            && self.removals.is_empty()
            && self.handed.is_empty()
            && self.barriers.is_empty()
            && !self.closing
    }

    fn take(&mut self, most: usize) -> Work {
        let count = most.min(self.order.len());
        let taken = self.order.drain(..count).filter_map(|hash| {
            let waiting = self.entries.get_mut(&hash)?;
            waiting.in_order = false;
            Some(waiting.entry.clone())
        });
        let entries = taken.collect();
        let all = self.order.is_empty();
        Work {
            entries,
            removals: std::mem::take(&mut self.removals),
            handed: std::mem::take(&mut self.handed),
            barriers: if all { std::mem::take(&mut self.barriers) } else { Vec::new() },
            last: all && self.closing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::testing::entry;

    #[test]
    fn a_full_queue_turns_answers_away_and_takes_them_again_later() {
        let queue = Queue::new(15_000);
        let put = |number| queue.put(Arc::new(entry(number, 4000)));
        assert!(put(1) && put(2));
        assert!(!put(3));
        let work = queue.take(Duration::ZERO, 10);
        assert_eq!(work.entries.len(), 2);
        assert!(!put(3), "what is being written still takes room");
        queue.finished(&work.entries);
        assert!(put(3));
    }

    #[test]
    fn an_answer_is_found_until_it_is_on_disk_and_only_its_newest_version_is_written() {
        let queue = Queue::new(1 << 20);
        queue.put(Arc::new(entry(1, 10)));
        queue.put(Arc::new(entry(1, 20)));
        let work = queue.take(Duration::ZERO, 10);
        assert_eq!(work.entries.iter().map(|entry| entry.body.len()).collect::<Vec<_>>(), [20]);
        let hash = entry(1, 0).place.hash;
        assert!(queue.get(&hash).is_some());
        queue.put(Arc::new(entry(1, 30)));
        queue.finished(&work.entries);
        assert_eq!(queue.get(&hash).unwrap().body.len(), 30);
        assert_eq!(queue.take(Duration::ZERO, 10).entries.len(), 1);
    }

    #[test]
    fn a_barrier_comes_after_all_that_was_put_before() {
        let queue = Queue::new(1 << 20);
        (0..3).for_each(|number| assert!(queue.put(Arc::new(entry(number, 10)))));
        let _waits = queue.barrier();
        assert!(queue.take(Duration::ZERO, 2).barriers.is_empty());
        assert_eq!(queue.take(Duration::ZERO, 2).barriers.len(), 1);
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_has_and_takes_no_more() {
        let queue = Queue::new(1 << 20);
        queue.put(Arc::new(entry(1, 10)));
        queue.close();
        assert!(!queue.put(Arc::new(entry(2, 10))));
        let work = queue.take(Duration::ZERO, 10);
        assert!(work.last && work.entries.len() == 1);
    }
}
