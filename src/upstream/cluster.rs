use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use pingora::connectors::TransportConnector;
use pingora::connectors::http::Connector;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::balance::{EndpointList, Progress, Shares};
use super::clusters::Shared;
use super::discovery::Discovery;
use super::ejection::most_out;
use super::endpoint::Endpoint;
use super::health::Status;
use super::peer::{Transport, TransportError};
use super::picked::{Outcome, Picked, Tried};
use super::retry::RetryBudget;
use crate::config::model::{Balance, Cluster, Ejection};
use crate::observe::Event;
use crate::request::{Facts, Refusal, UnixMillis};

/// A cluster in use: its endpoints at the moment and what is known of them.
pub struct LiveCluster {
    model: Arc<Cluster>,
    shared: Shared,
    connectors: Connectors,
    transport: Transport,
    pub(super) discovery: Discovery,
    shares: Shares,
    list: ArcSwap<EndpointList>,
    progress: Arc<Progress>,
    budget: Arc<RetryBudget>,
    /// Held while an endpoint is taken out, so that two at once can't pass the limit together.
    ejecting: Mutex<()>,
    /// Held while the list is made anew.
    renewing: Mutex<()>,
    pub(super) watching: Watching,
}

/// What connects to backends; outlives every configuration, so that connections do too.
#[derive(Clone)]
pub(super) struct Connectors {
    /// For calls, with its pool.
    pub http: Arc<Connector>,
    /// For health checks of bare connections.
    pub transport: Arc<TransportConnector>,
}

/// A cluster's background tasks.
#[derive(Default)]
pub(super) struct Watching {
    pub begun: AtomicBool,
    pub tasks: Mutex<Vec<AbortHandle>>,
    /// New endpoints want to be checked.
    pub unchecked: Arc<Notify>,
    /// The same cluster in the configuration before, whose tasks end when these begin.
    pub before: Weak<LiveCluster>,
}

impl LiveCluster {
    /// Builds a cluster around what `before` knows: endpoints that stay keep their health,
    /// requests in progress and time out.
    pub(super) fn new(
        model: &Arc<Cluster>,
        before: Option<&Arc<Self>>,
        shared: Shared,
        connectors: Connectors,
    ) -> Result<Self, TransportError> {
        let transport = Transport::new(model)?;
        let shares = Shares::new(&model.endpoints);
        let known = before.map(|before| &before.discovery);
        let cluster = Self {
            discovery: Discovery::new(&model.endpoints, known),
            list: ArcSwap::from_pointee(EndpointList::new(Vec::new(), &model.balance, &shares)),
            progress: before.map(|before| Arc::clone(&before.progress)).unwrap_or_default(),
            budget: before.map(|before| Arc::clone(&before.budget)).unwrap_or_default(),
            ejecting: Mutex::default(),
            renewing: Mutex::default(),
            watching: Watching {
                before: before.map(Arc::downgrade).unwrap_or_default(),
                ..Watching::default()
            },
            model: Arc::clone(model),
            shared,
            connectors,
            transport,
            shares,
        };
        cluster.renew(before.map(|before| before.list.load_full()).as_deref());
        if before.is_some_and(|before| before.model.health != model.health) {
            cluster.list().endpoints().iter().for_each(|it| it.state.health.ask_anew());
        }
        Ok(cluster)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.model.name
    }

    /// Its configuration.
    pub fn model(&self) -> &Arc<Cluster> {
        &self.model
    }

    /// The value that consistent hashing needs of a request; `None` for other balances or where
    /// the request has no such value.
    pub fn hash_value<'a>(&self, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
        match &self.model.balance {
            Balance::ConsistentHash(source) => source.resolve(facts),
            Balance::RoundRobin | Balance::LeastRequests => None,
        }
    }

    /// Picks the endpoint for a request, or refuses at once if none is up. An endpoint that was
    /// tried is picked again only if no other is left. Never waits.
    pub fn pick(self: &Arc<Self>, tried: &Tried, hash: Option<&str>) -> Result<Picked, Refusal> {
        let now = self.now();
        if tried.is_empty() && self.model.retries.is_some() {
            self.budget.request(now);
        }
        let list = self.list.load();
        let usable = |endpoint: &Endpoint| self.is_usable(endpoint, now);
        let untried = |endpoint: &Endpoint| !tried.has(endpoint) && usable(endpoint);
        let picked = list.select(&self.progress, hash, &untried).or_else(|| {
            let again = !tried.is_empty();
            again.then(|| list.select(&self.progress, hash, &usable)).flatten()
        });
        match picked {
            Some(endpoint) => Ok(Picked::new(Arc::clone(self), Arc::clone(endpoint))),
            None => Err(Refusal::NoEndpoint { cluster: Arc::clone(&self.model.name) }),
        }
    }

    pub(super) fn is_usable(&self, endpoint: &Endpoint, now: UnixMillis) -> bool {
        // Without checks, what an earlier configuration's checks found would stand for ever.
        let up = self.model.health.is_none() || endpoint.state.health.status() != Status::Unhealthy;
        up && self.out_until(endpoint, now).is_none()
    }

    /// Until when an endpoint is out for failures that requests saw.
    pub(super) fn out_until(&self, endpoint: &Endpoint, now: UnixMillis) -> Option<UnixMillis> {
        endpoint.state.ejection.out_until(now, self.model.ejection.as_ref()?)
    }

    /// Takes in how a try ended.
    pub(super) fn take_in(&self, endpoint: &Endpoint, outcome: Outcome, why: String) {
        if !outcome.is_failure() {
            endpoint.state.ejection.succeeded();
            return;
        }
        let now = self.now();
        endpoint.state.note_error(now, why);
        let Some(policy) = &self.model.ejection else { return };
        // Requests that were on their way when it was taken out prove nothing new.
        if self.out_until(endpoint, now).is_none() && endpoint.state.ejection.failed(policy) {
            self.eject(endpoint, policy, now);
        }
    }

    fn eject(&self, endpoint: &Endpoint, policy: &Ejection, now: UnixMillis) {
        let _alone = lock(&self.ejecting);
        if self.out_until(endpoint, now).is_some() {
            return;
        }
        let list = self.list();
        let all = list.endpoints();
        let out = all.iter().filter(|it| self.out_until(it, now).is_some()).count();
        let other = |it: &&Arc<Endpoint>| !std::ptr::eq(&***it, endpoint);
        let is_last = !all.iter().filter(other).any(|it| self.is_usable(it, now));
        // The last one that is up stays: a backend that fails often is better than none. Who
        // prefers none says 100 percent.
        if out >= most_out(all.len(), policy) || (is_last && policy.max_percent < 100) {
            return;
        }
        let period = endpoint.state.ejection.eject(now, policy);
        let (cluster, address) = (self.name(), &*endpoint.label);
        tracing::warn!(
            cluster,
            endpoint = address,
            failures = policy.consecutive_failures,
            seconds = period.as_secs_f64(),
            "endpoint taken out after failures in a row"
        );
        self.record(Event::Ejected { cluster, endpoint: address });
    }

    /// Makes the endpoint list anew from what discovery knows. `known` is the list to take the
    /// endpoints' state from.
    fn renew(&self, known: Option<&EndpointList>) {
        let _alone = lock(&self.renewing);
        let current = self.list();
        let known = known.unwrap_or(&current).endpoints();
        let endpoints = self.discovery.found().into_iter().map(|found| {
            let same = known.iter().find(|endpoint| endpoint.is(&found));
            let state = same.map(|endpoint| Arc::clone(&endpoint.state)).unwrap_or_default();
            Arc::new(Endpoint::new(&found, &self.transport, state))
        });
        let list = EndpointList::new(endpoints.collect(), &self.model.balance, &self.shares);
        self.list.store(Arc::new(list));
    }

    /// Takes new addresses in.
    pub(super) fn addresses_changed(&self) {
        self.renew(None);
        self.watching.unchecked.notify_one();
    }

    pub(super) fn list(&self) -> Arc<EndpointList> {
        self.list.load_full()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn connector(&self) -> &Arc<Connector> {
        &self.connectors.http
    }

    pub(super) fn transport_connector(&self) -> &TransportConnector {
        &self.connectors.transport
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.shared.clock.now()
    }

    pub(super) fn record(&self, event: Event<'_>) {
        self.shared.metrics.record(event);
    }
}

/// A lock whose holder panicked guards nothing that could be half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for LiveCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveCluster").field("name", &self.model.name).finish_non_exhaustive()
    }
}
