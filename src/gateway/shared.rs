use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::supervisor::Supervisor;
use super::upgrade::Successor;
use crate::account::{AccountHasher, Fleet};
use crate::auth::{Keyrings, TokenCache};
use crate::journal::topics;
use crate::limit::Limits;
use crate::net::Resolver;
use crate::observe::{AccessLog, Metrics};
use crate::quota::Quotas;
use crate::request::{Clock, UnixMillis};
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
    pub keyrings: Arc<Keyrings>,
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
    /// What Kafka's topics are like, in a fleet.
    pub topics: topics::Watch,
    /// When the certificate ends that Kafka's client has read.
    pub kafka_certificate: OnceLock<Option<UnixMillis>>,
    /// The account cache.
    pub vault: &'static Vault,
    /// Names of backends.
    pub resolver: Arc<Resolver>,
    /// The service manager.
    pub supervisor: Supervisor,
    draining: AtomicBool,
    giving: AtomicBool,
    successor: Mutex<Option<Arc<Successor>>>,
}

/// What needs no state: enough to make a configuration ready.
#[derive(Clone)]
pub struct Ground {
    /// See [`Shared::clock`].
    pub clock: Arc<dyn Clock>,
    /// See [`Shared::metrics`].
    pub metrics: Arc<Metrics>,
    /// See [`Shared::keyrings`].
    pub keyrings: Arc<Keyrings>,
    /// See [`Shared::tokens`].
    pub tokens: Arc<TokenCache>,
    /// See [`Shared::resolver`].
    pub resolver: Arc<Resolver>,
}

impl Ground {
    /// What clusters need.
    pub(super) fn for_upstream(&self) -> upstream::Shared {
        upstream::Shared {
            resolver: self.resolver.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

/// The parts that [`Shared`] is made of.
pub struct Parts {
    /// What needs no state.
    pub ground: Ground,
    /// See [`Shared::access_log`].
    pub access_log: AccessLog,
    /// See [`Shared::accounts`].
    pub accounts: AccountHasher,
    /// See [`Shared::quotas`].
    pub quotas: Arc<Quotas>,
    /// See [`Shared::fleet`].
    pub fleet: Option<Arc<Fleet>>,
    /// See [`Shared::vault`].
    pub vault: &'static Vault,
}

impl Shared {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Ground { clock, metrics, keyrings, tokens, resolver } = parts.ground;
        Self {
            topics: topics::Watch::new(metrics.clone()),
            metrics,
            access_log: parts.access_log,
            keyrings,
            tokens,
            limits: Limits::new(clock.clone()),
            accounts: parts.accounts,
            quotas: parts.quotas,
            fleet: parts.fleet,
            kafka_certificate: OnceLock::new(),
            vault: parts.vault,
            resolver,
            clock,
            supervisor: Supervisor::default(),
            draining: AtomicBool::new(false),
            giving: AtomicBool::new(false),
            successor: Mutex::default(),
        }
    }

    /// What of it needs no state.
    pub(super) fn ground(&self) -> Ground {
        Ground {
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            keyrings: self.keyrings.clone(),
            tokens: self.tokens.clone(),
            resolver: self.resolver.clone(),
        }
    }

    /// From now on the state is another process's, or about to be: kept answers are not given any
    /// more, since that process may know that they are no longer true.
    pub(super) fn begin_giving(&self, to: Arc<Successor>) {
        *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
        self.giving.store(true, Ordering::Release);
    }

    /// The state is this process's again.
    pub(super) fn end_giving(&self) {
        self.giving.store(false, Ordering::Release);
        *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the state is another process's, or about to be.
    pub(super) fn is_giving(&self) -> bool {
        self.giving.load(Ordering::Acquire)
    }

    /// The process that has the state, or is about to.
    pub(super) fn successor(&self) -> Option<Arc<Successor>> {
        if !self.is_giving() {
            return None;
        }
        self.successor.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
