//! What librdkafka's clients tell of themselves from time to time, as far as it is used.

use std::collections::HashMap;

use serde::Deserialize;

/// The statistics of one client. Numbers that librdkafka doesn't know yet are negative, and so is
/// the partition that stands for its own bookkeeping.
#[derive(Deserialize)]
pub(crate) struct Statistics {
    brokers: HashMap<String, Broker>,
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    state: String,
}

#[derive(Deserialize)]
struct Topic {
    partitions: HashMap<i32, Numbers>,
}

/// Of one partition.
#[derive(Deserialize)]
pub(crate) struct Numbers {
    /// Records between the last one given to the program and the end.
    #[serde(default = "unknown")]
    pub consumer_lag: i64,
    /// Where the partition ended when it was last asked for records.
    #[serde(default = "unknown")]
    pub hi_offset: i64,
    /// The end up to which it was read to the last record.
    #[serde(default = "unknown")]
    pub eof_offset: i64,
}

fn unknown() -> i64 {
    -1
}

impl Statistics {
    /// From what a client reports.
    pub fn read(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// Whether any broker is connected.
    pub fn is_connected(&self) -> bool {
        self.brokers.values().any(|broker| broker.state == "UP")
    }

    /// The partitions of a topic.
    pub fn partitions(&self, topic: &str) -> impl Iterator<Item = (u32, &Numbers)> {
        let partitions = self.topics.get(topic).into_iter().flat_map(|topic| &topic.partitions);
        partitions
            .filter_map(|(partition, numbers)| Some((u32::try_from(*partition).ok()?, numbers)))
    }
}
