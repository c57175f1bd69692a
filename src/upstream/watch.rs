use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use tokio::time::sleep;

use super::cluster::{LiveCluster, lock};
use super::discovery::{Lookup, Name};
use super::endpoint::Endpoint;
use super::health::Status;
use crate::config::model::HealthCheck;
use crate::observe::Event;

/// Health checks of one cluster at once.
const CHECKS_AT_ONCE: usize = 16;

/// Which endpoints a round checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// All of them.
    All,
    /// Those that were never checked.
    Unchecked,
}

impl LiveCluster {
    /// Whether the background tasks are still to be begun; true once.
    pub(super) fn begin(&self) -> bool {
        !self.watching.begun.swap(true, Ordering::AcqRel)
    }

    /// Resolves all names and checks all endpoints once.
    pub(super) async fn first_round(&self) {
        // Two that watch the same endpoints would count every failure twice.
        if let Some(before) = self.watching.before.upgrade() {
            before.stop();
        }
        join_all(self.discovery.names().map(|name| self.resolve(name))).await;
        self.check(Round::All).await;
    }

    /// Begins to follow names and to check endpoints in the background. The tasks hold the
    /// cluster only while they work, and end with it.
    pub(super) fn watch(self: &Arc<Self>) {
        let mut tasks = lock(&self.watching.tasks);
        for name in self.discovery.names() {
            let following = follow(Arc::downgrade(self), Arc::clone(name));
            tasks.push(tokio::spawn(following).abort_handle());
        }
        if let Some(health) = &self.model().health {
            let checking = keep_checking(Arc::downgrade(self), health.interval);
            tasks.push(tokio::spawn(checking).abort_handle());
            // Where the first round ran out of time.
            self.watching.unchecked.notify_one();
        }
    }

    fn stop(&self) {
        lock(&self.watching.tasks).drain(..).for_each(|task| task.abort());
    }

    /// Asks for a name and takes in what it stands for now.
    pub(super) async fn resolve(&self, name: &Name) {
        let lookup = name.look_up(&*self.shared().resolver).await;
        let cluster = self.name();
        self.record(Event::Resolved { cluster, ok: !matches!(lookup, Lookup::Failed(_)) });
        match lookup {
            Lookup::Same => {}
            Lookup::Changed => {
                tracing::info!(cluster, host = name.host(), "addresses changed");
                self.addresses_changed();
            }
            Lookup::Failed(error) => {
                tracing::warn!(cluster, host = name.host(), %error, "name not resolved");
            }
        }
    }

    /// Checks endpoints once.
    pub(super) async fn check(&self, round: Round) {
        let Some(check) = &self.model().health else { return };
        let list = self.list();
        let wanted = list.endpoints().iter().filter(|endpoint| match round {
            Round::All => true,
            Round::Unchecked => endpoint.state.health.status() == Status::Unchecked,
        });
        stream::iter(wanted)
            .for_each_concurrent(CHECKS_AT_ONCE, |endpoint| self.check_one(endpoint, check))
            .await;
    }

    async fn check_one(&self, endpoint: &Endpoint, check: &HealthCheck) {
        let result = self.probe(endpoint, check).await;
        let changed = endpoint.state.health.observe(result.is_ok(), check);
        if let Err(failed) = &result {
            endpoint.state.note_error(self.now(), format!("health check: {failed}"));
        }
        if changed.is_none() {
            return;
        }
        let (cluster, address) = (self.name(), &*endpoint.label);
        match result {
            Ok(()) => tracing::info!(cluster, endpoint = address, "endpoint is healthy"),
            Err(why) => tracing::warn!(cluster, endpoint = address, %why, "endpoint is unhealthy"),
        }
    }

    /// The interval, a tenth more or less: clusters and gateways must not all check at once.
    fn jittered(&self, interval: Duration) -> Duration {
        let permille = 900 + self.progress().roll(201);
        interval.mul_f64(permille as f64 / 1000.0)
    }
}

async fn follow(cluster: Weak<LiveCluster>, name: Arc<Name>) {
    loop {
        sleep(name.wait()).await;
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.resolve(&name).await;
    }
}

async fn keep_checking(cluster: Weak<LiveCluster>, interval: Duration) {
    loop {
        let Some(live) = cluster.upgrade() else { return };
        let (pause, unchecked) = (live.jittered(interval), Arc::clone(&live.watching.unchecked));
        drop(live);
        let round = tokio::select! {
            () = sleep(pause) => Round::All,
            () = unchecked.notified() => Round::Unchecked,
        };
        let Some(live) = cluster.upgrade() else { return };
        live.check(round).await;
    }
}

impl Drop for LiveCluster {
    fn drop(&mut self) {
        self.stop();
    }
}
