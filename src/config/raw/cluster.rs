use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, seconds, whole};

/// A backend service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Addresses of the service. A name may stand for several; it is looked up again as its DNS
    /// entry expires.
    #[schemars(length(min = 1, max = 1000))]
    pub endpoints: Vec<Endpoint>,
    /// How an endpoint is picked.
    #[serde(default)]
    pub balance: Balance,
    /// HTTP version spoken to the endpoints.
    #[serde(default)]
    pub protocol: BackendProtocol,
    /// TLS to the endpoints; their certificates are always verified. Without it they are spoken to
    /// in plain text.
    pub tls: Option<BackendTls>,
    /// Checks that ask endpoints how they are. Without it every endpoint is trusted.
    pub health: Option<HealthCheck>,
    /// Takes endpoints out that fail requests. Without it none is.
    pub ejection: Option<Ejection>,
    /// Time limits of a call.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// Second tries. Without it there are none.
    pub retries: Option<Retries>,
}

/// An address of a service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoint {
    /// Host and port: `10.0.1.1:8080`, `checking.bank.internal:8443`, `[fd00::1]:8080`.
    Address(String),
    /// With a weight.
    Weighted(EndpointRules),
}

/// An address with a weight.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointRules {
    /// Host and port: `10.0.1.1:8080`, `checking.bank.internal:8443`, `[fd00::1]:8080`.
    pub address: String,
    /// Share of requests against the other endpoints.
    #[serde(default = "whole::<1>")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

/// How an endpoint is picked.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The less busy of two picked at random, by weight.
    LeastRequests,
    /// The same endpoint for the same value while the endpoints stay: `account`, `client`,
    /// `header.x-session`. Requests without the value go in turn.
    ConsistentHash(String),
}

/// HTTP version spoken to a backend.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN with TLS, by prior knowledge (h2c) without.
    Http2,
}

/// TLS to a backend.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackendTls {
    /// Name sent (SNI) and verified. Without it the endpoint's host, which must be a name then: an
    /// address in a certificate is not verified.
    pub server_name: Option<String>,
    /// PEM file with the authorities accepted. Without it the system's.
    pub authorities: Option<String>,
    /// PEM file with the certificate chain that the gateway shows; needs `key`.
    pub certificate: Option<String>,
    /// PEM file with its private key; needs `certificate`.
    pub key: Option<String>,
}

/// Checks that ask endpoints how they are. Either `path` or `tcp` says what is asked.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Asks `GET` of this path.
    pub path: Option<String>,
    /// Opens a connection (with TLS, where the cluster has it) and nothing more.
    #[serde(default)]
    pub tcp: bool,
    /// Host header of the request. Without it the endpoint's host.
    pub host: Option<String>,
    /// Statuses that are healthy.
    #[serde(default = "ok")]
    #[schemars(length(min = 1), inner(range(min = 100, max = 599)))]
    pub expect: Vec<u16>,
    /// Time between two checks.
    #[serde(default = "seconds::<5>")]
    pub interval: Duration,
    /// Time allowed for one; at most `interval`.
    #[serde(default = "seconds::<2>")]
    pub timeout: Duration,
    /// Successes in a row that make an endpoint healthy.
    #[serde(default = "whole::<2>")]
    #[schemars(range(min = 1, max = 100))]
    pub healthy_after: u32,
    /// Failures in a row that make it unhealthy.
    #[serde(default = "whole::<3>")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_after: u32,
}

fn ok() -> Vec<u16> {
    vec![200]
}

/// Takes endpoints out that fail requests.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// Failures in a row: no connection, a broken one, a time-out, a 5xx.
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_failures: u32,
    /// First time out. It doubles with each ejection that follows, up to ten times this.
    pub period: Duration,
    /// Most endpoints out at once, in percent. One of two may always be out.
    #[schemars(range(min = 1, max = 100))]
    pub max_percent: u8,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { consecutive_failures: 5, period: seconds::<30>(), max_percent: 50 }
    }
}

/// Time limits of a backend call.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two reads or writes.
    pub idle: Duration,
    /// For the whole call, second tries included.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: seconds::<1>(),
            first_byte: seconds::<10>(),
            idle: seconds::<30>(),
            total: seconds::<30>(),
        }
    }
}

/// Second tries, never at the same endpoint while another is left.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// Tries after the first.
    #[schemars(range(min = 1, max = 5))]
    pub attempts: u32,
    /// Second tries in percent of the cluster's requests, so that a failing backend is not
    /// drowned.
    #[schemars(range(min = 1, max = 100))]
    pub budget_percent: u8,
    /// What is tried again. Requests that are not idempotent are tried again only if they never
    /// reached the backend.
    #[schemars(length(min = 1))]
    pub on: Vec<RetryCause>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 1,
            budget_percent: 20,
            on: vec![
                RetryCause::Word(RetryWord::Connect),
                RetryCause::Word(RetryWord::Reset),
                RetryCause::Status(502),
                RetryCause::Status(503),
            ],
        }
    }
}

/// What is tried again.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RetryCause {
    /// An event.
    Word(RetryWord),
    /// An answer with this status.
    Status(#[schemars(range(min = 400, max = 599))] u16),
}

/// An event after which a call is tried again.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryWord {
    /// No connection came about.
    Connect,
    /// The connection broke before an answer.
    Reset,
    /// No first byte in time.
    Timeout,
}
