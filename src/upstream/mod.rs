//! Backends: clusters, balancing, health, retries.
//!
//! A [`Cluster`](crate::config::model::Cluster) of the configuration becomes a [`LiveCluster`]:
//! its names are followed by [`discovery`], its endpoints are checked by `health` and taken out by
//! `ejection`, and each request picks one by `balance`. What is known of an endpoint outlives a
//! reload. A request on its way reads atomics and one swapped pointer; it waits for no lock and
//! for no name server.

mod balance;
mod call;
mod cluster;
mod clusters;
mod describe;
pub mod discovery;
mod ejection;
mod endpoint;
mod exchange;
mod failure;
mod health;
mod peer;
mod picked;
mod probe;
mod retry;
mod watch;

#[cfg(test)]
mod tests;

pub use call::{Answer, BackendRequest, CallError, CallLimits};
pub use cluster::LiveCluster;
pub use clusters::{ClusterError, Clusters, Shared};
pub use describe::{ClusterView, EndpointView, ErrorView, HealthView};
pub use exchange::has_unknown_coding;
pub use failure::{Failure, Wait};
pub use peer::TransportError;
pub use picked::{Outcome, Picked, Tried};
pub use retry::RetryBudget;
