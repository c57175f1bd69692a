//! Tests over real sockets on this machine.

mod backend;
mod balancing;
mod calling;
mod ejecting;
mod health;
mod http2;
mod names;
mod reload;
mod retrying;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};

use super::discovery::Names;
use super::{BackendRequest, CallLimits, Clusters, LiveCluster, Shared};
use crate::config::model::{
    BackendProtocol, Balance, Cluster, Deadlines, Ejection, Endpoint, Retries, RetryCause,
};
use crate::net::{NetError, Resolved};
use crate::observe::Metrics;
use crate::request::{Clock, ManualClock, SystemClock, UnixMillis};

/// Long against what a busy machine does in a test, short for one who waits for a failing test.
const AMPLE: Duration = Duration::from_secs(10);

const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Knows no name.
#[derive(Debug)]
struct NoNames;

#[async_trait]
impl Names for NoNames {
    async fn addresses(&self, host: &str) -> Result<Resolved, NetError> {
        Err(NetError::Unresolved { host: host.into(), why: "no such name".into() })
    }
}

fn shared_with(clock: Arc<dyn Clock>) -> Shared {
    Shared { resolver: Arc::new(NoNames), clock, metrics: Arc::new(Metrics::default()) }
}

fn shared() -> Shared {
    shared_with(Arc::new(SystemClock))
}

fn manual() -> (Arc<ManualClock>, Shared) {
    let clock = Arc::new(ManualClock::at(START));
    (Arc::clone(&clock), shared_with(clock))
}

fn endpoint(address: SocketAddr, weight: u32) -> Endpoint {
    Endpoint { host: address.ip().to_string().into(), port: address.port(), weight }
}

/// A cluster of these addresses, all of weight 1, that takes what it gets.
fn cluster(addresses: impl IntoIterator<Item = SocketAddr>) -> Cluster {
    Cluster {
        name: "accounts".into(),
        endpoints: addresses.into_iter().map(|address| endpoint(address, 1)).collect(),
        balance: Balance::RoundRobin,
        protocol: BackendProtocol::Http1,
        tls: None,
        health: None,
        ejection: None,
        deadlines: Deadlines { connect: AMPLE, first_byte: AMPLE, idle: AMPLE, total: 2 * AMPLE },
        retries: None,
    }
}

/// Addresses that nothing listens on and nothing is sent to.
fn addresses(count: u16) -> Vec<SocketAddr> {
    (1..=count).map(|n| SocketAddr::from(([127, 1, (n >> 8) as u8, n as u8], 1))).collect()
}

fn retries(attempts: u32, budget_percent: u8, on: &[RetryCause]) -> Option<Retries> {
    Some(Retries { attempts, budget_percent, on: on.to_vec() })
}

fn ejection(consecutive_failures: u32, max_percent: u8) -> Option<Ejection> {
    Some(Ejection { consecutive_failures, period: Duration::from_secs(30), max_percent })
}

fn clusters_of(models: &[&Cluster], previous: Option<&Clusters>, shared: Shared) -> Clusters {
    let models: BTreeMap<_, _> =
        models.iter().map(|it| (it.name.clone(), Arc::new((*it).clone()))).collect();
    Clusters::new(&models, previous, shared).unwrap()
}

/// A single live cluster whose background tasks were not begun.
fn live(model: &Cluster, shared: Shared) -> Arc<LiveCluster> {
    clusters_of(&[model], None, shared).get(&model.name).unwrap()
}

fn request(method: Method) -> BackendRequest {
    BackendRequest {
        method,
        path_and_query: "/v1/accounts?limit=5".parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    }
}

fn get() -> BackendRequest {
    request(Method::GET)
}

fn limits() -> CallLimits {
    CallLimits { deadline: 2 * AMPLE, max_body: 1 << 20 }
}

/// Waits until something holds that happens in the background.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let looked = async {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        while !holds() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(AMPLE, looked).await.unwrap_or_else(|_| panic!("never: {what}"));
}
