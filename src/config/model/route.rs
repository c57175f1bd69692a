use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::{
    Cluster, Compose, Concurrency, Provider, QuotaRule, Rate, RequestEdits, ResponseEdits,
};
use crate::request::{Condition, RouteId, Template, ValueSource};

/// What a request matches, with every policy that applies to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name.
    pub id: RouteId,
    /// Which requests are its.
    pub matches: RouteMatch,
    /// Identity providers whose tokens it accepts; empty is a public route.
    pub authenticate: Vec<Arc<Provider>>,
    /// Who of them may use it.
    pub access: Access,
    /// Rates, checked in this order.
    pub rates: Vec<Arc<Rate>>,
    /// Bounds on requests in progress.
    pub concurrency: Vec<Arc<Concurrency>>,
    /// Largest request body, in bytes.
    pub max_body: u64,
    /// Where the account stands; `None` has no account, no quotas, no account cache.
    pub account: Option<AccountSource>,
    /// Quota rules, charged all or none.
    pub quotas: Vec<Arc<QuotaRule>>,
    /// Whether and how answers are kept.
    pub cache: Option<CachePolicy>,
    /// What answers.
    pub action: Action,
    /// Edits on the way to the backend.
    pub request: RequestEdits,
    /// Edits on the way back.
    pub response: ResponseEdits,
    /// Form of the problems it answers.
    pub dialect: Dialect,
    /// Time for the whole request; `None` leaves it to the cluster.
    pub deadline: Option<Duration>,
}

impl Route {
    /// Whether kept answers are told apart by a query parameter, so that the backend may go by it:
    /// the policy chooses it, or it names the account, or all requests of the route have one value.
    pub fn key_has_parameter(&self, name: &str) -> bool {
        let chosen = self.cache.as_ref().and_then(|policy| policy.query.as_ref());
        let fixed = |(one, wanted): &(Arc<str>, TextMatch)| {
            **one == *name && matches!(wanted, TextMatch::Exact(_))
        };
        chosen.is_none_or(|chosen| chosen.iter().any(|one| **one == *name))
            || self
                .names_account(|source| matches!(source, ValueSource::Query(one) if **one == *name))
            || self.matches.query.iter().any(fixed)
    }

    /// The same of a header field.
    pub fn key_has_field(&self, name: &HeaderName) -> bool {
        let chosen = self.cache.as_ref().is_some_and(|policy| policy.headers.contains(name));
        let fixed = |(one, wanted): &(HeaderName, TextMatch)| {
            one == name && matches!(wanted, TextMatch::Exact(_))
        };
        chosen
            || self
                .names_account(|source| matches!(source, ValueSource::Header(one) if one == name))
            || self.matches.headers.iter().any(fixed)
    }

    /// Whether the account stands in such a place; what must agree with it names the same.
    fn names_account(&self, place: impl Fn(&ValueSource) -> bool) -> bool {
        self.account.as_ref().is_some_and(|account| {
            place(&account.from) || account.agrees_with.as_ref().is_some_and(&place)
        })
    }
}

/// Which requests a route takes. All that is stated must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// Any of these; empty takes every host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Any of these; empty takes every method.
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<(HeaderName, TextMatch)>,
    /// All of these.
    pub query: Vec<(Arc<str>, TextMatch)>,
}

/// A host, exact or with a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host, lower case.
    Exact(Arc<str>),
    /// `*.bank.example`: at least one label before this suffix, which starts with a dot.
    Wildcard(Arc<str>),
}

/// A path pattern: segments, and what may follow them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// As written.
    pub source: Arc<str>,
    /// Leading segments, decoded.
    pub segments: Vec<PathSegment>,
    /// What may follow.
    pub tail: PathTail,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// This text.
    Literal(Arc<str>),
    /// `{name}`: any one segment that isn't empty.
    Capture(Arc<str>),
}

/// What may follow the segments of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathTail {
    /// Nothing: an exact path. `/a` and `/a/` differ; the flag says which is meant.
    End {
        /// The pattern ends in `/`.
        slash: bool,
    },
    /// `/a/*`: the segments themselves or anything below them.
    Prefix,
    /// `/a/{*rest}`: at least one segment more, captured.
    Rest(Arc<str>),
}

impl PathPattern {
    /// Names captured, in order.
    pub fn captured(&self) -> Vec<&str> {
        let named = self.segments.iter().filter_map(|segment| match segment {
            PathSegment::Capture(name) => Some(&**name),
            PathSegment::Literal(_) => None,
        });
        let rest = match &self.tail {
            PathTail::Rest(name) => Some(&**name),
            PathTail::End { .. } | PathTail::Prefix => None,
        };
        named.chain(rest).collect()
    }
}

/// How a header or query parameter must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextMatch {
    /// There, with any value.
    Present,
    /// Not there.
    Absent,
    /// Exactly this.
    Exact(Arc<str>),
}

/// Who of the recognised callers may use a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access {
    /// Every one of these scopes.
    pub scopes_all: Vec<Arc<str>>,
    /// At least one of these, unless empty.
    pub scopes_any: Vec<Arc<str>>,
    /// Every one of these claims.
    pub claims: Vec<(Arc<str>, ClaimCheck)>,
    /// Networks, unless empty.
    pub networks: Vec<ipnet::IpNet>,
    /// A condition; one that fails to give an answer refuses.
    pub condition: Option<Condition>,
}

/// How a claim must be.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimCheck {
    /// This value.
    Equals(serde_json::Value),
    /// An array that has this value, or a text with it as a word.
    Contains(serde_json::Value),
    /// One of these values.
    OneOf(Vec<serde_json::Value>),
}

/// Where the account stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSource {
    /// Where it is read from.
    pub from: ValueSource,
    /// A claim that must have the accounts, or another place in the request that must name the same
    /// and no other.
    pub agrees_with: Option<ValueSource>,
    /// What parts several accounts in one value; each is charged, all or none. `None`: there is one.
    pub separator: Option<char>,
}

/// Whether and how answers are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long an answer is fresh.
    pub fresh: Duration,
    /// Who shares it.
    pub visible_to: Visibility,
    /// Query parameters that make different answers; the others reach no backend. `None`: all of
    /// them.
    pub query: Option<Vec<Arc<str>>>,
    /// Request headers that make different answers.
    pub headers: Vec<HeaderName>,
    /// How long after `fresh` an answer may still be given when the backend fails (RFC 5861).
    pub stale_if_error: Duration,
    /// Whether an answer with parts missing is kept.
    pub keep_partial: bool,
    /// Whether the request's `Cache-Control: no-cache` and `no-store` are obeyed.
    pub obey_request: bool,
    /// Classes of data that the answers show: a change of another class leaves them. Empty: they
    /// may show anything.
    pub data_classes: Vec<Arc<str>>,
}

/// Who shares a cached answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// The client that caused it.
    Client,
    /// The client and subject that caused it.
    Subject,
    /// Every caller that passed authorization.
    Everyone,
}

/// What answers a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// One backend.
    Proxy {
        /// The service.
        cluster: Arc<Cluster>,
        /// Path and query sent instead of the request's.
        path: Option<Template>,
        /// Host sent instead of the request's.
        host: Option<Arc<str>>,
    },
    /// Many backends, one answer.
    Compose(Arc<Compose>),
    /// A redirect (RFC 9110 section 15.4).
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// The Location field.
        to: Template,
    },
    /// A fixed answer.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its headers.
        headers: HeaderMap,
        /// Its body.
        body: Arc<str>,
    },
}

/// Form of the problems that a route answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `application/problem+json` (RFC 9457).
    #[default]
    Problem,
    /// `code`, `message`, `debugMessage` (Financial Data Exchange API).
    Fdx,
    /// `tppMessages` (Berlin Group NextGenPSD2).
    BerlinGroup,
}
