use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metrics::{Counters, count, stage_histogram, time, yes_no};
use super::names::Name;

/// Something that happened to the journal and is counted.
#[derive(Clone, Copy, Debug)]
pub enum JournalEvent {
    /// Records became durable in the journal together.
    Committed {
        /// How many.
        records: u64,
        /// Time it took.
        seconds: f64,
    },
    /// A record did not become durable.
    AppendFailed {
        /// Whether it may be in the journal all the same.
        ambiguous: bool,
    },
    /// This process read a record back that it had appended.
    ReadBack {
        /// Time since the append.
        seconds: f64,
    },
    /// How far a partition's reader is behind.
    Lag {
        /// The partition.
        partition: u32,
        /// Records that it has not read.
        records: u64,
    },
    /// A partition of the journal was read to what was its end when its tail was opened.
    Replayed {
        /// From where: `kafka` or `mirror`.
        source: &'static str,
        /// How many records.
        records: u64,
    },
    /// Whether a copy of the journal is kept on this machine's disk.
    Mirror {
        /// Whether it is.
        kept: bool,
    },
    /// Kafka's topics were looked at.
    UnsafeTopics {
        /// What counts are not exact with.
        findings: usize,
    },
    /// How far this machine's clock is from the journal's.
    ClockAhead {
        /// Negative if it is behind.
        seconds: f64,
    },
    /// A record was not understood; its partition is not read on.
    Corrupt {
        /// The partition.
        partition: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: u32,
}

/// The journal's part of the metrics.
pub(super) struct JournalMetrics {
    records: Counter,
    commit_seconds: Histogram,
    append_failures: Counters,
    read_back_seconds: Histogram,
    lag: Family<PartitionLabel, Gauge>,
    replayed: Counters,
    mirror: Gauge,
    unsafe_topics: Gauge,
    corrupt: Family<PartitionLabel, Counter>,
    clock: Gauge<f64, AtomicU64>,
}

impl JournalMetrics {
    pub fn register(r: &mut Registry) -> Self {
        Self {
            records: count(r, Name::JournalRecords),
            commit_seconds: time(r, Name::JournalCommitSeconds, stage_histogram()),
            append_failures: count(r, Name::JournalAppendFailures),
            read_back_seconds: time(r, Name::JournalReadBackSeconds, stage_histogram()),
            lag: count(r, Name::JournalLag),
            replayed: count(r, Name::JournalReplayed),
            mirror: count(r, Name::JournalMirror),
            unsafe_topics: count(r, Name::KafkaUnsafeFindings),
            corrupt: count(r, Name::JournalCorrupt),
            clock: time(r, Name::ClockAhead, Gauge::default()),
        }
    }

    pub fn record(&self, event: JournalEvent) {
        match event {
            JournalEvent::Committed { records, seconds } => {
                self.records.inc_by(records);
                self.commit_seconds.observe(seconds);
            }
            JournalEvent::AppendFailed { ambiguous } => {
                let labels = vec![("ambiguous", yes_no(ambiguous))];
                self.append_failures.get_or_create(&labels).inc();
            }
            JournalEvent::ReadBack { seconds } => self.read_back_seconds.observe(seconds),
            JournalEvent::Lag { partition, records } => {
                let records = i64::try_from(records).unwrap_or(i64::MAX);
                self.lag.get_or_create(&PartitionLabel { partition }).set(records);
            }
            JournalEvent::Replayed { source, records } => {
                self.replayed.get_or_create(&vec![("source", source.to_owned())]).inc_by(records);
            }
            JournalEvent::Mirror { kept } => {
                self.mirror.set(kept.into());
            }
            JournalEvent::UnsafeTopics { findings } => {
                self.unsafe_topics.set(i64::try_from(findings).unwrap_or(i64::MAX));
            }
            JournalEvent::ClockAhead { seconds } => {
                self.clock.set(seconds);
            }
            JournalEvent::Corrupt { partition } => {
                self.corrupt.get_or_create(&PartitionLabel { partition }).inc();
            }
        }
    }
}
