//! What operators may see and do; `admin` puts it on a port.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::{Value, json};

use super::reload::{Reloaded, Reloader};
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::account::AccountKey;
use crate::config::model::{Action, Route};
use crate::request::{AccountError, AccountId, RouteId};

/// The operators' hand on the gateway.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    reloader: Arc<Reloader>,
}

/// Whether the gateway should get requests, and if not why.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Whether it should.
    pub ready: bool,
    /// What is in the way.
    pub reasons: Vec<String>,
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
    ) -> Self {
        Self { shared, snapshot, reloader }
    }

    /// Ready unless stopping, or a provider of some route has no keys yet. A backend that is down
    /// is no reason: another gateway could not reach it either.
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.shared.is_draining() {
            reasons.push("the gateway is stopping".to_owned());
        }
        reasons.extend(self.shared.keyrings.not_ready());
        reasons.extend(self.shared.quotas.not_ready());
        Readiness { ready: reasons.is_empty(), reasons }
    }

    /// All metrics in OpenMetrics text format.
    pub fn metrics(&self) -> String {
        self.shared.metrics.exposition()
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
        self.snapshot.load().config.routes.iter().map(|route| route_view(route)).collect()
    }

    /// The clusters with their endpoints.
    pub fn clusters(&self) -> Value {
        json!(self.snapshot.load().clusters.describe())
    }

    /// The identity providers with their keys.
    pub fn identity(&self) -> Value {
        json!(self.shared.keyrings.describe())
    }

    /// What an account has used.
    ///
    /// # Errors
    /// The text can't be an account.
    pub fn quotas(&self, account: &str) -> Result<Value, AccountError> {
        let key = self.key(account)?;
        let rules = &self.snapshot.load().config.quotas;
        Ok(json!({ "account": key.to_string(), "quotas": self.shared.quotas.account(&key, rules) }))
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
    pub fn cache(&self, account: &str) -> Result<Value, AccountError> {
        let key = self.key(account)?;
        Ok(json!({ "account": key.to_string(), "answers": self.shared.vault.entries(&key) }))
    }

    /// How much the vault holds.
    pub fn vault(&self) -> Value {
        json!(self.shared.vault.stats())
    }

    /// Removes answers, once that is durable.
    ///
    /// # Errors
    /// A text that says why it could not be done.
    pub fn purge(&self, what: &Purge) -> Result<Value, String> {
        let vault = self.shared.vault;
        let report = match what {
            Purge::Account(account) => vault.purge_account(&self.shared.accounts.key(account)),
            Purge::Route(route) => vault.purge_route(route),
            Purge::All => vault.purge_all(),
        };
        report.map(|report| json!(report)).map_err(|error| error.to_string())
    }

    /// Loads the configuration again.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn reload(&self) -> Result<Value, String> {
        let changed = match self.reloader.reload()? {
            Reloaded::Swapped(_) => true,
            Reloaded::Unchanged => false,
        };
        let revision = &self.snapshot.load().config.revision;
        Ok(json!({ "changed": changed, "revision": revision }))
    }

    fn key(&self, account: &str) -> Result<AccountKey, AccountError> {
        Ok(self.shared.accounts.key(&AccountId::parse(account)?))
    }
}

fn route_view(route: &Route) -> Value {
    let target = match &route.action {
        Action::Proxy { cluster, .. } => json!({ "cluster": cluster.name }),
        Action::Compose(plan) => {
            let parts: Vec<&str> = plan.parts.iter().map(|part| &*part.name).collect();
            json!({ "compose": parts })
        }
        Action::Redirect { status, .. } => json!({ "redirect": status.as_u16() }),
        Action::Answer { status, .. } => json!({ "answer": status.as_u16() }),
    };
    let methods: Vec<&str> = route.matches.methods.iter().map(http::Method::as_str).collect();
    let providers: Vec<&str> = route.authenticate.iter().map(|provider| &*provider.name).collect();
    let quotas: Vec<&str> = route.quotas.iter().map(|rule| &*rule.name).collect();
    json!({
        "id": route.id.as_str(),
        "path": route.matches.path.source,
        "methods": methods,
        "authenticate": providers,
        "quotas": quotas,
        "cached": route.cache.is_some(),
        "target": target,
    })
}
