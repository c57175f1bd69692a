//! What operators may see and do; `admin` puts it on a port.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::{Value, json};

use super::certificates;
use super::reload::{Reloaded, Reloader};
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::upgrade::{AdminGate, Upgraded, Upgrader};
use super::views;
use crate::account::AccountKey;
use crate::config::model::Secret;
use crate::observe::{Moment, Size};
use crate::request::{AccountError, AccountId, RouteId};

/// The operators' hand on the gateway.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    reloader: Arc<Reloader>,
    upgrader: Arc<Upgrader>,
}

/// Whether the gateway should get requests, and if not why.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Whether it should.
    pub ready: bool,
    /// What is in the way.
    pub reasons: Vec<String>,
    /// What is wrong, though it serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
}

/// What to purge from the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// All answers of an account.
    Account(AccountId),
    /// All answers of a route.
    Route(RouteId),
    /// All answers.
    All,
}

impl Control {
    /// A hand on the gateway made of these.
    pub fn new(
        shared: Arc<Shared>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        reloader: Arc<Reloader>,
        upgrader: Arc<Upgrader>,
    ) -> Self {
        Self { shared, snapshot, reloader, upgrader }
    }

    /// Ready unless stopping, the ledger can't be asked yet, or a provider of some route has no keys
    /// yet. A backend that is down
    /// is no reason: another gateway could not reach it either.
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.shared.is_draining() {
            reasons.push("the gateway is stopping".to_owned());
        }
        reasons.extend(self.shared.quotas.unready());
        if let Err(providers) = self.shared.keyrings.ready() {
            reasons.extend(
                providers.iter().map(|name| format!("identity provider '{name}' gave no keys yet")),
            );
        }
        // With its journal away the gateway serves on as its rules say. All gateways would fail
        // together if that made them unready, and the load balancer would have none left.
        let mut degraded = self.shared.quotas.degraded();
        degraded.extend(self.shared.topics.findings());
        Readiness { ready: reasons.is_empty(), reasons, degraded }
    }

    /// What changing calls need; `None` if they are refused.
    pub fn admin_token(&self) -> Option<Secret> {
        self.snapshot.load().config.admin.as_ref().and_then(|admin| admin.token.clone())
    }

    /// All metrics in OpenMetrics text format.
    pub fn metrics(&self) -> String {
        self.shared.metrics.exposition_with(&self.moment())
    }

    fn moment(&self) -> Moment {
        let mut endpoints = BTreeMap::new();
        for cluster in self.snapshot.load().clusters.describe() {
            for endpoint in cluster.endpoints {
                // One address may stand behind two names.
                let usable = endpoints.entry((cluster.name.clone(), endpoint.address));
                *usable.or_insert(false) |= endpoint.usable;
            }
        }
        let ports = self.reloader.ports().views();
        let vault = self.shared.vault.stats();
        let config = &self.snapshot.load().config;
        let Readiness { ready, degraded, .. } = self.readiness();
        Moment {
            endpoints,
            connections: ports.iter().map(|port| (port.address, port.connections)).collect(),
            certificates: certificates::in_use(&self.shared, config, &ports),
            memory: Size { bytes: vault.memory_bytes, entries: vault.memory_entries },
            disk: Size { bytes: vault.disk_bytes, entries: vault.disk_entries },
            ready,
            degraded: !degraded.is_empty(),
            state_disk: room(&config.state.directory),
        }
    }

    /// The configuration in use, without secrets, and how the last reload went.
    pub fn configuration(&self) -> Value {
        let snapshot = self.snapshot.load();
        json!({
            "revision": snapshot.config.revision,
            "last_reload": self.reloader.last(),
            "configuration": *snapshot.config.shown,
        })
    }

    /// The routes in use.
    pub fn routes(&self) -> Value {
        self.snapshot.load().config.routes.iter().map(|route| views::route(route)).collect()
    }

    /// The clusters with their endpoints.
    pub fn clusters(&self) -> Value {
        self.snapshot.load().clusters.describe().iter().map(views::cluster).collect()
    }

    /// The identity providers with their keys.
    pub fn identity(&self) -> Value {
        self.shared.keyrings.describe().iter().map(views::provider).collect()
    }

    /// Quota partitions, who owns them, and how the journal does.
    pub fn fleet(&self) -> Value {
        let quotas = &self.shared.quotas;
        let replay = quotas.replay();
        json!({
            "gateway": quotas.name(),
            "owners": quotas.owners(),
            "journal": {
                "trouble": quotas.trouble(),
                "unsafe": self.shared.topics.findings(),
                "replay": {
                    "partitions_done": replay.done,
                    "partitions": replay.partitions,
                    "records": replay.records,
                    "percent": replay.percent,
                },
            },
            "partitions": quotas.partitions().iter().map(views::partition).collect::<Value>(),
        })
    }

    /// What an account has used.
    ///
    /// # Errors
    /// The text can't be an account.
    pub fn quotas(&self, account: &str) -> Result<Value, AccountError> {
        let key = self.key(account)?;
        let rules: Vec<_> = self.snapshot.load().config.quotas.values().cloned().collect();
        let buckets = self.shared.quotas.account(&key, &rules);
        let quotas: Value = buckets.iter().map(views::bucket).collect();
        Ok(json!({
            "account": key.to_string(),
            "partition": self.shared.quotas.partition_number(&key),
            "owner": self.shared.fleet.as_ref().and_then(|_| self.shared.quotas.owner_of(&key)),
            "quotas": quotas,
        }))
    }

    /// Gives an account all its quotas back, once that is durable.
    ///
    /// # Errors
    /// A text that says why it could not be done.
    pub async fn reset_quotas(&self, account: &str) -> Result<Value, String> {
        let key = self.key(account).map_err(|error| error.to_string())?;
        let reset = self.shared.quotas.reset(&key).await.map_err(|error| error.to_string())?;
        tracing::info!(account = %key, buckets = reset, "an operator gave quotas back");
        Ok(json!({ "account": key.to_string(), "buckets": reset }))
    }

    /// Which answers of an account are kept.
    ///
    /// # Errors
    /// The text can't be an account.
    pub async fn cache(&self, account: &str) -> Result<Value, AccountError> {
        let key = self.key(account)?;
        let entries = self.shared.vault.entries(&key).await;
        let answers: Value = entries.iter().map(views::entry).collect();
        Ok(json!({ "account": key.to_string(), "answers": answers }))
    }

    /// How much the vault holds, and in a fleet how it is fed.
    pub fn vault(&self) -> Value {
        let vault = self.shared.vault;
        views::vault(&vault.stats(), vault.feed().as_ref())
    }

    /// Removes answers, once that is durable.
    ///
    /// # Errors
    /// A text that says why it could not be done.
    pub async fn purge(&self, what: &Purge) -> Result<Value, String> {
        let vault = self.shared.vault;
        let report = match what {
            Purge::Account(account) => {
                vault.purge_account(&self.shared.accounts.key(account)).await
            }
            Purge::Route(route) => vault.purge_route(route).await,
            Purge::All => vault.purge_all().await,
        };
        let report = report.map_err(|error| error.to_string())?;
        let mut view = json!({ "entries": report.entries });
        if let (Purge::Route(route), Some(members)) = (what, view.as_object_mut()) {
            // Answers of a route that is gone can be purged too, but a slip should be seen.
            let in_use = self.snapshot.load().config.routes.iter().any(|it| it.id == *route);
            members.insert("route_in_use".into(), in_use.into());
        }
        Ok(view)
    }

    /// Loads the configuration again.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub async fn reload(&self) -> Result<Value, String> {
        let changed = match self.reloader.reload().await? {
            Reloaded::Swapped(_) => true,
            Reloaded::Unchanged => false,
        };
        let revision = &self.snapshot.load().config.revision;
        Ok(json!({ "changed": changed, "revision": revision }))
    }

    /// Has the program that now stands at this one's place take over.
    ///
    /// # Errors
    /// Why it did not; this process serves on.
    pub async fn upgrade(&self) -> Result<Upgraded, String> {
        let upgrader = self.upgrader.clone();
        // Whoever asked may go; what was begun comes to its end.
        let upgrading = tokio::spawn(async move { upgrader.upgrade().await });
        upgrading.await.map_err(|error| error.to_string())?
    }

    /// Whether the operators' port is to accept.
    pub fn gate(&self) -> &AdminGate {
        self.upgrader.admin()
    }

    fn key(&self, account: &str) -> Result<AccountKey, AccountError> {
        Ok(self.shared.accounts.key(&AccountId::parse(account)?))
    }
}

/// Bytes that may still be written where a folder is.
fn room(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
