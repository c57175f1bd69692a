use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::ErrorType;
use pingora::protocols::Digest;

use crate::config::model::Listener;

/// What the door knows of the connection that a request came on. It stands in the session's
/// digest, on HTTP/1 and HTTP/2 alike.
#[derive(Debug)]
pub struct Connection {
    /// The other end; an IPv4 address inside IPv6 is given as IPv4.
    pub peer: SocketAddr,
    /// The port's configuration when the connection began.
    pub listener: Arc<Listener>,
    /// The name that the client asked for in TLS (SNI), lower case.
    pub server_name: Option<String>,
    /// SHA-256 of the client's certificate, which TLS has verified.
    pub certificate_thumbprint: Option<[u8; 32]>,
}

impl Connection {
    /// The connection of a session; `None` for a session that came through no port, such as a
    /// subrequest's.
    pub fn of(digest: &Digest) -> Option<&Self> {
        let carried = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
        carried.downcast_ref::<Arc<Self>>().map(|connection| &**connection)
    }

    /// Whether the connection is TLS.
    pub fn is_https(&self) -> bool {
        self.listener.tls.is_some()
    }
}

/// Time for a request's body on the port that its connection came through; none at all for a
/// session that came through no port.
pub fn body_timeout(digest: Option<&Digest>) -> Duration {
    let connection = digest.and_then(Connection::of);
    connection.map_or(Duration::ZERO, |connection| connection.listener.limits.body_timeout)
}

/// Whether reading a request's body failed because a deadline passed: Pingora's for one read, or
/// the port's for the whole body.
pub fn timed_out(error: &pingora::Error) -> bool {
    let is_deadline = error
        .root_cause()
        .downcast_ref::<io::Error>()
        .is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut);
    is_deadline || *error.etype() == ErrorType::ReadTimedout
}
