use std::sync::Arc;

use serde::Serialize;

use super::cluster::LiveCluster;
use super::endpoint::Endpoint;
use super::health::Status;
use crate::config::model::Balance;
use crate::request::UnixMillis;

/// A cluster as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Its name.
    pub name: Arc<str>,
    /// How an endpoint is picked.
    pub balance: &'static str,
    /// Endpoints at the moment; none while its names are not resolved.
    pub endpoints: Vec<EndpointView>,
    /// Endpoints that requests may go to.
    pub usable: usize,
    /// Retries that the budget still allows; `None` if the cluster has none.
    pub retries_left: Option<u64>,
}

/// An endpoint as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// Its resolved address.
    pub address: Arc<str>,
    /// The configuration's host, where that is a name.
    pub host: Arc<str>,
    /// Share of requests.
    pub weight: u32,
    /// Whether requests may go to it.
    pub usable: bool,
    /// What active checks found.
    pub health: HealthView,
    /// Until when it is out for failures that requests saw: milliseconds since 1970.
    pub ejected_until: Option<u64>,
    /// Requests in progress.
    pub in_flight: usize,
    /// What went wrong last.
    pub last_error: Option<ErrorView>,
}

/// What active checks found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthView {
    /// The cluster has no checks.
    NotChecked,
    /// No check has ended yet.
    Unknown,
    /// It answers as it should.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorView {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What.
    pub text: String,
}

impl LiveCluster {
    /// What operators see of it.
    pub fn describe(&self) -> ClusterView {
        let now = self.now();
        let list = self.list();
        let retries = self.model().retries.as_ref();
        ClusterView {
            name: Arc::clone(&self.model().name),
            balance: match self.model().balance {
                Balance::RoundRobin => "round_robin",
                Balance::LeastRequests => "least_requests",
                Balance::ConsistentHash(_) => "consistent_hash",
            },
            usable: list.endpoints().iter().filter(|it| self.is_usable(it, now)).count(),
            endpoints: list.endpoints().iter().map(|it| self.describe_endpoint(it, now)).collect(),
            retries_left: retries.map(|retries| self.budget().left(now, retries.budget_percent)),
        }
    }

    fn describe_endpoint(&self, endpoint: &Endpoint, now: UnixMillis) -> EndpointView {
        let error = endpoint.state.last_error();
        let health = match (&self.model().health, endpoint.state.health.status()) {
            (None, _) => HealthView::NotChecked,
            (Some(_), Status::Unchecked) => HealthView::Unknown,
            (Some(_), Status::Healthy) => HealthView::Healthy,
            (Some(_), Status::Unhealthy) => HealthView::Unhealthy,
        };
        EndpointView {
            address: Arc::clone(&endpoint.label),
            host: Arc::clone(&endpoint.host),
            weight: endpoint.weight,
            usable: self.is_usable(endpoint, now),
            health,
            ejected_until: self.out_until(endpoint, now).map(|until| until.0),
            in_flight: endpoint.in_flight(),
            last_error: error.map(|it| ErrorView { at: it.at.0, text: it.text.clone() }),
        }
    }
}
