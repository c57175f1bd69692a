//! What the topics of a fleet must be like.

use std::time::Duration;

use super::Severity;
use super::setting::{Rule, Setting};
use crate::config::model::{Config, Kafka, Topic};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A rolling window's use may count for so much of the window longer.
const SUB_WINDOWS: u32 = 60;
/// What a record of the account cache has beside the answer's body: headers, seal, key.
const AROUND_ANSWER: u64 = 64 << 10;
/// Larger records strain brokers, which keep them in memory to send them on. Larger answers stay
/// with the gateway that fetched them.
const LARGEST_RECORD: u64 = 16 << 20;
/// What of a partition may outlive its retention: compaction makes large segments of small ones, as
/// old as their newest record.
const SEGMENT: u64 = 32 << 20;
/// For owners to write their claims anew in, with time to spare ([`claim_renewal`]).
const CLAIMS: Duration = Duration::from_secs(12 * 3600);
/// Time in which a gateway surely reads its own record back.
const COMPACTION_LAG: Duration = Duration::from_secs(60);

/// The setting that says how many copies confirm.
pub(super) const IN_SYNC: &str = "min.insync.replicas";

/// What a topic must be like.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub topic: Topic,
    pub name: String,
    pub partitions: u32,
    pub replication: u16,
    pub settings: Vec<Setting>,
}

impl Wanted {
    /// All topics of a fleet.
    pub fn all(kafka: &Kafka, config: &Config) -> Vec<Self> {
        Topic::ALL.into_iter().map(|topic| Self::new(topic, kafka, config)).collect()
    }

    pub fn new(topic: Topic, kafka: &Kafka, config: &Config) -> Self {
        let settings = match topic {
            Topic::Quotas => quotas(longest_window(config)),
            Topic::AccountCache => account_cache(kafka, config.cache.max_entry),
            Topic::AccountChanges => account_changes(kafka),
        };
        let (partitions, replication) = (kafka.partitions, kafka.replication);
        let mut wanted =
            Self { topic, name: kafka.topic(topic), partitions, replication, settings };
        wanted.settings.extend(durable(replication, topic));
        wanted
    }
}

/// Counts are what must not be lost. A lost answer is fetched anew.
pub(super) fn severity(topic: Topic) -> Severity {
    match topic {
        Topic::Quotas => Severity::Unsafe,
        Topic::AccountCache | Topic::AccountChanges => Severity::Difference,
    }
}

/// The longest time over which anything is counted.
pub(super) fn longest_window(config: &Config) -> Duration {
    config.quotas.values().map(|rule| rule.window.length()).max().unwrap_or_default()
}

/// How long counts are kept. A period may end a window later than its last use was written, and
/// what is missing then is admitted twice. So there is a quarter more, at least an hour: for
/// clocks that differ, for uses that are given back late, and for the sub-windows of rolling
/// windows. Not much more either, since a new gateway reads all of it. A day at least: claims age
/// like counts, and an owner should not be forgotten because windows are short.
fn quota_retention(longest: Duration) -> Duration {
    (longest + (longest / 4).max(HOUR)).max(DAY)
}

/// The age at which a claim is written anew: before it is removed, also where the topic keeps records
/// for no longer than is safe. Not much earlier, since a count is kept for each claim under which its
/// account was used in a window.
pub(super) fn claim_renewal(config: &Config) -> Duration {
    quota_retention(longest_window(config)) * 2 / 5
}

fn quotas(longest: Duration) -> Vec<Setting> {
    let retention = quota_retention(longest);
    let unsafe_below = millis((longest + longest / SUB_WINDOWS).max(CLAIMS));
    let [closed_by_age, closed_by_size] = segments(retention);
    vec![
        Setting {
            name: "cleanup.policy",
            value: "compact,delete".into(),
            rule: Rule::Words(Severity::Unsafe),
            why: "without `compact` a gateway that starts reads every single use; without \
                  `delete` ended periods stay for good"
                .into(),
        },
        Setting {
            name: "retention.ms",
            value: millis(retention).to_string(),
            rule: Rule::AtLeast { least: millis(retention), unsafe_below },
            why: format!(
                "a count that is removed before its window ends is admitted again; the longest \
                 window is {}. Claims of ownership age as well, and are written anew only now and then",
                words(longest)
            ),
        },
        Setting {
            name: "retention.bytes",
            value: "-1".into(),
            rule: Rule::Exactly(Severity::Unsafe),
            why: "a busy day would remove counts whose windows last".into(),
        },
        stamped(Severity::Unsafe),
        Setting {
            name: "min.compaction.lag.ms",
            value: millis(COMPACTION_LAG).to_string(),
            rule: Rule::AtLeast { least: millis(COMPACTION_LAG), unsafe_below: 0 },
            why: "a gateway should read its own record before a later one takes its place".into(),
        },
        closed_by_age,
        closed_by_size,
    ]
}

fn account_cache(kafka: &Kafka, max_entry: u64) -> Vec<Setting> {
    let retention = millis(kafka.cache_retention);
    let record = (max_entry + AROUND_ANSWER).min(LARGEST_RECORD);
    let [closed_by_age, closed_by_size] = segments(kafka.cache_retention);
    vec![
        Setting {
            name: "cleanup.policy",
            value: "compact,delete".into(),
            rule: Rule::Words(Severity::Difference),
            why: "only the last answer of each kind is needed, and none for good".into(),
        },
        Setting {
            name: "retention.ms",
            value: retention.to_string(),
            rule: Rule::Exactly(Severity::Difference),
            why: "`kafka.cache_retention` says how long answers are kept".into(),
        },
        Setting {
            name: "delete.retention.ms",
            value: retention.to_string(),
            rule: Rule::AtLeast { least: retention, unsafe_below: 0 },
            why: "a gateway that was away must still see what was removed meanwhile".into(),
        },
        Setting {
            name: "max.message.bytes",
            value: record.to_string(),
            rule: Rule::AtLeast { least: record, unsafe_below: 0 },
            why: "larger answers (`cache.max_entry`) would not reach the other gateways".into(),
        },
        stamped(Severity::Difference),
        closed_by_age,
        closed_by_size,
    ]
}

/// Changes must outlive the answers that they make untrue: a gateway that was away for long, or
/// that reads the answers from the start, needs all of them.
fn account_changes(kafka: &Kafka) -> Vec<Setting> {
    let retention = millis(kafka.cache_retention);
    vec![
        Setting {
            name: "cleanup.policy",
            value: "delete".into(),
            rule: Rule::Words(Severity::Difference),
            why: "with `compact` one change of an account would hide another".into(),
        },
        Setting {
            name: "retention.ms",
            value: retention.to_string(),
            rule: Rule::AtLeast { least: retention, unsafe_below: 0 },
            why: "a change must be known as long as answers are kept (`kafka.cache_retention`)"
                .into(),
        },
        Setting {
            name: "retention.bytes",
            value: "-1".into(),
            rule: Rule::Exactly(Severity::Difference),
            why: "a busy day would remove changes that a gateway has not seen".into(),
        },
        stamped(Severity::Difference),
    ]
}

fn stamped(severity: Severity) -> Setting {
    Setting {
        name: "message.timestamp.type",
        value: "LogAppendTime".into(),
        rule: Rule::Exactly(severity),
        why: "else the writer's clock decides when a record is old, and one clock that is wrong \
              removes what it should not"
            .into(),
    }
}

/// Of a topic that is compacted. Only closed segments are compacted and removed, so they must not
/// be open for long. An eighth keeps the files few. Nor must they be large: compaction goes on to
/// join what is left of them up to that size, and what is joined with newer records is as old as
/// those, so that with little to keep nothing would ever be old enough to be removed.
fn segments(retention: Duration) -> [Setting; 2] {
    let length = (retention / 8).clamp(HOUR, DAY);
    [
        ("segment.ms", millis(length), "only closed segments are compacted and removed"),
        (
            "segment.bytes",
            SEGMENT,
            "compaction joins segments up to this size, and joined with newer records what has \
             ended stays far beyond `retention.ms`",
        ),
    ]
    .map(|(name, most, why)| Setting {
        name,
        value: most.to_string(),
        rule: Rule::AtMost(most),
        why: why.into(),
    })
}

/// Copies that must have a record before it counts as written. With two, whatever one broker
/// loses another has. More would stop all writing when a second broker is down.
pub(super) fn confirming(copies: usize, topic: Topic) -> Setting {
    let severity = severity(topic);
    let in_sync = if copies >= 2 { 2 } else { 1 };
    let unsafe_below = if severity == Severity::Unsafe { in_sync } else { 0 };
    Setting {
        name: IN_SYNC,
        value: in_sync.to_string(),
        rule: Rule::AtLeast { least: in_sync, unsafe_below },
        why: "else what was confirmed may be lost with one broker".into(),
    }
}

/// What keeps records safe from the loss of a broker.
fn durable(replication: u16, topic: Topic) -> [Setting; 2] {
    [
        confirming(replication.into(), topic),
        Setting {
            name: "unclean.leader.election.enable",
            value: "false".into(),
            rule: Rule::Exactly(severity(topic)),
            why: "else a broker that missed what was confirmed may lead, and it is gone".into(),
        },
    ]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time as configurations write it.
fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    match units.iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None if duration.subsec_millis() == 0 => format!("{seconds}s"),
        None => format!("{}ms", duration.as_millis()),
    }
}

#[cfg(test)]
mod tests;
