//! What a gateway that runs sees of the topics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::config;
use tollgate::journal::topics::Watch;
use tollgate::observe::Metrics;

use crate::broker::Broker;
use crate::site::Site;
use crate::topics::{BOUNDED, succeeded};

/// Between looks here.
const EVERY: Duration = Duration::from_millis(200);

/// Waits until this is unsafe, by what is found, and nothing else.
async fn until_found(watch: &Watch, wanted: &[&str]) -> Vec<String> {
    let started = Instant::now();
    loop {
        let found = watch.findings();
        let is_told = |part: &&str| found.iter().any(|finding| finding.contains(*part));
        if found.len() == wanted.len() && wanted.iter().all(is_told) {
            return found;
        }
        assert!(started.elapsed() < BOUNDED, "wanted {wanted:?}, found {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The command that a finding names.
fn command(finding: &str) -> &str {
    finding.split_once("mend: ").unwrap_or_else(|| panic!("{finding}")).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_administrator_changes_later_is_told_until_it_is_mended() {
    let (broker, site) = (Broker::shared(), Site::new());
    let (prefix, brokers) = (broker.topic_prefix(), broker.bootstrap());
    let kafka =
        format!("brokers: ['{brokers}'], topic_prefix: {prefix}, partitions: 2, replication: 1");
    let config = Arc::new(config::load(&site.configure(&kafka, "24h")).unwrap());
    succeeded(&site.kafka("init", &[]));
    let metrics = Arc::<Metrics>::default();
    let watch = Arc::new(Watch::new(metrics.clone()));
    let looking = Arc::clone(&watch);
    let looking =
        tokio::spawn(async move { looking.look_for_ever(EVERY, || config.clone()).await });

    let set = format!(
        "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name \
         {prefix}.quotas --add-config"
    );
    let change = "'retention.ms=3600000,unclean.leader.election.enable=true,min.insync.replicas=2'";
    Broker::tool_works(&format!("{set} {change}"), site.folder());
    let wanted = ["retention.ms", "unclean.leader.election.enable", "min.insync.replicas"];
    let found = until_found(&watch, &wanted).await;
    let text = metrics.exposition();
    assert!(text.contains("tollgate_kafka_unsafe_findings 3\n"), "{text}");
    let commands: Vec<&str> = found.iter().map(|finding| command(finding)).collect();
    Broker::tool_works(&format!("set -e\n{}", commands.join("\n")), site.folder());
    until_found(&watch, &[]).await;

    // One that is deleted, and made again as brokers do it by themselves.
    let topic = format!("kafka-topics.sh --bootstrap-server {brokers} --topic {prefix}.quotas");
    Broker::tool_works(&format!("{topic} --delete"), site.folder());
    let found = until_found(&watch, &["the topic is missing"]).await;
    let right = command(&found[0]).to_owned();
    Broker::tool_works(&format!("{topic} --create --partitions 1"), site.folder());
    let wanted = ["the number of partitions", "cleanup.policy", "message.timestamp.type"];
    until_found(&watch, &wanted).await;
    Broker::tool_works(&format!("{topic} --delete"), site.folder());
    until_found(&watch, &["the topic is missing"]).await;
    Broker::tool_works(&right, site.folder());
    until_found(&watch, &[]).await;
    assert!(metrics.exposition().contains("tollgate_kafka_unsafe_findings 0\n"));
    looking.abort();
}
