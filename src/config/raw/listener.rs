use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Duration, seconds, yes};

/// A port that takes requests.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port: `0.0.0.0:8080`, `[::]:8443`, `127.0.0.1:8080`.
    pub address: String,
    /// HTTP/2 beside HTTP/1.1: by ALPN with TLS, by prior knowledge (h2c) without.
    #[serde(default = "yes")]
    pub http2: bool,
    /// TLS. Without it the port speaks plain text.
    pub tls: Option<ListenerTls>,
    /// What one connection and one request may take.
    #[serde(default)]
    pub limits: Limits,
}

/// TLS of a listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificate chains with their keys, picked by the name that the client asks for (SNI). The
    /// first one answers clients that ask for no name or for one that no certificate has. The
    /// files are read again when they change.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
    /// The oldest version spoken. The newest is always 1.3.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Tickets by which a client resumes its session without a full handshake (RFC 5077; RFC 8446
    /// section 2.2). Their key is never written down; it is made anew when the program starts and
    /// when certificates change. Off, each connection is a full handshake.
    #[serde(default = "yes")]
    pub session_tickets: bool,
    /// Certificates of clients. Without this they are not asked for.
    pub client_certificates: Option<ClientCertificates>,
}

/// A certificate chain and its key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file with the chain, leaf first.
    pub certificate: String,
    /// PEM file with the private key.
    pub key: String,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

/// Certificates of clients (RFC 8705).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// PEM file with the authorities that are accepted.
    pub authorities: String,
    /// Whether the handshake fails without one. If not, one that is shown is still verified.
    #[serde(default = "yes")]
    pub required: bool,
}

/// What one connection and one request may take: protection against slow and large clients.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once on this port; more are closed at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,
    /// Connections at once from one address.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_address: u32,
    /// From the first byte to the end of the request's head.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// All header names and values of a request together.
    pub max_header_bytes: Bytes,
    /// Header fields of a request.
    #[schemars(range(min = 1, max = 1000))]
    pub max_headers: u32,
    /// The request's path and query.
    pub max_uri_bytes: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 1000,
            header_timeout: seconds::<10>(),
            body_timeout: seconds::<60>(),
            idle_timeout: seconds::<60>(),
            max_header_bytes: Bytes(32 << 10),
            max_headers: 100,
            max_uri_bytes: Bytes(8 << 10),
        }
    }
}
