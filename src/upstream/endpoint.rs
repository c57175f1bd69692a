use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use pingora::upstreams::peer::HttpPeer;

use super::discovery::Found;
use super::ejection::EjectionState;
use super::health::HealthState;
use super::peer::Transport;
use crate::request::UnixMillis;

/// One resolved address of a cluster, as one version of its endpoint list has it.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The configuration's host: its Host field and, over TLS, its name.
    pub host: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
    /// The address as text, for logs and metrics.
    pub label: Arc<str>,
    /// Share of requests.
    pub weight: u32,
    /// Host field for requests that bring none.
    pub authority: Box<str>,
    /// How requests connect.
    pub peer: HttpPeer,
    /// How requests that need HTTP/1.1 connect.
    pub peer_http1: HttpPeer,
    /// What is known of it; outlives this list.
    pub state: Arc<EndpointState>,
}

/// What is known of an endpoint. It outlives endpoint lists and reloads, so it stands apart from
/// selectors, which are made anew with each list.
#[derive(Debug, Default)]
pub(super) struct EndpointState {
    /// Requests in progress.
    pub in_flight: AtomicUsize,
    /// What active checks found.
    pub health: HealthState,
    /// What requests found.
    pub ejection: EjectionState,
    last_error: ArcSwapOption<LastError>,
}

/// The last thing that went wrong with an endpoint.
#[derive(Debug)]
pub(super) struct LastError {
    /// When.
    pub at: UnixMillis,
    /// What.
    pub text: String,
}

impl Endpoint {
    /// Builds an endpoint around what is already known of it.
    pub fn new(found: &Found, transport: &Transport, state: Arc<EndpointState>) -> Self {
        Self {
            host: found.host.clone(),
            address: found.address,
            label: found.address.to_string().into(),
            weight: found.weight,
            authority: authority(&found.host, found.address.port(), transport.is_tls()),
            peer: transport.peer(&found.host, found.address),
            peer_http1: transport.peer_http1(&found.host, found.address),
            state,
        }
    }

    /// Whether it is the endpoint that discovery names: the same address under another host is
    /// another endpoint, since it is asked for another site.
    pub fn is(&self, found: &Found) -> bool {
        self.address == found.address && self.host == found.host
    }

    /// Requests in progress.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::Relaxed)
    }
}

impl EndpointState {
    /// Notes what went wrong.
    pub fn note_error(&self, at: UnixMillis, text: String) {
        self.last_error.store(Some(Arc::new(LastError { at, text })));
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<Arc<LastError>> {
        self.last_error.load_full()
    }
}

/// `host[:port]` (RFC 9110 section 7.2): the port only where it isn't the scheme's own.
fn authority(host: &str, port: u16, tls: bool) -> Box<str> {
    let bare = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    match (tls, port) {
        (true, 443) | (false, 80) => bare.into(),
        _ => format!("{bare}:{port}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn the_host_field_names_the_port_only_where_it_is_not_the_schemes_own() {
        assert_eq!(&*authority("api.bank.example", 80, false), "api.bank.example");
        assert_eq!(&*authority("api.bank.example", 443, true), "api.bank.example");
        assert_eq!(&*authority("api.bank.example", 443, false), "api.bank.example:443");
        assert_eq!(&*authority("::1", 8080, false), "[::1]:8080");
        assert_eq!(&*authority("[::1]", 80, false), "[::1]");
    }
}
