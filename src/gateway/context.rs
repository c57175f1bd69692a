use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::edited::EditedBody;
use super::forward::Forward;
use super::snapshot::{RoutePlan, Snapshot, Target};
use super::standing;
use crate::account::{AccountKey, Passport};
use crate::compose::ComposeOutcome;
use crate::guard::BodyBudget;
use crate::limit::Permit;
use crate::observe::{InProgress, Source, Stopwatch};
use crate::quota::{Charge, End, Reservation};
use crate::request::{
    AccountId, Caller, Captures, Facts, LimitState, Refusal, RequestHead, RouteId, UnixMillis,
};
use crate::transform::TraceContext;
use crate::upstream::{LiveCluster, Picked, Tried};

/// By which port a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// One that clients use.
    Client,
    /// The fleet's own: another gateway passed it on to the owner of its account.
    Fleet,
}

/// All that the gateway knows of one request, from its head to its line in the access log.
///
/// Fields fill in the order of the stages. Dropping it settles what is open: permits are given
/// back, and a reservation that nobody settled stays counted.
pub struct Context {
    _in_progress: InProgress,
    pub(super) started: Instant,
    pub(super) started_at: UnixMillis,
    /// The configuration in force when the request began; it keeps it to its end.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) arrival: Arrival,
    /// Another gateway asked for something; no client is behind it.
    pub(super) is_errand: bool,
    /// The kept answers are another process's.
    pub(super) cache_is_elsewhere: bool,
    /// What the gateway that passed it on says of it.
    pub(super) passport: Option<Passport>,
    /// The other end of the connection on which the client sent it.
    pub(super) peer: IpAddr,
    pub(super) head: RequestHead,
    /// `None` until the head was read.
    pub(super) trace: Option<TraceContext>,
    pub(super) interaction_id: HeaderValue,
    pub(super) plan: Option<Arc<RoutePlan>>,
    pub(super) captures: Captures,
    pub(super) caller: Option<Arc<Caller>>,
    /// The accounts that the request is about, in the order in which they were named.
    pub(super) accounts: Vec<AccountId>,
    /// What stands for each account in keys.
    pub(super) account_keys: Vec<AccountKey>,
    pub(super) body: RequestBody,
    /// The gateway that owns the account, if that is not this one.
    pub(super) forward: Option<Forward>,
    pub(super) permits: Vec<Permit>,
    pub(super) reservation: Option<Reservation>,
    /// A use was admitted that the journal could not confirm.
    unaccounted: bool,
    /// Of rules that count no hits, until it is known that this request is none.
    pub(super) backend_charges: Vec<Charge>,
    pub(super) limits: Vec<LimitState>,
    pub(super) refusal: Option<Refusal>,
    pub(super) source: Source,
    pub(super) upstream: UpstreamCall,
    pub(super) composed: ComposeOutcome,
    /// What becomes of the backend's body; `None`: it passes.
    pub(super) response_body: Option<EditedBody>,
    pub(super) stages: Stopwatch,
}

/// The request's body, as far as the gateway looks into it.
#[derive(Default)]
pub(super) struct RequestBody {
    /// Counts what streams through.
    pub budget: Option<BodyBudget>,
    /// When it must have come whole, as its port says.
    pub deadline: Option<Instant>,
    /// All of it has come.
    pub whole: bool,
    /// Read and parsed before the backend was called.
    pub json: Option<Arc<Value>>,
    /// What goes to the backend instead of what was read; sent once for each try.
    pub replacement: Option<Bytes>,
}

impl RequestBody {
    /// Whether more of it comes after its time.
    pub fn is_late(&self) -> bool {
        !self.whole && self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The call to a backend, over all its tries.
#[derive(Default)]
pub(super) struct UpstreamCall {
    pub tried: Tried,
    pub picked: Option<Picked>,
    pub endpoint: Option<Arc<str>>,
    pub tries: u32,
    /// Pooled connections found closed.
    pub stale: u32,
    pub started: Option<Instant>,
    pub status: Option<u16>,
    /// Fields of the 304 by which the backend confirmed a kept answer.
    pub confirmation: Option<HeaderMap>,
    /// The answer broke off or could not be used.
    pub failed: bool,
    /// What went wrong last, for operators.
    pub trouble: Option<String>,
}

/// Route of requests that matched none; only templates that no route uses could read it.
fn no_route() -> &'static RouteId {
    static NONE: std::sync::OnceLock<RouteId> = std::sync::OnceLock::new();
    NONE.get_or_init(|| RouteId::new("none"))
}

impl Context {
    pub(super) fn new(
        arrival: Arrival,
        snapshot: Arc<Snapshot>,
        now: UnixMillis,
        in_progress: InProgress,
    ) -> Self {
        Self {
            _in_progress: in_progress,
            started: Instant::now(),
            started_at: now,
            snapshot,
            arrival,
            is_errand: false,
            cache_is_elsewhere: false,
            passport: None,
            peer: IpAddr::from([0, 0, 0, 0]),
            head: RequestHead::default(),
            trace: None,
            interaction_id: HeaderValue::from_static(""),
            plan: None,
            captures: Captures::default(),
            caller: None,
            accounts: Vec::new(),
            account_keys: Vec::new(),
            body: RequestBody::default(),
            forward: None,
            permits: Vec::new(),
            reservation: None,
            unaccounted: false,
            backend_charges: Vec::new(),
            limits: Vec::new(),
            refusal: None,
            source: Source::Gateway,
            upstream: UpstreamCall::default(),
            composed: ComposeOutcome::default(),
            response_body: None,
            stages: Stopwatch::default(),
        }
    }

    /// What stages, templates and conditions may read.
    pub(super) fn facts<'a>(&'a self, headers: &'a HeaderMap) -> Facts<'a> {
        Facts {
            head: &self.head,
            headers,
            route: match &self.plan {
                Some(plan) => &plan.route.id,
                None => no_route(),
            },
            captures: &self.captures,
            caller: self.caller.as_deref(),
            account: self.accounts.first(),
            body: self.body.json.as_deref(),
        }
    }

    /// Commits or gives back what was reserved, and notes where that leaves the caller. Only the
    /// first call does anything.
    pub(super) fn settle(&mut self, end: End) {
        if self.reservation.is_none() {
            return;
        }
        if let Cow::Owned(after) = standing::after(end, self) {
            self.limits = after;
        }
        if let Some(reservation) = self.reservation.take() {
            self.unaccounted |= reservation.unaccounted();
            reservation.end(end);
        }
    }

    /// Whether a use was admitted that the journal could not confirm.
    pub(super) fn is_unaccounted(&self) -> bool {
        self.unaccounted || self.reservation.as_ref().is_some_and(Reservation::unaccounted)
    }

    /// Time left until the first deadline that holds; `None` without one.
    pub(super) fn time_left(&self) -> Option<Duration> {
        [self.route_time_left(), self.call_time_left()].into_iter().flatten().min()
    }

    /// Whether a deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }

    /// The refusal for the deadline that has passed, if one has.
    pub(super) fn lateness(&self) -> Option<Refusal> {
        if self.route_time_left().is_some_and(|left| left.is_zero()) {
            return Some(Refusal::DeadlineExceeded);
        }
        let cluster = self.called_cluster()?.model().name.clone();
        self.is_late().then_some(Refusal::UpstreamTimeout { cluster })
    }

    /// The route's deadline counts from where the request arrived first.
    fn route_time_left(&self) -> Option<Duration> {
        let own = self.plan.as_ref().and_then(|plan| plan.route.deadline);
        let passed_on = self.passport.as_ref().and_then(|passport| passport.left);
        let deadline = [own, passed_on].into_iter().flatten().min()?;
        Some(deadline.saturating_sub(self.started.elapsed()))
    }

    /// Time left of the cluster's deadline for a whole call, once it has begun. A connection that
    /// has switched protocols has outgrown it.
    fn call_time_left(&self) -> Option<Duration> {
        if self.upstream.status == Some(101) {
            return None;
        }
        let begun = self.upstream.started?;
        Some(self.called_cluster()?.model().deadlines.total.saturating_sub(begun.elapsed()))
    }

    fn called_cluster(&self) -> Option<&LiveCluster> {
        if self.forward.is_some() {
            return None;
        }
        match &self.plan.as_ref()?.target {
            Target::Cluster(cluster) => Some(cluster),
            Target::Composer(_) | Target::Gateway => None,
        }
    }
}
