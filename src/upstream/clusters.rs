use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use pingora::connectors::http::Connector;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use tokio::time::timeout;

use super::cluster::{Connectors, LiveCluster};
use super::describe::ClusterView;
use super::discovery::Names;
use super::peer::TransportError;
use crate::config::model::Cluster;
use crate::observe::Metrics;
use crate::request::Clock;

/// Unused connections kept, of all clusters together.
const POOL_SIZE: usize = 1024;

/// What clusters share with the rest of the gateway.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Resolves backends' names.
    pub resolver: Arc<dyn Names>,
    /// Ejection and the retry budget go by it.
    pub clock: Arc<dyn Clock>,
    /// Where events are counted.
    pub metrics: Arc<Metrics>,
}

/// All clusters of one configuration.
pub struct Clusters {
    live: BTreeMap<Arc<str>, Arc<LiveCluster>>,
    connectors: Connectors,
}

/// Why a configuration's clusters can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster '{cluster}': {cause}")]
pub struct ClusterError {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// What is wrong.
    pub cause: TransportError,
}

impl Clusters {
    /// Builds the clusters of a configuration around what the ones before know: a cluster that
    /// did not change is the same one; of one that changed, endpoints that stay keep their
    /// health, requests in progress and time out, and connections are kept where TLS and protocol
    /// are the same.
    ///
    /// Does nothing yet: [`Clusters::start`] does, once the configuration is to be used.
    pub fn new(
        models: &BTreeMap<Arc<str>, Arc<Cluster>>,
        previous: Option<&Self>,
        shared: Shared,
    ) -> Result<Self, ClusterError> {
        let connectors = previous.map(|it| it.connectors.clone()).unwrap_or_else(Connectors::new);
        let mut live = BTreeMap::new();
        for (name, model) in models {
            let before = previous.and_then(|previous| previous.get(name));
            let cluster = match before {
                Some(same) if same.model() == model => same,
                before => {
                    LiveCluster::new(model, before.as_ref(), shared.clone(), connectors.clone())
                        .map(Arc::new)
                        .map_err(|cause| ClusterError { cluster: Arc::clone(name), cause })?
                }
            };
            live.insert(Arc::clone(name), cluster);
        }
        Ok(Self { live, connectors })
    }

    /// A cluster by name.
    pub fn get(&self, name: &str) -> Option<Arc<LiveCluster>> {
        self.live.get(name).cloned()
    }

    /// Resolves all names and checks all endpoints once, waits for that at most `within`, and
    /// goes on with both in the background for as long as anybody holds the cluster. Clusters
    /// taken over unchanged go on as they are.
    ///
    /// Background tasks run in the runtime that this is called from.
    pub async fn start(&self, within: Duration) {
        let new: Vec<&Arc<LiveCluster>> = self.live.values().filter(|it| it.begin()).collect();
        // What isn't done by then is done in the background.
        let _ = timeout(within, join_all(new.iter().map(|cluster| cluster.first_round()))).await;
        new.into_iter().for_each(LiveCluster::watch);
    }

    /// All clusters, for the operators' view.
    pub fn describe(&self) -> Vec<ClusterView> {
        self.live.values().map(|cluster| cluster.describe()).collect()
    }
}

impl Connectors {
    fn new() -> Self {
        Self {
            http: Arc::new(Connector::new(Some(ConnectorOptions::new(POOL_SIZE)))),
            transport: Arc::new(TransportConnector::new(Some(ConnectorOptions::new(1)))),
        }
    }
}

impl fmt::Debug for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.live.keys()).finish()
    }
}
