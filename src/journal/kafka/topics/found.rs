//! What is there.

use std::collections::BTreeMap;

use super::TopicView;

/// A topic as Kafka describes it.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// There is none.
    Missing,
    /// This gateway may not even know whether there is one.
    Denied {
        /// Nor may it see its settings.
        settings_too: bool,
    },
    /// It is there.
    There(Present),
}

/// A topic that is there.
#[derive(Clone, Debug)]
pub(super) struct Present {
    /// All brokers of the cluster.
    pub brokers: Vec<i32>,
    /// The leader of each partition.
    pub leaders: Vec<i32>,
    /// The brokers that have each partition.
    pub copies: Vec<Vec<i32>>,
    /// Its settings.
    pub settings: Settings,
    /// Nothing was ever written to it. Known only where the number of partitions is wrong.
    pub is_empty: bool,
}

/// The settings of a topic.
#[derive(Clone, Debug)]
pub(super) enum Settings {
    /// This gateway may not see them.
    Denied,
    /// By name.
    Known(BTreeMap<String, String>),
}

impl Present {
    pub fn view(&self, name: &str) -> TopicView {
        let (partitions, replication) = (self.copies.len(), self.replication());
        TopicView { topic: name.to_owned(), partitions, replication }
    }

    /// Copies of the partition that has the fewest.
    pub fn replication(&self) -> usize {
        self.copies.iter().map(Vec::len).min().unwrap_or_default()
    }

    /// A setting, if it may be seen and there is one.
    pub fn setting(&self, name: &str) -> Option<&str> {
        match &self.settings {
            Settings::Denied => None,
            Settings::Known(settings) => settings.get(name).map(String::as_str),
        }
    }
}
