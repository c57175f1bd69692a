use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::RequestHeader;
use tokio::time::{Instant, sleep, timeout_at};

use super::cluster::LiveCluster;
use super::exchange::{Broken, Exchange};
use super::failure::{Failure, Wait};
use super::picked::{Outcome, Picked, Tried};
use crate::observe::Event;
use crate::request::Refusal;

/// Before the only endpoint that is left is tried again: an immediate second try meets the same
/// restart or overload as the first.
const PAUSE: Duration = Duration::from_millis(25);

/// Fields that belong to one connection (RFC 9110 section 7.6.1) or that the call sets itself.
const OWN_FIELDS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const OWN_FIELDS_UNNAMED: [&str; 2] = ["keep-alive", "proxy-connection"];

/// A request to a backend, whole.
#[derive(Clone, Debug)]
pub struct BackendRequest {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path_and_query: PathAndQuery,
    /// Header fields. A missing Host is filled in; hop-by-hop fields and Content-Length are left
    /// out and set anew.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
}

/// Bounds of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Time for the whole call, tries included; the cluster's own total bounds it too.
    pub deadline: Duration,
    /// Largest answer, in bytes.
    pub max_body: u64,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, whatever it is.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body. Transfer codings are undone, content codings are not.
    pub body: Bytes,
    /// Address of the endpoint that answered.
    pub endpoint: Arc<str>,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No endpoint is up.
    #[error("no endpoint is up")]
    NoEndpoint,
    /// An endpoint or the whole call took too long.
    #[error("{endpoint}: {wait}")]
    TimedOut {
        /// Address of the last endpoint tried.
        endpoint: Arc<str>,
        /// What was waited for.
        wait: Wait,
    },
    /// The answer is larger than [`CallLimits::max_body`].
    #[error("{endpoint}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// Address of the endpoint.
        endpoint: Arc<str>,
        /// Bytes allowed.
        limit: u64,
    },
    /// The endpoint refused, broke off, or answered something that isn't HTTP.
    #[error("{endpoint}: {failure}")]
    Failed {
        /// Address of the last endpoint tried.
        endpoint: Arc<str>,
        /// What happened.
        failure: Failure,
    },
}

impl CallError {
    fn new(picked: &Picked, failure: Failure) -> Self {
        let endpoint = picked.label().clone();
        match failure {
            Failure::TimedOut(wait) => Self::TimedOut { endpoint, wait },
            Failure::TooLarge { limit } => Self::TooLarge { endpoint, limit },
            failure => Self::Failed { endpoint, failure },
        }
    }

    /// What the client is told.
    pub fn refusal(&self, cluster: &Arc<str>) -> Refusal {
        let cluster = Arc::clone(cluster);
        match self {
            Self::NoEndpoint => Refusal::NoEndpoint { cluster },
            Self::TimedOut { .. } => Refusal::UpstreamTimeout { cluster },
            Self::TooLarge { .. } | Self::Failed { .. } => Refusal::UpstreamFailed { cluster },
        }
    }
}

impl LiveCluster {
    /// Calls the backend: picks an endpoint, tries again as the cluster's policy, budget and the
    /// deadline allow, and reads the whole answer. `hash` is the value for consistent hashing.
    ///
    /// Dropping the future ends the call; no connection is left half read.
    pub async fn call(
        self: &Arc<Self>,
        request: &BackendRequest,
        limits: CallLimits,
        hash: Option<&str>,
    ) -> Result<Answer, CallError> {
        let started = Instant::now();
        let allowed = limits.deadline.min(self.model().deadlines.total);
        let call = Call { cluster: self, request, limits, allowed, deadline: started + allowed };
        let result = call.run(hash).await;
        self.record(Event::UpstreamCall {
            cluster: &self.model().name,
            status: result.as_ref().ok().map(|answer| answer.status.as_u16()),
            seconds: started.elapsed().as_secs_f64(),
        });
        result
    }
}

struct Call<'a> {
    cluster: &'a Arc<LiveCluster>,
    request: &'a BackendRequest,
    limits: CallLimits,
    allowed: Duration,
    deadline: Instant,
}

/// How one try ended.
struct Try {
    result: Result<Answer, CallError>,
    outcome: Option<Outcome>,
}

impl Call<'_> {
    async fn run(&self, hash: Option<&str>) -> Result<Answer, CallError> {
        let mut tried = Tried::default();
        let mut tries = 0;
        let pick = |tried: &Tried| self.cluster.pick(tried, hash);
        let mut picked = pick(&tried).map_err(|_| CallError::NoEndpoint)?;
        loop {
            tries += 1;
            let ended = self.attempt(&picked).await;
            if !self.may_try_again(ended.outcome, tries) {
                return ended.result;
            }
            tried.add(&picked);
            // The old one counts as in progress no longer while its successor is chosen.
            drop(picked);
            picked = match pick(&tried) {
                Ok(next) => next,
                Err(_) => return ended.result,
            };
            if tried.contains(&picked) {
                sleep(PAUSE).await;
            }
        }
    }

    fn may_try_again(&self, outcome: Option<Outcome>, tries: u32) -> bool {
        let Some(outcome) = outcome else { return false };
        let Some(cause) = outcome.retry_cause() else { return false };
        let method = &self.request.method;
        Instant::now() + PAUSE < self.deadline
            && self.cluster.may_retry(cause, method, outcome.reached_backend(), true, tries)
    }

    async fn attempt(&self, picked: &Picked) -> Try {
        let began = Instant::now();
        let result = match timeout_at(self.deadline, self.exchange(picked)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::TimedOut(Wait::Total)),
        };
        let outcome = match &result {
            Ok(answer) => Some(Outcome::Answered(answer.status)),
            // A caller with little time left proves nothing about the endpoint.
            Err(Failure::TimedOut(Wait::Total)) => {
                (began.elapsed() >= self.allowed / 2).then_some(Outcome::TimedOut)
            }
            Err(failure) => failure.outcome(),
        };
        if let Some(outcome) = outcome {
            let why = result.as_ref().err().map_or(outcome.to_string(), Failure::to_string);
            picked.report_because(outcome, why);
        }
        Try { result: result.map_err(|failure| CallError::new(picked, failure)), outcome }
    }

    async fn exchange(&self, picked: &Picked) -> Result<Answer, Failure> {
        let deadlines = self.cluster.model().deadlines;
        let connector = self.cluster.connector();
        let opened = Exchange::open(connector, picked.peer(), deadlines).await;
        match self.converse(opened, picked).await {
            Err(Broken { stale: true, .. }) if self.request.method.is_idempotent() => {
                let opened = Exchange::open_fresh(connector, picked.peer(), deadlines).await;
                self.converse(opened, picked).await.map_err(|broken| broken.failure)
            }
            other => other.map_err(|broken| broken.failure),
        }
    }

    async fn converse(
        &self,
        opened: Result<Exchange, Broken>,
        picked: &Picked,
    ) -> Result<Answer, Broken> {
        let mut exchange = opened?;
        exchange.send(self.head(picked)?, self.request.body.clone()).await?;
        let (status, headers) = exchange.head().await?;
        let body = exchange.body(self.limits.max_body).await?;
        exchange.finish().await?;
        Ok(Answer { status, headers, body, endpoint: picked.label().clone() })
    }

    fn head(&self, picked: &Picked) -> Result<RequestHeader, Failure> {
        let request = self.request;
        let path = request.path_and_query.as_str().as_bytes();
        let cannot = |_| Failure::Connect("the request can't be written".into());
        let mut head =
            RequestHeader::build(request.method.clone(), path, Some(request.headers.len() + 2))
                .map_err(cannot)?;
        if !request.headers.contains_key(header::HOST) {
            head.insert_header(header::HOST, picked.authority()).map_err(cannot)?;
        }
        for (name, value) in request.headers.iter().filter(|(name, _)| !is_own(name)) {
            head.append_header(name.clone(), value.clone()).map_err(cannot)?;
        }
        if let Some(length) = self.content_length() {
            head.insert_header(header::CONTENT_LENGTH, length).map_err(cannot)?;
        }
        Ok(head)
    }

    /// A method that is expected to have content says so even when it has none (RFC 9110 section
    /// 8.6).
    fn content_length(&self) -> Option<HeaderValue> {
        let request = self.request;
        let expected = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
        (expected || !request.body.is_empty()).then(|| HeaderValue::from(request.body.len()))
    }
}

fn is_own(name: &HeaderName) -> bool {
    OWN_FIELDS.contains(name) || OWN_FIELDS_UNNAMED.contains(&name.as_str())
}
