//! `tollgate kafka init` and `check`, and what a start refuses. Each command that `check` names is
//! run as it stands: a command that doesn't mend is wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::config;
use tollgate::journal::topics::{self, Severity, TopicsError};

use crate::broker::Broker;
use crate::site::{Done, Site};

/// Far above what any answer takes; only one that waits for good reaches it.
pub const BOUNDED: Duration = Duration::from_secs(60);

/// The findings as `severity subject what`, the prefix left out.
pub fn findings(report: &Value, prefix: &str) -> BTreeSet<String> {
    let line = |finding: &Value| {
        let text = |key: &str| finding[key].as_str().unwrap().to_owned();
        let subject = text("subject").replace(&format!("{prefix}."), "");
        format!("{} {subject} {}", text("severity"), text("what"))
    };
    report["findings"].as_array().unwrap().iter().map(line).collect()
}

pub fn set<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(str::to_owned).into_iter().collect()
}

/// Runs every command of a report in the site's folder.
#[track_caller]
pub fn mend(report: &Value, site: &Site) {
    let commands = report["findings"].as_array().unwrap().iter();
    let commands: Vec<&str> = commands.filter_map(|finding| finding["command"].as_str()).collect();
    assert!(!commands.is_empty(), "{report:#}");
    Broker::tool_works(&format!("set -e\n{}", commands.join("\n")), site.folder());
}

#[track_caller]
pub fn succeeded(done: &Done) {
    assert_eq!(done.status, 0, "{}\n{}", done.out, done.err);
}

#[test]
fn init_makes_what_is_missing_once_and_check_finds_nothing() {
    let (broker, site) = (Broker::shared(), Site::new());
    let (prefix, brokers) = (broker.topic_prefix(), broker.bootstrap());
    let kafka =
        format!("brokers: ['{brokers}'], topic_prefix: {prefix}, partitions: 6, replication: 1");
    site.configure(&kafka, "24h");
    for word in ["created", "already there"] {
        let done = site.kafka("init", &[]);
        succeeded(&done);
        for topic in ["quotas", "account-cache", "account-changes"] {
            assert!(done.out.contains(&format!("{prefix}.{topic}: {word}\n")), "{}", done.out);
        }
    }
    let checked = site.kafka("check", &["--json"]);
    succeeded(&checked);
    let report = checked.json();
    let one_copy = set(["warning quotas the number of copies"]);
    assert_eq!(findings(&report, &prefix), one_copy);
    assert_eq!(report["ok"], true);
    let view = json!({"topic": format!("{prefix}.quotas"), "partitions": 6, "replication": 1});
    assert_eq!(report["topics"][0], view);
    // Both clocks are this machine's.
    assert_eq!(report["clocks"], json!([{"broker": 1, "ahead_ms": 0}]));
    // What check tried left nothing in the journal.
    let config = config::load(&site.folder().join("gateway.yaml")).unwrap();
    let warnings = topics::refuse_unsafe(&config, BOUNDED).unwrap();
    assert_eq!(warnings.len(), 1);
    let offsets = Broker::tool_works(
        &format!(
            "kafka-get-offsets.sh --bootstrap-server {brokers} --topic-partitions {prefix}.quotas:0"
        ),
        site.folder(),
    );
    assert_eq!(offsets.trim(), format!("{prefix}.quotas:0:0"));
    assert!(site.kafka("check", &[]).out.ends_with("\nok\n"));
}

#[test]
fn every_difference_is_found_and_its_command_mends_it() {
    let (broker, site) = (Broker::shared(), Site::new());
    let (prefix, brokers) = (broker.topic_prefix(), broker.bootstrap());
    let create = format!("kafka-topics.sh --bootstrap-server {brokers} --create --topic {prefix}");
    Broker::tool_works(
        &format!(
            "set -e
            {create}.quotas --partitions 2 --config cleanup.policy=delete \
              --config retention.ms=3600000 --config retention.bytes=1000000 \
              --config unclean.leader.election.enable=true --config segment.ms=604800000
            {create}.account-cache --partitions 4 --config cleanup.policy=compact \
              --config retention.ms=3600000 --config max.message.bytes=1000"
        ),
        site.folder(),
    );
    let kafka =
        format!("brokers: ['{brokers}'], topic_prefix: {prefix}, partitions: 3, replication: 1");
    site.configure(&kafka, "24h");
    let done = site.kafka("check", &["--json"]);
    assert_eq!(done.status, 1, "{done:?}");
    let found = findings(&done.json(), &prefix);
    let expected = set([
        "unsafe quotas the number of partitions",
        "unsafe quotas cleanup.policy",
        "unsafe quotas retention.ms",
        "unsafe quotas retention.bytes",
        "unsafe quotas unclean.leader.election.enable",
        "unsafe quotas message.timestamp.type",
        "difference quotas min.compaction.lag.ms",
        "difference quotas segment.ms",
        "difference quotas segment.bytes",
        "warning quotas the number of copies",
        "unsafe account-cache the number of partitions",
        "difference account-cache cleanup.policy",
        "difference account-cache retention.ms",
        "difference account-cache delete.retention.ms",
        "difference account-cache max.message.bytes",
        "difference account-cache message.timestamp.type",
        "difference account-cache segment.ms",
        "difference account-cache segment.bytes",
        "unsafe account-changes the topic",
    ]);
    assert_eq!(found, expected);
    // A person reads the same, the worst first.
    let told = site.kafka("check", &[]).out;
    assert!(told.contains("\nunsafe: ") && told.ends_with("not as it must be\n"), "{told}");
    mend(&done.json(), &site);
    let after = site.kafka("check", &["--json"]);
    succeeded(&after);
    assert_eq!(findings(&after.json(), &prefix), set(["warning quotas the number of copies"]));
}

#[test]
fn init_changes_nothing_that_is_there_but_says_how_it_differs() {
    let (broker, site) = (Broker::shared(), Site::new());
    let (prefix, brokers) = (broker.topic_prefix(), broker.bootstrap());
    let kafka = |more: &str| {
        format!(
            "brokers: ['{brokers}'], topic_prefix: {prefix}, partitions: 2, replication: 1{more}"
        )
    };
    site.configure(&kafka(""), "24h");
    succeeded(&site.kafka("init", &[]));
    // A longer window needs longer retention; until then it must not be counted by.
    let path = site.configure(&kafka(", cache_retention: 1d"), "30d");
    let done = site.kafka("init", &["--json"]);
    assert_eq!(done.status, 1, "{done:?}");
    let expected = set([
        "warning quotas the number of copies",
        "unsafe quotas retention.ms",
        "difference account-cache retention.ms",
        "difference account-cache segment.ms",
    ]);
    assert_eq!(findings(&done.json(), &prefix), expected);
    let refused = topics::refuse_unsafe(&config::load(&path).unwrap(), BOUNDED).unwrap_err();
    let TopicsError::Unsafe(bad) = &refused else { panic!("{refused}") };
    assert_eq!((bad.len(), bad[0].severity, &*bad[0].what), (1, Severity::Unsafe, "retention.ms"));
    let text = refused.to_string();
    assert!(text.contains("the longest window is 30d"), "{text}");
    assert!(text.contains("kafka-configs.sh --bootstrap-server"), "{text}");
    // With other partitions accounts would be looked for where their counts are not.
    let path = site.configure(&kafka("").replace("partitions: 2", "partitions: 3"), "24h");
    let refused = topics::refuse_unsafe(&config::load(&path).unwrap(), BOUNDED).unwrap_err();
    assert!(refused.to_string().contains("the number of partitions is 2; needed: 3"), "{refused}");
}

#[test]
fn without_topics_or_kafka_nothing_starts() {
    let (broker, site) = (Broker::shared(), Site::new());
    let (prefix, brokers) = (broker.topic_prefix(), broker.bootstrap());
    let path = site.configure(&format!("brokers: ['{brokers}'], topic_prefix: {prefix}"), "24h");
    let refused = topics::refuse_unsafe(&config::load(&path).unwrap(), BOUNDED).unwrap_err();
    assert!(refused.to_string().contains("`tollgate kafka init` makes it"), "{refused}");
    // Three copies can't be made by one broker, and init says so.
    let done = site.kafka("init", &[]);
    assert_eq!(done.status, 1);
    assert!(done.out.contains("not created: there are fewer than 3 brokers"), "{}", done.out);
    // A port that nobody listens at.
    let path = site.configure("brokers: ['127.0.0.1:1']", "24h");
    let refused = topics::refuse_unsafe(&config::load(&path).unwrap(), Duration::ZERO).unwrap_err();
    assert!(matches!(refused, TopicsError::Unreachable { .. }), "{refused}");
    let done = site.kafka("check", &["--json"]);
    assert_eq!((done.status, done.err.as_str()), (3, ""), "{done:?}");
    assert!(done.json()["error"].to_string().contains("Connection refused"), "{}", done.out);
    let done = site.kafka("check", &[]);
    assert_eq!(done.status, 3, "{done:?}");
    assert!(done.err.contains("no Kafka broker of 127.0.0.1:1 answered"), "{}", done.err);
    assert!(done.err.contains("Connection refused"), "{}", done.err);
}

#[test]
fn a_configuration_without_kafka_says_so() {
    let site = Site::new();
    site.write(
        "gateway.yaml",
        "listen: [{address: 127.0.0.1:8080}]\nstate: {directory: state}\n\
         routes: [{id: a, match: {path: /a}, authenticate: none, answer: {}}]\n",
    );
    let done = site.kafka("check", &[]);
    assert_eq!((done.status, done.out.as_str()), (1, ""));
    assert!(done.err.contains("gateway.yaml: there is no `kafka`"), "{}", done.err);
}
