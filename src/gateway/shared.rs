use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::supervisor::Supervisor;
use crate::account::{AccountHasher, Fleet};
use crate::auth::{Keyrings, TokenCache};
use crate::limit::Limits;
use crate::net::Resolver;
use crate::observe::{AccessLog, Metrics};
use crate::quota::Quotas;
use crate::request::Clock;
use crate::upstream;
use crate::vault::Vault;

/// What outlives configurations: counts, cached answers, keys, health, logs.
pub struct Shared {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The one registry.
    pub metrics: Arc<Metrics>,
    /// One line a request.
    pub access_log: AccessLog,
    /// Identity providers' keys.
    pub keyrings: Keyrings,
    /// Verified tokens.
    pub tokens: Arc<TokenCache>,
    /// Rates and requests in progress.
    pub limits: Limits,
    /// Makes the keys that stand for accounts.
    pub accounts: AccountHasher,
    /// The ledger and its journal.
    pub quotas: Arc<Quotas>,
    /// The other gateways; `None`: there are none.
    pub fleet: Option<Arc<Fleet>>,
    /// The account cache.
    pub vault: &'static Vault,
    /// Names of backends.
    pub resolver: Arc<Resolver>,
    /// The service manager.
    pub supervisor: Supervisor,
    draining: AtomicBool,
}

/// The parts that [`Shared`] is made of.
pub struct Parts {
    /// See [`Shared::clock`].
    pub clock: Arc<dyn Clock>,
    /// See [`Shared::metrics`].
    pub metrics: Arc<Metrics>,
    /// See [`Shared::access_log`].
    pub access_log: AccessLog,
    /// See [`Shared::keyrings`].
    pub keyrings: Keyrings,
    /// See [`Shared::accounts`].
    pub accounts: AccountHasher,
    /// See [`Shared::quotas`].
    pub quotas: Arc<Quotas>,
    /// See [`Shared::fleet`].
    pub fleet: Option<Arc<Fleet>>,
    /// See [`Shared::vault`].
    pub vault: &'static Vault,
    /// See [`Shared::resolver`].
    pub resolver: Arc<Resolver>,
}

impl Shared {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self {
            metrics: parts.metrics,
            access_log: parts.access_log,
            keyrings: parts.keyrings,
            tokens: Arc::new(TokenCache::new()),
            limits: Limits::new(parts.clock.clone()),
            accounts: parts.accounts,
            quotas: parts.quotas,
            fleet: parts.fleet,
            vault: parts.vault,
            resolver: parts.resolver,
            clock: parts.clock,
            supervisor: Supervisor::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// What clusters need.
    pub(super) fn for_upstream(&self) -> upstream::Shared {
        upstream::Shared {
            resolver: self.resolver.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// From now on readiness fails and connections are closed after their answer.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the process is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
