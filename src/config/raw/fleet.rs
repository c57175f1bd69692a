use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, seconds, whole};

/// Apache Kafka: what a fleet of gateways has in common.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Host and port of brokers that are asked first, as in `kafka-1.bank.internal:9092`. They
    /// name the others.
    #[schemars(length(min = 1))]
    pub brokers: Vec<String>,
    /// Start of the names of topics (`tollgate.quotas`) and of the consumer group: letters,
    /// digits, `.`, `_` and `-`. All gateways of a fleet have the same.
    #[serde(default = "tollgate")]
    #[schemars(
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"),
        extend("title" = "a topic prefix", "examples" = ["tollgate", "bank.tollgate-eu"])
    )]
    pub topic_prefix: String,
    /// Partitions of each topic. Each account belongs to one of them, and each has one owner at a
    /// time, so this is also the most gateways that can share the accounts. It is fixed for the
    /// life of the topics: with another number accounts are looked for where their counts are not.
    /// 48 can be shared out evenly among 2, 3, 4, 6, 8, 12, 16, 24 or 48 gateways.
    #[serde(default = "whole::<48>")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: u32,
    /// Brokers that keep a copy of each partition. With 3, one of them may be lost and counting
    /// goes on; with 1, a lost disk loses counts.
    #[serde(default = "copies")]
    #[schemars(range(min = 1, max = 15))]
    pub replication: u16,
    /// TLS to the brokers. Without it they are spoken to in plain text.
    pub tls: Option<KafkaTls>,
    /// Login by user and password (SCRAM-SHA-512). Without it the brokers know a gateway by its
    /// certificate, or not at all.
    pub sasl: Option<KafkaSasl>,
    /// How long a record may be on its way, shorter than `session_timeout`. After that it is given
    /// up, and its use counts only if the record turns up. No request waits so long: the quota's
    /// `unavailable` answers it after two seconds. Purges of cached answers do wait for it.
    #[serde(default = "seconds::<5>")]
    pub delivery_timeout: Duration,
    /// How long a gateway may be silent before its accounts are shared out among the others, from
    /// `6s` to `10s`. One that has heard nothing from Kafka for half of it admits nothing strict.
    #[serde(default = "seconds::<6>")]
    pub session_timeout: Duration,
    /// How long the topic of cached answers keeps them, at least `1d`: what is older is fetched
    /// anew, whatever a route's `cache` says.
    #[serde(default = "seconds::<604_800>")]
    pub cache_retention: Duration,
}

/// TLS to Kafka's brokers. Their names are always verified. The files are read at start.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaTls {
    /// PEM file with the authorities of the brokers' certificates. Without it the system's.
    pub authorities: Option<String>,
    /// PEM file with the chain by which brokers know this gateway.
    pub certificate: Option<String>,
    /// PEM file with the key of that certificate.
    pub key: Option<String>,
}

/// Login to Kafka's brokers by SCRAM-SHA-512.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSasl {
    /// The user.
    #[schemars(length(min = 1))]
    pub username: String,
    /// The password. Take it from `${env:NAME}` or `${file:/path}`.
    #[schemars(length(min = 1))]
    pub password: String,
}

/// How gateways of one fleet reach each other: HTTP/2 over TLS, with certificates on both sides.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// IP address and port where this gateway listens for the others: `0.0.0.0:8444`.
    pub listen: String,
    /// Host and port at which the others reach it: `gateway-1.bank.internal:8444`. It is also the
    /// gateway's name in the journal, so no two have the same.
    pub advertise: String,
    /// PEM file with the fleet's own certificate authority. Whoever has a certificate of it is a
    /// gateway of this fleet, so it must sign nothing else.
    pub authorities: String,
    /// PEM file with the chain of this gateway's certificate, leaf first; it must be for the host
    /// of `advertise`. These files are read again when they change.
    pub certificate: String,
    /// PEM file with the private key.
    pub key: String,
}

fn tollgate() -> String {
    "tollgate".into()
}

fn copies() -> u16 {
    3
}
