use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::{LimitState, PathError, UnixMillis};

/// Why a request stops here. A value: `gateway::respond` alone turns it into a status and a body,
/// so no stage can invent a status or leak an internal message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: the request target has no single meaning.
    BadPath(PathError),
    /// 400: the head breaks HTTP in a way that a proxy must not pass on.
    BadRequest(&'static str),
    /// 400: there are several values of something by whose value the route decides.
    SeveralValues {
        /// Of what, in the configuration's words.
        of: Arc<str>,
    },
    /// 400: something by whose value the route decides is there in another spelling only: a backend
    /// may take it for the same.
    OtherSpelling {
        /// What, in the configuration's words.
        of: Arc<str>,
    },
    /// 400: what a rule counts by is no text, or not one that can be read: as an absent value it would
    /// share the count of all who send none.
    UnreadableValue {
        /// Of what, in the configuration's words.
        of: Arc<str>,
    },
    /// 400: the address that the route makes of the request needs a value that the request lacks.
    ValueMissing {
        /// Where it would stand.
        source: Arc<str>,
    },
    /// 404: no route has this host and path.
    NoRoute,
    /// 405: the path has routes, but none with this method.
    MethodNotAllowed {
        /// Methods that some route at this path takes, for the Allow field.
        allow: Vec<Method>,
    },
    /// 414: the request target is longer than the listener allows.
    UriTooLong,
    /// 431: more header fields, or larger ones, than the listener allows.
    HeadersTooLarge,
    /// 408: the head did not come whole in time.
    HeadTimeout,
    /// 401 with a challenge (RFC 6750 section 3); 400 where the credential is malformed.
    Unauthenticated(Challenge),
    /// 503: the identity provider gave no keys yet, so nobody can be recognised.
    IdentityUnavailable,
    /// 403: the credential lacks one of these scopes (RFC 6750 `insufficient_scope`).
    MissingScope {
        /// Scopes that the route asks for, parted by spaces.
        required: Arc<str>,
        /// Whether any one of them would do.
        one_is_enough: bool,
    },
    /// 403: a claim, network or condition of the route does not hold.
    Forbidden {
        /// What did not hold, in the configuration's words; logged, not sent.
        rule: Arc<str>,
    },
    /// 429: a per-second rate is used up.
    RateLimited(LimitState),
    /// 503: as many requests as allowed are in progress.
    TooManyInProgress {
        /// Name of the limit.
        limit: Arc<str>,
    },
    /// 413: the body is larger than the route allows.
    BodyTooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// 415: the body is not of a type that the route takes.
    UnsupportedMediaType,
    /// 400: the body is not valid JSON, or nested too deeply.
    MalformedBody(&'static str),
    /// 408: the body came too slowly.
    BodyTimeout,
    /// 400: the route needs an account and the request names none.
    AccountMissing {
        /// Where the route looks for it.
        source: Arc<str>,
    },
    /// 400: what stands there can't be an account.
    AccountInvalid(super::AccountError),
    /// 403: the path names another account than the credential.
    AccountMismatch,
    /// 429: the account's quota is used up.
    QuotaExceeded(QuotaRefusal),
    /// 503: the ledger can't be asked, and the rule says `unavailable: deny`.
    QuotaUnavailable {
        /// Name of the rule.
        rule: Arc<str>,
    },
    /// 421: another gateway passed the request on, and this one does not own its account.
    NotOwner {
        /// Journal partition of the account.
        partition: u32,
    },
    /// 503: the gateway that owns the account can't be reached, and no other has taken its place.
    OwnerUnreachable,
    /// 503: no endpoint of the cluster is up.
    NoEndpoint {
        /// Name of the cluster.
        cluster: Arc<str>,
    },
    /// 502: the backend refused, broke off or answered something that isn't HTTP.
    UpstreamFailed {
        /// Name of the cluster.
        cluster: Arc<str>,
    },
    /// The backend's own error, whose body can't be shown: it is told with the same status.
    BackendError {
        /// What the backend answered, from 400.
        status: StatusCode,
    },
    /// 504: the backend did not answer in time.
    UpstreamTimeout {
        /// Name of the cluster.
        cluster: Arc<str>,
    },
    /// 502 or 504: a required part of a composite route failed.
    PartFailed {
        /// Name of the part.
        part: Arc<str>,
        /// Whether its deadline passed.
        timed_out: bool,
    },
    /// 504: the caller wants a kept answer or none (`only-if-cached`), and none is kept.
    NotCached,
    /// 504: the route's own deadline passed.
    DeadlineExceeded,
    /// 500: a fault of the gateway's own; the log has more under the request's id.
    Internal,
}

/// What is wrong with a credential (RFC 6750 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// None was sent: the challenge carries no error code.
    Missing,
    /// More than one, or one that isn't well-formed: `invalid_request`.
    Malformed(&'static str),
    /// Expired, forged or meant for someone else: `invalid_token`.
    Invalid(&'static str),
}

/// A quota that is used up: everything the answer says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRefusal {
    /// The rule, its limit and in how long more will be available.
    pub state: LimitState,
    /// When that is.
    pub resets: UnixMillis,
    /// Uses counted in the window.
    pub used: u64,
    /// Journal partition of the account.
    pub partition: u32,
    /// Offset of the journal at which the fold reached the limit (invariant I2).
    pub offset: u64,
}

impl Refusal {
    /// When to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(state) => Some(state.reset),
            Self::QuotaExceeded(refusal) => Some(refusal.state.reset),
            Self::TooManyInProgress { .. }
            | Self::IdentityUnavailable
            | Self::QuotaUnavailable { .. }
            | Self::OwnerUnreachable
            | Self::NoEndpoint { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}
