//! The account cache of a fleet, on real brokers. Every gateway is a vault of its own in a
//! directory of its own.

mod answers;
mod changes;
mod outage;
mod purges;
mod restart;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use pingora::http::ResponseHeader;
use pingora_cache::{CacheKey, HttpCache, NoCacheReason, RespCacheable};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tempfile::TempDir;
use tollgate::account::{AccountHasher, AccountKey};
use tollgate::config::model::{CachePolicy, CacheSettings, Kafka, Secret, Topic, Visibility};
use tollgate::observe::Metrics;
use tollgate::request::{
    AccountId, Captures, Facts, NormalPath, RequestHead, RouteId, SystemClock,
};
use tollgate::vault::{Vault, VaultError, cache_key};

use crate::broker::Broker;

/// Longest wait for anything that should happen.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const PARTITIONS: u32 = 3;

/// What the gateways of one fleet have in common.
struct Fleet {
    kafka: Kafka,
}

impl Fleet {
    /// With topics of its own, which are made.
    async fn new(broker: &Broker) -> Self {
        let fleet = Self {
            kafka: Kafka {
                brokers: broker.bootstrap().split(',').map(Into::into).collect(),
                topic_prefix: broker.topic_prefix().into(),
                partitions: PARTITIONS,
                replication: 1,
                tls: None,
                sasl: None,
                delivery_timeout: Duration::from_secs(5),
                session_timeout: Duration::from_secs(6),
                cache_retention: 24 * HOUR,
            },
        };
        fleet.create(Topic::AccountCache).await;
        fleet.create(Topic::AccountChanges).await;
        fleet
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka.brokers.join(","));
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    async fn create(&self, topic: Topic) {
        let name = self.kafka.topic(topic);
        let partitions = i32::try_from(self.kafka.partitions).unwrap();
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1))
            .set(
                "cleanup.policy",
                if topic == Topic::AccountCache { "compact,delete" } else { "delete" },
            )
            .set("message.timestamp.type", "LogAppendTime")
            .set("max.message.bytes", "200000");
        // A topic of that name may be about to be gone.
        let until = Instant::now() + PATIENCE;
        loop {
            let made = self.admin().create_topics([&new], &AdminOptions::new()).await;
            match made.as_deref() {
                Ok([Ok(_)]) => return,
                other => assert!(Instant::now() < until, "{name}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn delete(&self, topic: Topic) {
        let name = self.kafka.topic(topic);
        let gone = self.admin().delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
        gone[0].as_ref().unwrap();
    }

    /// Writes what no gateway writes.
    async fn write(&self, topic: Topic, partition: i32, key: &[u8], value: &[u8]) {
        let producer: FutureProducer = self.client().create().unwrap();
        let topic = self.kafka.topic(topic);
        let record = FutureRecord::to(&topic).partition(partition).key(key).payload(value);
        producer.send(record, PATIENCE).await.unwrap();
    }

    fn gateway(&self) -> Gateway {
        self.gateway_in(tempfile::tempdir().unwrap())
    }

    fn gateway_in(&self, directory: TempDir) -> Gateway {
        let metrics = Arc::<Metrics>::default();
        let vault = self.open(directory.path(), &metrics);
        Gateway { directory, vault, metrics }
    }

    fn open(&self, directory: &Path, metrics: &Arc<Metrics>) -> &'static Vault {
        let until = Instant::now() + PATIENCE;
        loop {
            let (clock, metrics) = (Arc::new(SystemClock), metrics.clone());
            let accounts = AccountHasher::new(b"the fleet's");
            let opened =
                Vault::open_fed(directory, &settings(), &self.kafka, accounts, clock, metrics);
            match opened {
                Ok(vault) => return vault,
                // One that was closed on a busy machine may still be at its last write.
                Err(VaultError::Locked(_)) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Gateways that know all that the topics said up to now.
    async fn current(&self, count: usize) -> Vec<Gateway> {
        let gateways: Vec<Gateway> = (0..count).map(|_| self.gateway()).collect();
        for gateway in &gateways {
            gateway.is_current().await;
        }
        gateways
    }
}

fn settings() -> CacheSettings {
    CacheSettings {
        memory: 16 << 20,
        disk: 256 << 20,
        max_entry: 1 << 20,
        sealing_keys: vec![Secret::new("the fleet's key")],
    }
}

fn policy() -> CachePolicy {
    CachePolicy {
        fresh: HOUR,
        visible_to: Visibility::Everyone,
        query: None,
        headers: Vec::new(),
        stale_if_error: Duration::ZERO,
        keep_partial: false,
        obey_request: false,
        data_classes: Vec::new(),
    }
}

fn account(number: &str) -> AccountKey {
    AccountHasher::new(b"the fleet's").key(&AccountId::parse(number).unwrap())
}

/// The key of a route's answer about an account.
fn key(route: &str, number: &str) -> CacheKey {
    let path = NormalPath { decoded: format!("/{route}"), encoded: format!("/{route}") };
    let head = RequestHead { host: "bank.example".into(), path, ..RequestHead::default() };
    let (headers, captures, route) = (HeaderMap::new(), Captures::default(), RouteId::new(route));
    let facts = Facts {
        head: &head,
        headers: &headers,
        route: &route,
        captures: &captures,
        caller: None,
        account: None,
        body: None,
    };
    cache_key(&policy(), &facts, Some(&account(number)))
}

/// One gateway's vault.
struct Gateway {
    directory: TempDir,
    vault: &'static Vault,
    metrics: Arc<Metrics>,
}

impl Gateway {
    /// Ends and starts again on what is on its disk.
    fn restart(self, fleet: &Fleet) -> Self {
        fleet.gateway_in(self.close())
    }

    fn close(self) -> TempDir {
        self.vault.close();
        self.directory
    }

    async fn is_current(&self) {
        until("the gateway knows all that the topics said", || self.vault.feed().unwrap().current)
            .await;
    }

    /// Asks as the proxy does; what is not there is left.
    async fn kept(&self, key: CacheKey) -> Option<Vec<u8>> {
        let mut cache = HttpCache::new();
        self.vault.enable_on(&mut cache, PATIENCE);
        cache.set_cache_key(key);
        let Some((_, mut hit)) = cache.cache_lookup().await.unwrap() else {
            cache.cache_miss();
            cache.disable(NoCacheReason::UpstreamError);
            return None;
        };
        let mut body = Vec::new();
        while let Some(piece) = hit.read_body().await.unwrap() {
            body.extend_from_slice(&piece);
        }
        Some(body)
    }

    /// Asks, is told that there is nothing, and brings an answer from the backend.
    async fn fill(&self, key: CacheKey, body: &[u8]) {
        self.ask(key).await.answer(self, body).await;
    }

    /// Asks and is told that there is nothing.
    async fn ask(&self, key: CacheKey) -> Filling {
        let mut cache = HttpCache::new();
        self.vault.enable_on(&mut cache, PATIENCE);
        cache.set_cache_key(key);
        assert!(cache.cache_lookup().await.unwrap().is_none(), "it is there");
        cache.cache_miss();
        Filling(cache)
    }

    /// Waits until it answers so.
    async fn answers(&self, key: &CacheKey, body: &[u8]) {
        let started = Instant::now();
        loop {
            let kept = self.kept(key.clone()).await;
            if kept.as_deref() == Some(body) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "it answers {kept:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it has no answer.
    async fn forgets(&self, key: &CacheKey) {
        let started = Instant::now();
        while self.kept(key.clone()).await.is_some() {
            assert!(started.elapsed() < PATIENCE, "it is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What removed it is not over yet: its last act keeps lookups that are under way from
        // finding anything.
        self.vault.flush().await;
    }

    /// Waits until it has done so many purges that came by the topic, all of each.
    async fn has_purged(&self, count: u64) {
        until("the purges have arrived", || self.read("purge") == count).await;
        // What arrived together is done when the thread turns to something else.
        self.vault.flush().await;
    }

    /// The value of a metric by its name and labels as they stand in the exposition.
    fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.exposition();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Records of the topics by what became of them.
    fn read(&self, outcome: &str) -> u64 {
        self.metric(&format!("tollgate_cache_feed_records_total{{outcome=\"{outcome}\"}}"))
    }

    /// All records of the topics.
    fn read_in_all(&self) -> u64 {
        let text = self.metrics.exposition();
        let lines =
            text.lines().filter(|line| line.starts_with("tollgate_cache_feed_records_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Records sent to the topic by what became of them.
    fn sent(&self, outcome: &str) -> u64 {
        self.metric(&format!("tollgate_cache_feed_sent_total{{outcome=\"{outcome}\"}}"))
    }
}

/// A request that brings an answer from the backend.
struct Filling(HttpCache);

impl Filling {
    async fn answer(mut self, gateway: &Gateway, body: &[u8]) {
        let header = ResponseHeader::build(200, None).unwrap();
        let RespCacheable::Cacheable(meta) = gateway.vault.judge(&policy(), &header, false) else {
            panic!("it is not to be kept");
        };
        self.0.set_cache_meta(meta);
        self.0.set_miss_handler().await.unwrap();
        let piece = Bytes::copy_from_slice(body);
        self.0.miss_handler().unwrap().write_body(piece, true).await.unwrap();
        self.0.finish_miss_handler().await.unwrap();
    }
}

/// Waits for a condition.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}: did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
