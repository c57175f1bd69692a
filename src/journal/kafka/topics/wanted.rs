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

fn longest_window(config: &Config) -> Duration {
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

fn quotas(longest: Duration) -> Vec<Setting> {
    let retention = quota_retention(longest);
    let unsafe_below = millis(longest + longest / SUB_WINDOWS);
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
                 window is {}",
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
        segments(retention),
    ]
}

fn account_cache(kafka: &Kafka, max_entry: u64) -> Vec<Setting> {
    let retention = millis(kafka.cache_retention);
    let record = (max_entry + AROUND_ANSWER).min(LARGEST_RECORD);
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
        segments(kafka.cache_retention),
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

/// Only closed segments are compacted and removed, so they must not be open for long. An eighth
/// keeps the files few.
fn segments(retention: Duration) -> Setting {
    let length = (retention / 8).clamp(HOUR, DAY);
    Setting {
        name: "segment.ms",
        value: millis(length).to_string(),
        rule: Rule::AtMost(millis(length)),
        why: "only closed segments are compacted and removed".into(),
    }
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
mod tests {
    use super::*;

    fn of<'s>(settings: &'s [Setting], name: &str) -> &'s Setting {
        settings.iter().find(|setting| setting.name == name).unwrap()
    }

    #[test]
    fn counts_outlive_their_window_and_are_not_kept_much_longer() {
        for (window, retention) in
            [(0, DAY), (3600, DAY), (86_400, 30 * HOUR), (400 * 86_400, 500 * DAY)]
        {
            assert_eq!(quota_retention(Duration::from_secs(window)), retention);
        }
        let settings = quotas(DAY);
        let retention = of(&settings, "retention.ms");
        assert_eq!(retention.value, "108000000");
        assert_eq!(retention.judge("108000000"), None);
        assert_eq!(retention.judge("-1"), None);
        assert_eq!(retention.judge("107999999"), Some(Severity::Difference));
        // A rolling day may count for a sixtieth longer.
        assert_eq!(retention.judge("87840000"), Some(Severity::Difference));
        assert_eq!(retention.judge("87839999"), Some(Severity::Unsafe));
    }

    #[test]
    fn a_policy_without_compaction_is_worse_than_one_without_deletion() {
        let settings = quotas(DAY);
        let policy = of(&settings, "cleanup.policy");
        for (found, bad) in [
            ("compact,delete", None),
            ("delete,compact", None),
            ("compact", Some(Severity::Difference)),
            ("delete", Some(Severity::Unsafe)),
        ] {
            assert_eq!(policy.judge(found), bad, "{found}");
        }
    }

    #[test]
    fn one_copy_in_sync_will_do_only_where_there_is_one() {
        for (replication, found, bad) in [
            (1, "1", None),
            (2, "1", Some(Severity::Unsafe)),
            (3, "1", Some(Severity::Unsafe)),
            (3, "2", None),
            (5, "3", None),
        ] {
            assert_eq!(durable(replication, Topic::Quotas)[0].judge(found), bad);
        }
        let cache = durable(3, Topic::AccountCache);
        assert_eq!(cache[0].judge("1"), Some(Severity::Difference));
    }

    #[test]
    fn segments_close_often_enough_and_not_too_often() {
        for (retention, segment) in [(HOUR, HOUR), (2 * DAY, 6 * HOUR), (400 * DAY, DAY)] {
            let setting = segments(retention);
            assert_eq!(setting.value, millis(segment).to_string());
            assert_eq!(
                setting.judge(&(millis(segment) + 1).to_string()),
                Some(Severity::Difference)
            );
            assert_eq!(setting.judge("60000"), None);
        }
    }

    #[test]
    fn records_of_the_cache_are_bounded() {
        let kafka = crate::journal::kafka::topics::testing::kafka();
        let bytes = |max_entry| {
            let settings = account_cache(&kafka, max_entry);
            of(&settings, "max.message.bytes").value.clone()
        };
        assert_eq!(bytes(4 << 20), "4259840");
        assert_eq!(bytes(256 << 20), "16777216");
    }

    #[test]
    fn times_are_said_as_they_are_written() {
        for (seconds, text) in [(0, "0s"), (90, "90s"), (60, "1m"), (5400, "90m"), (172_800, "2d")]
        {
            assert_eq!(words(Duration::from_secs(seconds)), text);
        }
    }
}
