//! The checked settings as librdkafka's, and what its clients report. Everything of the program
//! that speaks to Kafka is set up here.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::health::Health;
use crate::config::model;

/// Time for TCP, TLS and SASL together, for each broker tried.
const CONNECT: Duration = Duration::from_secs(5);
/// Between attempts to connect at most: a broker that is back is noticed within this.
const RECONNECT: Duration = Duration::from_secs(1);
/// How long a broker may hold a fetch back when there is nothing new. A partition that is added to
/// those that are read waits for that at most; whatever else is asked over the same connection
/// waits too, so nothing else should be.
const FETCH_WAIT: Duration = Duration::from_millis(100);
/// Requests without an answer for so long are given up and sent anew over another connection.
const ANSWER: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(10));

/// What every client has in common. `name` tells brokers' logs and metrics which client it is.
pub(crate) fn client_config(settings: &model::Kafka, name: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    // Half of the time after which an owner holds itself for none: a connection that went dead
    // without a word is replaced before that.
    let answer = (settings.session_timeout / 2).clamp(ANSWER.0, ANSWER.1);
    config
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", format!("tollgate-{name}"))
        // A producer that asks for a topic makes it, by default, where brokers let clients: with
        // the brokers' settings, on which counts are not exact, and in place of one that an
        // administrator has deleted. Only `tollgate kafka init` makes topics.
        .set("allow.auto.create.topics", "false")
        .set("security.protocol", protocol(settings))
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", millis(answer))
        .set("socket.connection.setup.timeout.ms", millis(CONNECT))
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", millis(RECONNECT))
        .set_log_level(RDKafkaLogLevel::Info);
    if let Some(tls) = &settings.tls {
        // OpenSSL is linked statically and knows no system's store: librdkafka looks for it in the
        // usual places.
        let authorities = tls.authorities.as_ref().map(|path| path.display().to_string());
        config.set("ssl.ca.location", authorities.unwrap_or_else(|| "probe".to_owned()));
        if let Some((certificate, key)) = &tls.client {
            config
                .set("ssl.certificate.location", certificate.display().to_string())
                .set("ssl.key.location", key.display().to_string());
        }
    }
    if let Some(sasl) = &settings.sasl {
        config
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", &*sasl.username)
            .set("sasl.password", sasl.password.reveal());
    }
    config
}

/// A consumer that is told what to read and from where, and keeps its own offsets. It names the
/// fleet's group because librdkafka demands a name, but never joins it.
pub(crate) fn reader_config(settings: &model::Kafka, name: &str) -> ClientConfig {
    let mut config = client_config(settings, name);
    config
        .set("group.id", settings.group())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // An offset that is not there is a finding, never a reason to go on somewhere else.
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        // Nobody writes transactions to these topics, so there is nothing that was taken back;
        // and a stranger's open transaction must not hold records back.
        .set("isolation.level", "read_uncommitted")
        .set("check.crcs", "true")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", millis(FETCH_WAIT))
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.queue.backoff.ms", "1");
    config
}

fn protocol(settings: &model::Kafka) -> &'static str {
    match (&settings.tls, &settings.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    }
}

/// A partition's first offset and one past its last. Blocks for up to thrice the time.
///
/// Where librdkafka asks is what it remembers of leaders. It remembers also that a partition had
/// none, as while brokers start, and does not ask again for minutes if nothing else does: so that
/// is done here.
pub(crate) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
    within: Duration,
) -> Result<(i64, i64), KafkaError> {
    match client.fetch_watermarks(topic, partition, within) {
        Err(error) if is_of_memory(&error) => {
            client.fetch_metadata(Some(topic), within)?;
            client.fetch_watermarks(topic, partition, within)
        }
        other => other,
    }
}

fn is_of_memory(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::LeaderNotAvailable
        )
    )
}

/// As librdkafka wants times.
pub(crate) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// A partition's number as Kafka has it, in 31 bits.
pub(crate) fn partition_number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// What went wrong, in words for operators.
pub(crate) fn words(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => format!("Kafka: {code}"),
        None => error.to_string(),
    }
}

/// A line of librdkafka's own log. Lost connections are everyday events, which it calls errors.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
    }
}

/// What a client reports: its log, and errors that concern no single request.
#[derive(Clone)]
pub(crate) struct Context {
    health: Arc<Health>,
    /// Whether this client's connections say whether Kafka can be reached. One does, so that two
    /// don't contradict each other.
    judge: bool,
}

impl Context {
    /// Of a client whose connections say whether Kafka can be reached.
    pub fn judging(health: &Arc<Health>) -> Self {
        Self { health: Arc::clone(health), judge: true }
    }

    /// Of any other client.
    pub fn new(health: &Arc<Health>) -> Self {
        Self { health: Arc::clone(health), judge: false }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) if self.judge => self.health.all_down(),
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::PartitionEOF) => {}
            _ => self.health.note(reason),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if self.judge {
            self.health.statistics(statistics);
        }
    }
}

impl ConsumerContext for Context {}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::config::model::{Kafka, KafkaSasl, KafkaTls, Secret};

    fn settings() -> Kafka {
        Kafka {
            brokers: vec!["one:9092".into(), "two:9093".into()],
            topic_prefix: "tollgate".into(),
            partitions: 8,
            replication: 3,
            tls: None,
            sasl: None,
            delivery_timeout: Duration::from_secs(5),
            session_timeout: Duration::from_secs(10),
            cache_retention: Duration::from_secs(86_400),
        }
    }

    #[test]
    fn a_partition_that_had_no_leader_is_asked_about_anew() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        cluster.partition_leader("t", 0, None).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "nobody");
        let consumer: BaseConsumer = config.create().unwrap();
        let ask = || watermarks(consumer.client(), "t", 0, Duration::from_secs(5));
        assert!(ask().is_err());
        cluster.partition_leader("t", 0, Some(1)).unwrap();
        assert_eq!(ask().unwrap(), (0, 0));
    }

    fn tls() -> KafkaTls {
        KafkaTls {
            authorities: Some(PathBuf::from("/etc/ca.pem")),
            client: Some((PathBuf::from("/etc/gw.pem"), PathBuf::from("/etc/gw.key"))),
        }
    }

    #[test]
    fn tls_and_sasl_make_the_protocol() {
        let sasl = KafkaSasl { username: "gw".into(), password: Secret::new("hidden") };
        for (tls, sasl, protocol) in [
            (None, None, "plaintext"),
            (Some(tls()), None, "ssl"),
            (None, Some(sasl.clone()), "sasl_plaintext"),
            (Some(tls()), Some(sasl), "sasl_ssl"),
        ] {
            let config = client_config(&Kafka { tls, sasl, ..settings() }, "test");
            assert_eq!(config.get("security.protocol"), Some(protocol));
        }
    }

    #[test]
    fn files_of_certificates_are_handed_on() {
        let config = client_config(&Kafka { tls: Some(tls()), ..settings() }, "test");
        assert_eq!(config.get("ssl.ca.location"), Some("/etc/ca.pem"));
        assert_eq!(config.get("ssl.certificate.location"), Some("/etc/gw.pem"));
        assert_eq!(config.get("ssl.key.location"), Some("/etc/gw.key"));
        let system = KafkaTls { authorities: None, client: None };
        let config = client_config(&Kafka { tls: Some(system), ..settings() }, "test");
        assert_eq!(config.get("ssl.ca.location"), Some("probe"));
    }

    #[test]
    fn every_setting_is_one_that_librdkafka_knows() {
        reader_config(&settings(), "test").create_native_config().unwrap();
        let producer = client_config(&settings(), "test");
        producer.create::<rdkafka::producer::BaseProducer>().unwrap();
        assert_eq!(producer.get("allow.auto.create.topics"), Some("false"));
        assert_eq!(
            client_config(&settings(), "x").get("bootstrap.servers"),
            Some("one:9092,two:9093")
        );
    }
}
