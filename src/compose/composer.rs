use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue,
};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{self, ComposedAnswer};
use super::fetch::Request;
use super::graph::{self, Finished, Ran, Settled};
use super::merge::Merge;
use super::report::{ComposeReport, Fault, PartFailure, PartReport, PartState};
use crate::config::model::{Compose, HeaderEdits, Part};
use crate::observe::Metrics;
use crate::request::{AccountId, Caller, Captures, Facts, RequestHead, RouteId};
use crate::transform::{INTERACTION_ID, REQUEST_ID, TRACEPARENT, TRACESTATE};
use crate::upstream::{Clusters, LiveCluster};

/// Fields of the request that every backend gets. `Authorization` and cookies are not among them:
/// a backend gets a caller's credential only where the route's edits say so.
const FORWARDED: [HeaderName; 5] =
    [REQUEST_ID, TRACEPARENT, TRACESTATE, INTERACTION_ID, ACCEPT_LANGUAGE];

/// Answers one composite route: asks its parts' backends and merges what they say.
pub struct Composer {
    pub(super) route: RouteId,
    pub(super) plan: Arc<Compose>,
    pub(super) metrics: Arc<Metrics>,
    clusters: Vec<Arc<LiveCluster>>,
    needs: Vec<Vec<usize>>,
    read: Vec<bool>,
    forwarded: Vec<HeaderName>,
}

/// What a composition takes from the request that it answers.
#[derive(Clone, Debug)]
pub struct ComposeInputs {
    /// First lines.
    pub head: RequestHead,
    /// The client's fields as they came, for values like `{header.x-id}`.
    pub headers: HeaderMap,
    /// Named parts of the path.
    pub captures: Captures,
    /// Who is calling.
    pub caller: Option<Arc<Caller>>,
    /// Which account.
    pub account: Option<AccountId>,
    /// The JSON body, where the route reads it.
    pub body: Option<Arc<Value>>,
    /// When the answer must be there. Parts that are not there by then have timed out, so that
    /// an answer without an optional one still comes in time.
    pub deadline: Option<Instant>,
}

/// A composite route names a cluster that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {route}: there is no cluster '{cluster}'")]
pub struct UnknownCluster {
    /// The route.
    pub route: RouteId,
    /// The cluster's name.
    pub cluster: Arc<str>,
}

impl Composer {
    /// A composer for a route's plan. `edits` are the route's edits of request headers: the fields
    /// that they set, add or rename to go to the backends, besides those that always do.
    ///
    /// # Errors
    /// A part's cluster is not among the `clusters`.
    pub fn new(
        route: RouteId,
        plan: Arc<Compose>,
        edits: &HeaderEdits,
        clusters: &Clusters,
        metrics: Arc<Metrics>,
    ) -> Result<Self, UnknownCluster> {
        let clusters = plan
            .parts
            .iter()
            .map(|part| {
                clusters.get(&part.cluster.name).ok_or_else(|| UnknownCluster {
                    route: route.clone(),
                    cluster: Arc::clone(&part.cluster.name),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            needs: graph::needs(&plan.parts),
            read: graph::read_by_others(&plan.parts),
            forwarded: forwarded(edits),
            route,
            plan,
            metrics,
            clusters,
        })
    }

    /// Composes the answer. `fields` are the request's fields on their way to a backend: after
    /// the route's edits, with the gateway's own identifiers.
    ///
    /// Dropping the future breaks all backend calls off.
    pub async fn compose(
        &self,
        inputs: &ComposeInputs,
        fields: &HeaderMap,
    ) -> (ComposedAnswer, ComposeReport) {
        let start = Instant::now();
        let request = Request {
            facts: inputs.facts(&self.route),
            headers: self.outgoing(fields),
            deadline: inputs.deadline,
        };
        let mut ran = graph::run(self, &request).await;
        let merged = self.merge(&mut ran);
        let mut report = self.report(ran);
        report.elapsed = start.elapsed();
        let answer = match (merged, &report.failure) {
            (Some(value), None) => {
                answer::composed(value, &report, &self.plan.partial_member, fields, &inputs.head)
            }
            (_, failure) => answer::failed(failure.as_ref()),
        };
        (answer, report)
    }

    /// Puts the parts' values together in the configuration's order; `None` if the request has
    /// failed, or fails here.
    fn merge(&self, ran: &mut Ran) -> Option<Value> {
        if ran.failure.is_none() {
            ran.failure = self.nothing_answered(ran);
        }
        if ran.failure.is_some() {
            return None;
        }
        let mut merge = Merge::new(&self.plan.conflict);
        for (part, finished) in self.plan.parts.iter().zip(&mut ran.finished) {
            let Some(finished) = finished else { continue };
            if matches!(finished.settled, Settled::Missing(_)) {
                continue;
            }
            let mut value = finished.value.take();
            if part.into.is_empty() {
                self.keep_own_name(&mut value);
            }
            if merge.place(&part.into, value).is_err() {
                let part = Arc::clone(&part.name);
                ran.failure = Some(PartFailure { part, fault: Fault::Conflict });
                return None;
            }
        }
        Some(merge.finish())
    }

    /// A backend's own member of the name under which missing parts are told would pass for the
    /// gateway's word, in a whole answer too.
    fn keep_own_name(&self, value: &mut Value) {
        if let Value::Object(members) = value {
            members.shift_remove(&*self.plan.partial_member);
        }
    }

    /// An answer of which every part is missing is none: the first part's failure is the
    /// request's.
    fn nothing_answered(&self, ran: &Ran) -> Option<PartFailure> {
        let mut first = None;
        for (part, finished) in self.plan.parts.iter().zip(&ran.finished) {
            match finished.as_ref().map(|finished| &finished.settled) {
                Some(Settled::Answered | Settled::Empty | Settled::Defaulted(_)) => return None,
                Some(Settled::Missing(fault)) => {
                    first.get_or_insert_with(|| PartFailure {
                        part: Arc::clone(&part.name),
                        fault: fault.clone(),
                    });
                }
                None => {}
            }
        }
        first
    }

    fn report(&self, ran: Ran) -> ComposeReport {
        let parts = self.plan.parts.iter().zip(ran.finished);
        ComposeReport {
            parts: parts.map(|(part, finished)| part_report(part, finished)).collect(),
            failure: ran.failure,
            elapsed: Duration::ZERO,
        }
    }

    fn outgoing(&self, fields: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for name in FORWARDED.iter().chain(&self.forwarded) {
            headers.remove(name);
            for value in fields.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        // Bodies are read here, so that compressing them would only cost time on both sides.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers
    }

    pub(super) fn part(&self, index: usize) -> Option<(&Part, &Arc<LiveCluster>)> {
        self.plan.parts.get(index).zip(self.clusters.get(index))
    }

    pub(super) fn needs_of(&self, index: usize) -> &[usize] {
        self.needs.get(index).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn is_read(&self, index: usize) -> bool {
        self.read.get(index).copied().unwrap_or_default()
    }
}

impl ComposeInputs {
    /// The same as facts.
    pub fn facts<'a>(&'a self, route: &'a RouteId) -> Facts<'a> {
        Facts {
            head: &self.head,
            headers: &self.headers,
            route,
            captures: &self.captures,
            caller: self.caller.as_deref(),
            account: self.account.as_ref(),
            body: self.body.as_deref(),
        }
    }
}

fn forwarded(edits: &HeaderEdits) -> Vec<HeaderName> {
    const NEVER: [HeaderName; 4] = [HOST, CONTENT_LENGTH, CONTENT_TYPE, ACCEPT_ENCODING];
    let written = edits.set.iter().chain(&edits.add).map(|(name, _)| name);
    let mut names: Vec<HeaderName> = written
        .chain(edits.rename.iter().map(|(_, name)| name))
        .filter(|name| !NEVER.contains(name) && !FORWARDED.contains(name))
        .cloned()
        .collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

fn part_report(part: &Part, finished: Option<Finished>) -> PartReport {
    let name = Arc::clone(&part.name);
    let Some(Finished { settled, elapsed, calls, .. }) = finished else {
        let elapsed = Duration::ZERO;
        return PartReport { name, state: PartState::Abandoned, elapsed, calls: 0 };
    };
    let state = match settled {
        Settled::Answered => PartState::Answered,
        Settled::Empty => PartState::Empty,
        Settled::Missing(fault) => PartState::Missing(fault),
        Settled::Defaulted(fault) => PartState::Defaulted(fault),
    };
    PartReport { name, state, elapsed, calls }
}

impl fmt::Debug for Composer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composer").field("route", &self.route).finish_non_exhaustive()
    }
}
