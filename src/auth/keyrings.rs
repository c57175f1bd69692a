use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jsonwebtoken::Algorithm;
use tokio::runtime::Handle;

use super::keyring::{Keyring, Surroundings};
use super::plan::FetchPlan;
use crate::config::model::Provider;
use crate::net::{NetError, client};
use crate::observe::Metrics;
use crate::request::{Clock, UnixMillis};

/// The keys of all identity providers in use. Lives as long as the process, across reloads.
///
/// A provider's keys are fetched from the moment an authenticator is made for it until the last
/// such authenticator is dropped. An authenticator of a new configuration finds the keys of the
/// old one's, so a reload waits for no fetch, and one that is given up leaves nothing behind.
pub struct Keyrings {
    around: Surroundings,
    rings: Mutex<Vec<Weak<Keyring>>>,
}

/// What operators see of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderView {
    /// Name of the provider.
    pub provider: Arc<str>,
    /// Its usable keys; empty before the first fetch that brought some.
    pub keys: Vec<KeyView>,
    /// When keys last came.
    pub fetched: Option<UnixMillis>,
    /// When they are fetched again.
    pub next: UnixMillis,
    /// Why the last fetch brought none, unless it did.
    pub last_error: Option<Arc<str>>,
}

/// What operators see of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its id.
    pub id: Option<Arc<str>>,
    /// Algorithms that it may verify.
    pub algorithms: Vec<Algorithm>,
}

impl Keyrings {
    /// No keys yet. Fetches run on `runtime`, which must outlive every authenticator.
    pub fn new(runtime: Handle, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let generations = Arc::new(AtomicU64::new(0));
        Self {
            around: Surroundings { runtime, clock, metrics, generations },
            rings: Mutex::default(),
        }
    }

    /// The ring of a provider: one that is there already, or a new one.
    pub(super) fn ring(&self, provider: &Provider) -> Result<Arc<Keyring>, NetError> {
        let plan = FetchPlan::of(provider);
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.retain(|ring| ring.strong_count() > 0);
        let live: Vec<Arc<Keyring>> = rings.iter().filter_map(Weak::upgrade).collect();
        if let Some(ring) = live.iter().find(|ring| *ring.plan() == plan) {
            return Ok(Arc::clone(ring));
        }
        let client = client(plan.source.authorities.as_deref(), plan.timeout)?;
        let before = live.iter().rfind(|ring| ring.plan().source == plan.source);
        let before = before.map(|ring| &**ring);
        let ring = Arc::new(Keyring::start(plan, client, before, &self.around));
        rings.push(Arc::downgrade(&ring));
        Ok(ring)
    }

    /// Every provider in use, by name. While a reload drains, the newer configuration's.
    pub fn describe(&self) -> Vec<ProviderView> {
        let mut views: Vec<ProviderView> = Vec::new();
        for ring in self.live().iter().rev() {
            if views.iter().all(|view| view.provider != ring.plan().provider) {
                views.push(view(ring));
            }
        }
        views.sort_by(|a, b| a.provider.cmp(&b.provider));
        views
    }

    /// Whether every provider in use has keys.
    ///
    /// # Errors
    /// The names of those that have none, whose callers are answered 503.
    pub fn ready(&self) -> Result<(), Vec<Arc<str>>> {
        let missing: Vec<Arc<str>> = self
            .describe()
            .into_iter()
            .filter(|view| view.keys.is_empty())
            .map(|view| view.provider)
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.around.metrics)
    }

    fn live(&self) -> Vec<Arc<Keyring>> {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.iter().filter_map(Weak::upgrade).collect()
    }
}

fn view(ring: &Keyring) -> ProviderView {
    let progress = ring.progress();
    let keys = ring.keys();
    let keys = keys
        .iter()
        .flat_map(|set| set.keys())
        .map(|key| KeyView { id: key.id.clone(), algorithms: key.algorithms().collect() });
    ProviderView {
        provider: Arc::clone(&ring.plan().provider),
        keys: keys.collect(),
        fetched: progress.fetched,
        next: progress.next,
        last_error: progress.last_error,
    }
}
