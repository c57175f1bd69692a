use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::journal::RecordKey;
use crate::observe::{Event, JournalEvent, Metrics};

/// A record that was not read back by then never will be; another is watched.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Measures the time from an append to the moment at which the same process reads the record: what
/// a strict admission waits for. One record of each partition is watched at a time, which is as
/// good as all and costs next to nothing.
pub(super) struct ReadBack {
    watched: Vec<Watched>,
    next: AtomicU64,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Watched {
    /// Spares most reads the lock.
    armed: AtomicBool,
    record: Mutex<Option<(u64, RecordKey, Instant)>>,
}

impl ReadBack {
    pub fn new(partitions: u32, metrics: &Arc<Metrics>) -> Arc<Self> {
        let watched = (0..partitions).map(|_| Watched::default()).collect();
        Arc::new(Self { watched, next: AtomicU64::new(0), metrics: Arc::clone(metrics) })
    }

    /// A record is about to be appended. Gives a number if this is the one that is watched.
    pub fn expect(&self, partition: u32, key: &RecordKey, now: Instant) -> Option<u64> {
        let watched = self.watched.get(partition as usize)?;
        let mut record = watched.record.try_lock().ok()?;
        if record.as_ref().is_some_and(|(_, _, since)| now.duration_since(*since) < GIVE_UP) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        *record = Some((number, key.clone(), now));
        watched.armed.store(true, Ordering::Release);
        Some(number)
    }

    /// The record was not written after all.
    pub fn forget(&self, partition: u32, number: Option<u64>) {
        let Some(watched) = self.watched.get(partition as usize) else { return };
        let mut record = watched.record.lock().unwrap_or_else(PoisonError::into_inner);
        if record.as_ref().is_some_and(|(watched, _, _)| Some(*watched) == number) {
            *record = None;
        }
    }

    /// A record was read.
    pub fn read(&self, partition: u32, key: &[u8]) {
        let Some(watched) = self.watched.get(partition as usize) else { return };
        if !watched.armed.load(Ordering::Acquire) {
            return;
        }
        let mut record = watched.record.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, since)) = record.take_if(|(_, watched, _)| watched.as_bytes() == key) {
            watched.armed.store(false, Ordering::Release);
            let seconds = since.elapsed().as_secs_f64();
            self.metrics.record(Event::Journal(JournalEvent::ReadBack { seconds }));
        }
    }
}
