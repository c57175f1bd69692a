use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{
    CertificateFiles, ClientCertificates, Listener, ListenerLimits, ListenerTls, Secret, TlsVersion,
};

/// Apache Kafka: the journal and the account cache's feed of a whole fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port` of brokers to ask first; at least one.
    pub brokers: Vec<Arc<str>>,
    /// Start of every topic's name.
    pub topic_prefix: Arc<str>,
    /// Partitions of each topic. Fixed for the life of the topics.
    pub partitions: u32,
    /// Copies of each partition that the topics should have.
    pub replication: u16,
    /// `None`: plain text.
    pub tls: Option<KafkaTls>,
    /// `None`: the brokers know this gateway by its certificate, or not at all.
    pub sasl: Option<KafkaSasl>,
    /// How long a record may be on its way before it isn't known whether it was written.
    pub delivery_timeout: Duration,
    /// How long the group waits for a gateway that says nothing. An owner that has read nothing
    /// back for half of it no longer holds itself for one.
    pub session_timeout: Duration,
    /// How long the account cache's topic keeps answers.
    pub cache_retention: Duration,
}

/// TLS to brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTls {
    /// PEM bundle that signed the brokers' certificates; `None` takes the system's.
    pub authorities: Option<PathBuf>,
    /// PEM chain and key by which brokers know this gateway.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// SCRAM-SHA-512 (RFC 5802, RFC 7677).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSasl {
    /// The user.
    pub username: Arc<str>,
    /// Its password.
    pub password: Secret,
}

/// A topic of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// The quota journal.
    Quotas,
    /// Sealed answers and purges of the account cache.
    AccountCache,
    /// What backends say about accounts that changed.
    AccountChanges,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 3] = [Self::Quotas, Self::AccountCache, Self::AccountChanges];

    /// Its name without the prefix.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Quotas => "quotas",
            Self::AccountCache => "account-cache",
            Self::AccountChanges => "account-changes",
        }
    }
}

impl Kafka {
    /// A topic's whole name.
    pub fn topic(&self, topic: Topic) -> String {
        format!("{}.{}", self.topic_prefix, topic.suffix())
    }

    /// The group in which gateways share partitions out.
    pub fn group(&self) -> String {
        format!("{}.gateways", self.topic_prefix)
    }
}

/// How gateways of one fleet reach each other: HTTP/2 over mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Where this gateway listens for the others.
    pub listen: SocketAddr,
    /// `host:port` at which the others reach it. Also its name in claims.
    pub advertise: Arc<str>,
    /// PEM bundle of the fleet's own certificate authority. Whoever has a certificate of it is a
    /// gateway of this fleet.
    pub authorities: PathBuf,
    /// PEM chain of this gateway, for the host that it advertises.
    pub certificate: PathBuf,
    /// PEM key of the certificate.
    pub key: PathBuf,
}

impl Fleet {
    /// The port on which this gateway takes what others pass on: HTTP/2 with certificates of the
    /// fleet's authority on both sides. Its limits are wider than any for clients, who have been
    /// held to theirs where they arrived.
    pub fn listener(&self) -> Listener {
        Listener {
            address: self.listen,
            http2: true,
            tls: Some(ListenerTls {
                certificates: vec![CertificateFiles {
                    certificate: self.certificate.clone(),
                    key: self.key.clone(),
                }],
                min_version: TlsVersion::Tls13,
                session_tickets: true,
                client_certificates: ClientCertificates::Required {
                    authorities: self.authorities.clone(),
                },
            }),
            limits: ListenerLimits {
                max_connections: 65_536,
                max_connections_per_address: 65_536,
                header_timeout: Duration::from_secs(10),
                body_timeout: Duration::from_secs(86_400),
                idle_timeout: Duration::from_secs(60),
                max_header_bytes: 1 << 20,
                max_headers: 512,
                max_uri_bytes: 1 << 16,
            },
        }
    }
}
