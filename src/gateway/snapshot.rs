use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::shared::Ground;
use crate::auth::Authenticator;
use crate::compose::Composer;
use crate::config::model::{Action, Config, Route};
use crate::guard::SingleValues;
use crate::request::{Clock, Refusal, UnixMillis, ValueSource};
use crate::route::RouteTable;
use crate::upstream::{Clusters, LiveCluster};

/// A configuration made ready to serve: immutable, swapped whole. Requests in progress keep the
/// one that they began with.
pub struct Snapshot {
    /// What it was made from.
    pub config: Arc<Config>,
    /// The clusters in use; what they know of endpoints outlives the snapshot.
    pub clusters: Clusters,
    pub(super) table: RouteTable,
    clock: Arc<dyn Clock>,
    pub(super) plans: Vec<Arc<RoutePlan>>,
}

/// A route with its stages made ready.
pub(super) struct RoutePlan {
    pub route: Arc<Route>,
    /// `None` on a public route.
    pub authenticator: Option<Arc<Authenticator>>,
    pub target: Target,
    /// The JSON body must be read before the backend is called.
    pub reads_body: bool,
    /// What a request must not say twice.
    pub single_values: SingleValues,
}

/// Where a route's answers come from.
pub(super) enum Target {
    Cluster(Arc<LiveCluster>),
    Composer(Arc<Composer>),
    Gateway,
}

/// A configuration that passed its check but can't be put to work.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A cluster could not be made ready.
    #[error(transparent)]
    Cluster(#[from] crate::upstream::ClusterError),
    /// An identity provider could not be made ready.
    #[error(transparent)]
    Identity(#[from] crate::net::NetError),
    /// A composite route names a cluster that is not there.
    #[error(transparent)]
    Compose(#[from] crate::compose::UnknownCluster),
    /// A route names a cluster that is not there.
    #[error("the cluster '{0}' is not defined")]
    UnknownCluster(Arc<str>),
}

impl Snapshot {
    /// Makes a configuration ready. Clusters that `previous` has too keep what they know.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn build(
        config: Arc<Config>,
        ground: &Ground,
        previous: Option<&Self>,
    ) -> Result<Self, SnapshotError> {
        let clusters = Clusters::new(
            &config.clusters,
            previous.map(|snapshot| &snapshot.clusters),
            ground.for_upstream(),
        )?;
        let mut authenticators = Authenticators::default();
        let plans = config
            .routes
            .iter()
            .map(|route| {
                let authenticator = authenticators.of(route, ground)?;
                RoutePlan::build(route, authenticator, ground, &clusters).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let table = RouteTable::new(&config.routes);
        Ok(Self { config, clusters, table, plans, clock: ground.clock.clone() })
    }

    /// The wall clock that requests of this snapshot go by.
    pub(super) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    pub(super) fn plan(&self, index: usize) -> Result<&Arc<RoutePlan>, Refusal> {
        self.plans.get(index).ok_or(Refusal::NoRoute)
    }
}

/// One authenticator for each list of providers: thousands of routes share a few.
#[derive(Default)]
struct Authenticators(HashMap<Vec<Arc<str>>, Arc<Authenticator>>);

impl Authenticators {
    fn of(
        &mut self,
        route: &Route,
        ground: &Ground,
    ) -> Result<Option<Arc<Authenticator>>, SnapshotError> {
        if route.authenticate.is_empty() {
            return Ok(None);
        }
        let providers = route.authenticate.iter().map(|provider| provider.name.clone()).collect();
        match self.0.entry(providers) {
            Entry::Occupied(known) => Ok(Some(known.get().clone())),
            Entry::Vacant(place) => {
                let tokens = ground.tokens.clone();
                let made = Authenticator::new(&route.authenticate, &ground.keyrings, tokens)?;
                Ok(Some(place.insert(Arc::new(made)).clone()))
            }
        }
    }
}

impl RoutePlan {
    fn build(
        route: &Arc<Route>,
        authenticator: Option<Arc<Authenticator>>,
        ground: &Ground,
        clusters: &Clusters,
    ) -> Result<Self, SnapshotError> {
        let find = |name: &Arc<str>| {
            clusters.get(name).ok_or_else(|| SnapshotError::UnknownCluster(name.clone()))
        };
        let target = match &route.action {
            Action::Proxy { cluster, .. } => Target::Cluster(find(&cluster.name)?),
            Action::Compose(plan) => Target::Composer(Arc::new(Composer::new(
                route.id.clone(),
                plan.clone(),
                &route.request.headers,
                clusters,
                ground.metrics.clone(),
            )?)),
            Action::Redirect { .. } | Action::Answer { .. } => Target::Gateway,
        };
        Ok(Self {
            route: route.clone(),
            authenticator,
            target,
            reads_body: reads_body(route),
            single_values: SingleValues::of(route),
        })
    }
}

/// Whether a value or an edit needs the JSON body.
pub(super) fn reads_body(route: &Route) -> bool {
    let is_body = |source: &ValueSource| matches!(source, ValueSource::Body(_));
    let account = route
        .account
        .iter()
        .any(|account| is_body(&account.from) || account.agrees_with.as_ref().is_some_and(is_body));
    let buckets = route.quotas.iter().flat_map(|rule| &rule.per);
    let rates = route.rates.iter().flat_map(|rate| &rate.per);
    let concurrency = route.concurrency.iter().flat_map(|limit| &limit.per);
    account
        || !route.request.body.is_empty()
        || buckets.chain(rates).chain(concurrency).any(is_body)
}
