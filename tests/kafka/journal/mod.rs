//! The journal, on real brokers.

mod faults;
mod figures;
mod mirror;
mod order;
mod owners;
mod secure;
mod share;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tempfile::TempDir;
use tokio::time::timeout;
use tollgate::config::model;
use tollgate::journal::{
    Bucket, Claim, Journal, JournalError, Kafka, Label, Offset, Period, Record, Tail, Tuning, Use,
};
use tollgate::observe::Metrics;
use tollgate::request::UnixMillis;

use crate::broker::Broker;

/// Longest wait for anything that should happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// One gateway's journal: settings, a directory, metrics.
struct Site {
    settings: model::Kafka,
    directory: TempDir,
    account_key: String,
    metrics: Arc<Metrics>,
    tuning: Tuning,
}

impl Site {
    /// With topics of its own on a broker, which are made.
    async fn new(broker: &Broker, partitions: u32) -> Self {
        let site = Self::without_topic(broker, partitions);
        site.create().await;
        site
    }

    fn without_topic(broker: &Broker, partitions: u32) -> Self {
        let settings = model::Kafka {
            brokers: broker.bootstrap().split(',').map(Into::into).collect(),
            topic_prefix: broker.topic_prefix().into(),
            partitions,
            replication: 1,
            tls: None,
            sasl: None,
            delivery_timeout: PATIENCE,
            session_timeout: Duration::from_secs(6),
            cache_retention: Duration::from_secs(86_400),
        };
        Self {
            settings,
            directory: tempfile::tempdir().unwrap(),
            account_key: "the fleet's".to_owned(),
            metrics: Arc::default(),
            tuning: Tuning::default(),
        }
    }

    /// Another gateway of the same fleet.
    fn another(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            directory: tempfile::tempdir().unwrap(),
            account_key: self.account_key.clone(),
            metrics: Arc::default(),
            tuning: self.tuning,
        }
    }

    async fn try_open(&self) -> Result<Kafka, JournalError> {
        let metrics = Arc::clone(&self.metrics);
        let directory = self.directory.path();
        Kafka::open_with(&self.settings, directory, &self.account_key, metrics, self.tuning).await
    }

    async fn open(&self) -> Kafka {
        self.try_open().await.unwrap()
    }

    fn topic(&self) -> String {
        self.settings.topic(model::Topic::Quotas)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.settings.brokers.join(","));
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    async fn create(&self) {
        let topic = self.topic();
        let partitions = i32::try_from(self.settings.partitions).unwrap();
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1))
            .set("cleanup.policy", "compact,delete");
        // A topic of that name may be about to be gone.
        for _ in 0..100 {
            let made = self.admin().create_topics([&new], &options()).await.unwrap();
            if made[0].is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the topic could not be made");
    }

    async fn delete(&self) {
        let topic = self.topic();
        let gone = self.admin().delete_topics(&[&topic], &options()).await.unwrap();
        gone[0].as_ref().unwrap();
    }

    /// Whether Kafka has the topic. Asking does not make it.
    fn has_topic(&self) -> bool {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let metadata = consumer.fetch_metadata(Some(&self.topic()), PATIENCE).unwrap();
        metadata.topics()[0].error().is_none()
    }

    /// Writes bytes that no gateway wrote; `None` is a tombstone.
    async fn write(&self, partition: i32, key: &[u8], payload: Option<&[u8]>) -> Offset {
        let producer: FutureProducer = self.client().create().unwrap();
        let topic = self.topic();
        let mut record = FutureRecord::to(&topic).partition(partition).key(key);
        record.payload = payload;
        let delivery = producer.send(record, PATIENCE).await.unwrap();
        delivery.offset.try_into().unwrap()
    }

    /// The value of a metric by its name and labels as they stand in the exposition.
    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.exposition();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn used(account: u64, ends: u64, admitted: u64) -> Record {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&account.to_be_bytes());
    Record::Use(Use {
        bucket: Bucket {
            account: bytes,
            label: Arc::new(Label { rule: "daily".into(), dimensions: "client=app".into() }),
        },
        period: Period { start: UnixMillis(0), ends: UnixMillis(ends) },
        round: 0,
        epoch: 0,
        admitted,
        refunded: 0,
    })
}

fn claim(nonce: u128) -> Record {
    Record::Claim(Claim { owner: "gw:9443".into(), nonce })
}

/// The next item, which must come.
async fn next(tail: &mut Tail) -> Result<(Offset, Record), JournalError> {
    timeout(PATIENCE, tail.next()).await.expect("no record came").expect("the tail ended")
}

/// The next records, which must come.
async fn take(tail: &mut Tail, count: usize) -> Vec<(Offset, Record)> {
    let mut records = Vec::with_capacity(count);
    while records.len() < count {
        records.push(next(tail).await.unwrap());
    }
    records
}

/// Waits for a condition.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let met = timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    met.await.unwrap_or_else(|_| panic!("{what}: did not happen"));
}
