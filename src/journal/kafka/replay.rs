use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::journal::{Offset, Replay};
use crate::observe::{Event, JournalEvent, Metrics};

/// Between lines about how far the replay is.
const REPORT: Duration = Duration::from_secs(3);

/// How far each partition has been read towards what was there when its tail was opened.
pub(super) struct Replaying {
    topic: String,
    partitions: Vec<Partition>,
    reported: Mutex<Reported>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Partition {
    opened: AtomicBool,
    /// Its reader found that it no longer is what it was.
    restarted: AtomicBool,
    done: AtomicBool,
    first: AtomicU64,
    next: AtomicU64,
    /// One past the last offset that was there.
    end: AtomicU64,
    from_kafka: AtomicU64,
    from_mirror: AtomicU64,
}

struct Reported {
    at: Instant,
    started: Instant,
    /// Whether the end of it was said.
    done: bool,
}

impl Replaying {
    pub fn new(topic: String, partitions: u32, metrics: &Arc<Metrics>) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            topic,
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            reported: Mutex::new(Reported { at: now, started: now, done: false }),
            metrics: Arc::clone(metrics),
        })
    }

    /// A tail is opened at an offset of a partition that ends at another.
    pub fn open(&self, partition: u32, from: Offset, end: Offset) {
        let Some(partition) = self.partitions.get(partition as usize) else { return };
        partition.from_kafka.store(0, Ordering::Relaxed);
        partition.from_mirror.store(0, Ordering::Relaxed);
        partition.first.store(from, Ordering::Relaxed);
        partition.next.store(from, Ordering::Relaxed);
        partition.end.store(end, Ordering::Relaxed);
        partition.done.store(from >= end, Ordering::Release);
        partition.opened.store(true, Ordering::Release);
    }

    /// The partition no longer is what it was: nobody may read on in it from where he was.
    pub fn restart(&self, partition: u32) {
        self.set_restarted(partition, true);
    }

    /// The partition is read from its beginning.
    pub fn begin(&self, partition: u32) {
        self.set_restarted(partition, false);
    }

    fn set_restarted(&self, partition: u32, restarted: bool) {
        if let Some(partition) = self.partitions.get(partition as usize) {
            partition.restarted.store(restarted, Ordering::Release);
        }
    }

    /// Whether it was said to be another since it was last read from its beginning.
    pub fn has_restarted(&self, partition: u32) -> bool {
        let partition = self.partitions.get(partition as usize);
        partition.is_some_and(|partition| partition.restarted.load(Ordering::Acquire))
    }

    /// A record from Kafka was handed on.
    pub fn read(&self, partition: u32, offset: Offset) {
        let Some(partition) = self.partitions.get(partition as usize) else { return };
        if !partition.done.load(Ordering::Acquire) {
            partition.from_kafka.fetch_add(1, Ordering::Relaxed);
            self.advance(partition, offset);
        }
    }

    /// A record from this machine's disk was handed on.
    pub fn read_from_mirror(&self, partition: u32, offset: Offset) {
        let Some(partition) = self.partitions.get(partition as usize) else { return };
        if !partition.done.load(Ordering::Acquire) {
            partition.from_mirror.fetch_add(1, Ordering::Relaxed);
            self.advance(partition, offset);
        }
    }

    fn advance(&self, partition: &Partition, offset: Offset) {
        partition.next.store(offset + 1, Ordering::Relaxed);
        if offset + 1 >= partition.end.load(Ordering::Relaxed) {
            self.finish(partition);
        }
    }

    /// The partition's end was reached: the last records of it may have been taken away by
    /// compaction.
    pub fn done(&self, partition: u32) {
        if let Some(partition) = self.partitions.get(partition as usize) {
            self.finish(partition);
        }
    }

    fn finish(&self, partition: &Partition) {
        if partition.done.load(Ordering::Acquire) {
            return;
        }
        let sources = [("kafka", &partition.from_kafka), ("mirror", &partition.from_mirror)];
        for (source, records) in sources {
            let records = records.load(Ordering::Relaxed);
            self.metrics.record(Event::Journal(JournalEvent::Replayed { source, records }));
        }
        partition.done.store(true, Ordering::Release);
    }

    /// Whether a partition was read to what was its end.
    pub fn is_done(&self, partition: u32) -> bool {
        let partition = self.partitions.get(partition as usize);
        partition.is_some_and(|one| {
            one.opened.load(Ordering::Acquire) && one.done.load(Ordering::Acquire)
        })
    }

    /// How far it is.
    pub fn progress(&self) -> Replay {
        let mut replay = Replay { done: 0, partitions: 0, records: 0, percent: 100 };
        let (mut read, mut all) = (0u64, 0u64);
        for partition in &self.partitions {
            replay.partitions += 1;
            replay.records += partition.from_kafka.load(Ordering::Relaxed)
                + partition.from_mirror.load(Ordering::Relaxed);
            let first = partition.first.load(Ordering::Relaxed);
            let span = partition.end.load(Ordering::Relaxed).saturating_sub(first);
            let so_far = partition.next.load(Ordering::Relaxed).saturating_sub(first);
            all = all.saturating_add(span);
            if self.is_done(replay.partitions - 1) {
                replay.done += 1;
                read = read.saturating_add(span);
            } else {
                read = read.saturating_add(so_far.min(span));
            }
        }
        if replay.done < replay.partitions {
            let percent = read.saturating_mul(100).checked_div(all).unwrap_or(0);
            // All but done is not done.
            replay.percent = u8::try_from(percent.min(99)).unwrap_or(99);
        }
        replay
    }

    /// Writes a line to the log from time to time until it is done, and one then.
    pub fn report(&self) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.done && reported.at.elapsed() < REPORT {
            return;
        }
        let Replay { done, partitions, records, percent } = self.progress();
        let topic = &self.topic;
        if done == partitions && !reported.done {
            let seconds = reported.started.elapsed().as_secs_f64();
            tracing::info!(topic, records, partitions, seconds, "the journal was read to its end");
            reported.done = true;
        } else if done < partitions && reported.at.elapsed() >= REPORT {
            if reported.done {
                reported.started = Instant::now();
            }
            tracing::info!(topic, records, done, partitions, percent, "reading the journal");
            reported.done = false;
            reported.at = Instant::now();
        }
    }
}
