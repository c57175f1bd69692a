//! The brokers that the other tests stand on.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::Broker;

fn partitions(broker: &Broker, topic: &str) -> usize {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer =
        config.set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).unwrap();
    metadata.topics()[0].partitions().len()
}

fn create(broker: &Broker, topic: &str) {
    let bootstrap = broker.admin();
    let command = format!(
        "kafka-topics.sh --bootstrap-server {bootstrap} --create --topic {topic} --partitions 3"
    );
    Broker::tool_works(&command, &std::env::temp_dir());
}

#[test]
fn all_tests_share_a_broker_and_none_a_prefix() {
    let broker = Broker::shared();
    let topic = broker.topic_prefix();
    create(broker, &topic);
    assert_eq!(partitions(Broker::shared(), &topic), 3);
    assert_ne!(broker.topic_prefix(), topic);
}

#[test]
fn a_killed_broker_comes_back_with_what_it_had_and_dies_with_its_owner() {
    let broker = Broker::own(&[]);
    create(&broker, "kept");
    let (before, folder) = (broker.pid(1), broker.folder().to_owned());
    broker.kill(1);
    assert!(!is_there(before));
    broker.start(1);
    assert_eq!(partitions(&broker, "kept"), 3);
    let after = broker.pid(1);
    drop(broker);
    assert!(!is_there(after));
    assert!(!folder.exists());
}

fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
