use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use pingora::upstreams::peer::HttpPeer;

use super::cluster::LiveCluster;
use super::endpoint::{Endpoint, EndpointState};
use crate::config::model::RetryCause;

/// The endpoint that a request goes to. While it lives, the request counts as in progress there.
pub struct Picked {
    cluster: Arc<LiveCluster>,
    endpoint: Arc<Endpoint>,
}

/// Endpoints that a request has already tried.
#[derive(Clone, Debug, Default)]
pub struct Tried(Vec<Arc<EndpointState>>);

/// How a try ended, for passive ejection and retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came.
    Answered(StatusCode),
    /// No connection came about, or TLS refused it: the request never reached the backend.
    ConnectFailed,
    /// The connection broke before the whole answer was there.
    Reset,
    /// Nothing came in time.
    TimedOut,
    /// What came is not HTTP.
    Garbage,
}

impl Picked {
    pub(super) fn new(cluster: Arc<LiveCluster>, endpoint: Arc<Endpoint>) -> Self {
        endpoint.state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { cluster, endpoint }
    }

    /// How to connect: the resolved address, TLS and all time limits.
    ///
    /// Pingora has one read time-out, for the head and for each part of the body; it is set to
    /// the cluster's `first_byte`. The whole call's limit is the caller's to hold.
    pub fn peer(&self) -> HttpPeer {
        self.endpoint.peer.clone()
    }

    /// The same in HTTP/1.1 whatever the cluster speaks: for WebSocket, which Pingora can't take
    /// through HTTP/2.
    pub fn peer_http1(&self) -> HttpPeer {
        self.endpoint.peer_http1.clone()
    }

    /// The resolved address.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// The resolved address as text.
    pub fn label(&self) -> &Arc<str> {
        &self.endpoint.label
    }

    /// The Host field that the backend expects (RFC 9110 section 7.2), unless the route says
    /// another.
    pub fn authority(&self) -> &str {
        &self.endpoint.authority
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<LiveCluster> {
        &self.cluster
    }

    /// Says how the try ended. Failures in a row take the endpoint out; a try that the client
    /// broke off says nothing of the endpoint and isn't reported.
    pub fn report(&self, outcome: Outcome) {
        self.cluster.take_in(&self.endpoint, outcome, outcome.to_string());
    }

    /// The same, with words of one's own for the operators' view.
    pub fn report_because(&self, outcome: Outcome, why: String) {
        self.cluster.take_in(&self.endpoint, outcome, why);
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.endpoint.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picked({} of {})", self.endpoint.label, self.cluster.name())
    }
}

impl Tried {
    /// Notes a try.
    pub fn add(&mut self, picked: &Picked) {
        if !self.has(&picked.endpoint) {
            self.0.push(Arc::clone(&picked.endpoint.state));
        }
    }

    /// Whether this endpoint was tried.
    pub fn contains(&self, picked: &Picked) -> bool {
        self.has(&picked.endpoint)
    }

    /// Whether nothing was tried yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, endpoint: &Endpoint) -> bool {
        self.0.iter().any(|state| Arc::ptr_eq(state, &endpoint.state))
    }
}

impl Outcome {
    /// Whether it counts against the endpoint: everything but an answer below 500.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Answered(status) => status.is_server_error(),
            Self::ConnectFailed | Self::Reset | Self::TimedOut | Self::Garbage => true,
        }
    }

    /// What a cluster's `retries.on` calls it. Garbage is never tried again: a backend that
    /// speaks another protocol will not learn HTTP.
    pub fn retry_cause(self) -> Option<RetryCause> {
        match self {
            Self::Answered(status) => Some(RetryCause::Status(status)),
            Self::ConnectFailed => Some(RetryCause::Connect),
            Self::Reset => Some(RetryCause::Reset),
            Self::TimedOut => Some(RetryCause::Timeout),
            Self::Garbage => None,
        }
    }

    /// Whether the backend may have seen the request.
    pub fn reached_backend(self) -> bool {
        !matches!(self, Self::ConnectFailed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "answered {}", status.as_u16()),
            Self::ConnectFailed => f.write_str("no connection"),
            Self::Reset => f.write_str("the connection broke"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Garbage => f.write_str("the answer is not HTTP"),
        }
    }
}
