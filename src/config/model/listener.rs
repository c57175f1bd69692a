use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A port that takes requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// HTTP/1.1 only, or HTTP/2 as well (by ALPN with TLS, by prior knowledge without).
    pub http2: bool,
    /// Certificates; `None` is plain text.
    pub tls: Option<ListenerTls>,
    /// What one connection and one request may take.
    pub limits: ListenerLimits,
}

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificate chains with their keys; the first one answers names that no other has.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// Whether clients may resume a session without a full handshake.
    pub session_tickets: bool,
    /// Whether clients must show certificates of their own.
    pub client_certificates: ClientCertificates,
}

/// A certificate chain and its key, both PEM; read again when the files change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// The oldest TLS version that a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Client certificates (RFC 8705 section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for.
    None,
    /// Verified when shown.
    Optional {
        /// PEM bundle of the authorities accepted.
        authorities: PathBuf,
    },
    /// The handshake fails without one.
    Required {
        /// PEM bundle of the authorities accepted.
        authorities: PathBuf,
    },
}

/// What one connection and one request may take; protects against slow and large clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections at once on this listener.
    pub max_connections: usize,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// From the first byte to the end of the request's head.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Bytes of all header names and values.
    pub max_header_bytes: usize,
    /// Number of header fields.
    pub max_headers: usize,
    /// Bytes of the request target.
    pub max_uri_bytes: usize,
}
