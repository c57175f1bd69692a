//! What the consumers report.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use serde::Deserialize;

use super::Feed;
use super::position::Source;

/// Of one consumer.
pub(super) struct Context {
    pub(super) feed: Arc<Feed>,
    pub(super) source: Source,
}

/// The part of librdkafka's statistics that is used.
#[derive(Deserialize)]
struct Statistics {
    brokers: HashMap<String, Broker>,
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    state: String,
}

#[derive(Deserialize)]
struct Topic {
    partitions: HashMap<i32, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    /// Where the partition ended when it was last asked for records; negative: not yet.
    hi_offset: i64,
    /// The end up to which it was read to the last record; negative: not yet.
    eof_offset: i64,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the account cache's consumer complained");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let connected = statistics.brokers.values().any(|broker| broker.state == "UP");
        self.feed.standing.connected(self.source, connected);
        let topic = statistics.topics.get(&self.feed.topic(self.source));
        let partitions = topic.into_iter().flat_map(|topic| &topic.partitions);
        // A negative partition stands for librdkafka's own bookkeeping.
        let ends = partitions.filter_map(|(partition, numbers)| {
            let end = u64::try_from(numbers.hi_offset).ok()?;
            Some((u32::try_from(*partition).ok()?, end, numbers.eof_offset >= numbers.hi_offset))
        });
        self.feed.standing.ends(self.source, ends);
    }
}

impl ConsumerContext for Context {}

/// Lost connections are everyday events, which librdkafka calls errors.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
    }
}
