use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::Secret;
use crate::request::ValueSource;

/// A named backend service.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Addresses of the service; at least one.
    pub endpoints: Vec<Endpoint>,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// HTTP version spoken.
    pub protocol: BackendProtocol,
    /// TLS to the endpoints; `None` is plain text.
    pub tls: Option<BackendTls>,
    /// Active checks; `None` trusts every endpoint until it fails.
    pub health: Option<HealthCheck>,
    /// Passive ejection; `None` never ejects.
    pub ejection: Option<Ejection>,
    /// Time limits.
    pub deadlines: Deadlines,
    /// Second tries; `None` tries once.
    pub retries: Option<Retries>,
}

/// One address of a cluster, or a name that stands for several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or IP address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// Share of requests against its neighbours; at least 1.
    pub weight: u32,
}

/// How an endpoint is picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The less busy of two picked at random, by weight (Mitzenmacher 2001).
    LeastRequests,
    /// The same endpoint for the same value while endpoints stay; requests without it go in turn.
    ConsistentHash(ValueSource),
}

/// HTTP version spoken to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN with TLS, by prior knowledge without.
    Http2,
}

/// TLS to a backend. The certificate's name is always verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// Name sent as SNI and verified; `None` takes the endpoint's host.
    pub server_name: Option<Arc<str>>,
    /// PEM bundle of the authorities accepted; `None` takes the system's.
    pub authorities: Option<Arc<[u8]>>,
    /// PEM chain and key that this gateway shows.
    pub client: Option<(Arc<[u8]>, Secret)>,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: HealthProbe,
    /// Time between two checks.
    pub interval: Duration,
    /// Time allowed for one.
    pub timeout: Duration,
    /// Successes in a row that make an endpoint healthy.
    pub healthy_after: u32,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_after: u32,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthProbe {
    /// A TCP (and TLS, where the cluster has it) connection.
    Tcp,
    /// `GET path` with one of these answers.
    Http {
        /// Path and query.
        path: Arc<str>,
        /// Host header; `None` takes the endpoint's.
        host: Option<Arc<str>>,
        /// Statuses that are healthy.
        expect: Vec<StatusCode>,
    },
}

/// Takes an endpoint out after failures that requests saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row (connect, reset, time-out, 5xx).
    pub consecutive_failures: u32,
    /// First time out; doubles with each ejection that follows, up to ten times this.
    pub period: Duration,
    /// Most endpoints out at once, in percent; one may always be out if the cluster has two.
    pub max_percent: u8,
}

/// Time limits of a backend call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// TCP and TLS connection.
    pub connect: Duration,
    /// From the request's end to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two reads or writes.
    pub idle: Duration,
    /// The whole call, tries included.
    pub total: Duration,
}

/// Second tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first.
    pub attempts: u32,
    /// Retries in percent of the cluster's requests; a failing backend is not drowned.
    pub budget_percent: u8,
    /// What is tried again. Requests that are not idempotent (RFC 9110 section 9.2.2) are tried
    /// again only when they never reached the backend.
    pub on: Vec<RetryCause>,
}

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryCause {
    /// No connection came about.
    Connect,
    /// The connection broke before an answer.
    Reset,
    /// No first byte in time.
    Timeout,
    /// This status was answered.
    Status(StatusCode),
}
