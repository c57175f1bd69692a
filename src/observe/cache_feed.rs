use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::count;
use super::names::Name;

/// Something that happened between the account cache and the topics that feed it.
#[derive(Clone, Copy, Debug)]
pub enum CacheFeedEvent {
    /// A record of the topics was read.
    Read(CacheFeedRecord),
    /// An answer or a purge was to be sent.
    Sent(CacheFeedSent),
    /// How far the cache is behind a topic.
    Lag {
        /// The topic, without its prefix.
        topic: &'static str,
        /// Records not read yet.
        records: u64,
    },
    /// Whether a broker is connected.
    Connected {
        /// For which topic, without its prefix.
        topic: &'static str,
        /// Whether it is.
        connected: bool,
    },
    /// Purges that Kafka has not taken yet.
    Owed(u64),
    /// The cache was thrown away to be filled from the start of its topics.
    StartedOver,
    /// A change event was no good and was skipped; why, in a word.
    BadChange(&'static str),
}

/// What became of a record of the account cache's topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheFeedRecord {
    /// An answer was taken over.
    Answer,
    /// A purge was done.
    Purge,
    /// A change of an account was noted and done.
    Change,
    /// The same answer or a newer one was there.
    Known,
    /// The answer's time was over.
    Over,
    /// The answer may show what was before a purge or a change.
    Void,
    /// The disk could not take it; it is read again.
    Held,
    /// It is damaged, or of a later release.
    Unreadable,
}

impl CacheFeedRecord {
    const fn word(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Purge => "purge",
            Self::Change => "change",
            Self::Known => "known",
            Self::Over => "over",
            Self::Void => "void",
            Self::Held => "held",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What became of a record that was to be sent to the account cache's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheFeedSent {
    /// Kafka has it.
    Delivered,
    /// Larger than the topic takes: it stays with this gateway.
    Oversized,
    /// Too much waits already: it stays with this gateway.
    QueueFull,
    /// Kafka did not take it in time.
    Undelivered,
}

impl CacheFeedSent {
    const fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Oversized => "oversized",
            Self::QueueFull => "queue_full",
            Self::Undelivered => "undelivered",
        }
    }
}

type Labels = Vec<(&'static str, &'static str)>;

/// The metrics of the feed.
pub(super) struct CacheFeedMetrics {
    records: Family<Labels, Counter>,
    sent: Family<Labels, Counter>,
    lag: Family<Labels, Gauge>,
    connected: Family<Labels, Gauge>,
    owed: Gauge,
    starts_over: Counter,
    bad_changes: Family<Labels, Counter>,
}

impl CacheFeedMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            records: count(registry, Name::CacheFeedRecords),
            sent: count(registry, Name::CacheFeedSent),
            lag: count(registry, Name::CacheFeedLag),
            connected: count(registry, Name::CacheFeedConnected),
            owed: count(registry, Name::CacheFeedOwed),
            starts_over: count(registry, Name::CacheFeedStartsOver),
            bad_changes: count(registry, Name::BadChangeEvents),
        }
    }

    pub(super) fn record(&self, event: CacheFeedEvent) {
        match event {
            CacheFeedEvent::Read(outcome) => {
                self.records.get_or_create(&vec![("outcome", outcome.word())]).inc();
            }
            CacheFeedEvent::Sent(outcome) => {
                self.sent.get_or_create(&vec![("outcome", outcome.word())]).inc();
            }
            CacheFeedEvent::Lag { topic, records } => {
                let records = i64::try_from(records).unwrap_or(i64::MAX);
                self.lag.get_or_create(&vec![("topic", topic)]).set(records);
            }
            CacheFeedEvent::Connected { topic, connected } => {
                self.connected.get_or_create(&vec![("topic", topic)]).set(connected.into());
            }
            CacheFeedEvent::Owed(purges) => {
                self.owed.set(i64::try_from(purges).unwrap_or(i64::MAX));
            }
            CacheFeedEvent::StartedOver => {
                self.starts_over.inc();
            }
            CacheFeedEvent::BadChange(why) => {
                self.bad_changes.get_or_create(&vec![("reason", why)]).inc();
            }
        }
    }
}
