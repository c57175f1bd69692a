//! What the consumers report.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use super::Feed;
use super::position::Source;
use crate::journal::kafka::client::log;
use crate::journal::kafka::statistics::Statistics;

/// Of one consumer.
pub(super) struct Context {
    pub(super) feed: Arc<Feed>,
    pub(super) source: Source,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the account cache's consumer complained");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = Statistics::read(statistics) else { return };
        self.feed.standing.connected(self.source, statistics.is_connected());
        let topic = self.feed.topic(self.source);
        let ends = statistics.partitions(&topic).filter_map(|(partition, numbers)| {
            let end = u64::try_from(numbers.hi_offset).ok()?;
            Some((partition, end, numbers.eof_offset >= numbers.hi_offset))
        });
        self.feed.standing.ends(self.source, ends);
    }
}

impl ConsumerContext for Context {}
