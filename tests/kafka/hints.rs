//! What brokers say of leaders in passing is left alone: librdkafka corrupts memory over it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(30);

/// Facilities of lines in a client's log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl ClientContext for Log {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, _: &str) {
        self.0.lock().unwrap().push(facility.to_owned());
    }
}

impl ConsumerContext for Log {}

fn write(bootstrap: &str, payload: &str) {
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", bootstrap).create().unwrap();
    producer.send(BaseRecord::<(), str>::to("t").partition(0).payload(payload)).unwrap();
    producer.flush(PATIENCE).unwrap();
}

fn read(consumer: &BaseConsumer<Log>) -> String {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            return String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        }
    }
    panic!("nothing was read");
}

#[test]
fn a_new_leader_is_found_without_the_hint_of_the_old_one() {
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic("t", 1, 2).unwrap();
    cluster.partition_leader("t", 0, Some(1)).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let log = Log::default();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &bootstrap)
        .set("group.id", "nobody")
        .set("debug", "metadata")
        .set_log_level(RDKafkaLogLevel::Debug);
    let consumer = BaseConsumer::<Log>::from_config_and_context(&config, log.clone()).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    write(&bootstrap, "from the first leader");
    assert_eq!(read(&consumer), "from the first leader");
    cluster.partition_leader("t", 0, Some(2)).unwrap();
    write(&bootstrap, "from the second");
    assert_eq!(read(&consumer), "from the second");
    let log = log.0.lock().unwrap();
    assert!(log.iter().any(|facility| facility == "METADATA"), "{log:?}");
    assert!(!log.iter().any(|facility| facility == "METADATAUPDATE"), "{log:?}");
}
