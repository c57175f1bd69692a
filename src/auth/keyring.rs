use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::Client;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::fetch::{FetchError, FetchedKeys};
use super::jwk::Key;
use super::keyset::KeySet;
use super::plan::FetchPlan;
use super::refresh::refresh_forever;
use super::schedule::{Jitter, after_failure, after_success};
use crate::observe::{Event, Metrics};
use crate::request::{Clock, UnixMillis};

/// A request waits for keys this much longer than a fetch may take, so that it sees how the fetch
/// ended rather than give up at the same moment.
const GRACE: Duration = Duration::from_millis(250);

/// One provider's keys, kept fresh by a task of its own for as long as anybody holds the ring.
///
/// Only that task fetches, so there is never more than one fetch under way; requests that need a
/// key ask it to look again and wait for the outcome.
pub(super) struct Keyring {
    shared: Arc<Shared>,
    refresher: AbortHandle,
}

/// What a ring and its task share.
pub(super) struct Shared {
    pub(super) plan: FetchPlan,
    pub(super) clock: Arc<dyn Clock>,
    /// Rung by requests that found no key.
    pub(super) asked: Notify,
    metrics: Arc<Metrics>,
    generations: Arc<AtomicU64>,
    keys: ArcSwapOption<KeySet>,
    /// Generation of `keys`, 0 without any: read for every cached token.
    generation: AtomicU64,
    progress: watch::Sender<Progress>,
}

/// How the fetching goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    fetching: bool,
    /// Start of the last fetch.
    begun: Option<UnixMillis>,
    /// Fetches that ended, well or not.
    ended: u64,
    /// Failures since the last success.
    failures: u32,
    pub(super) fetched: Option<UnixMillis>,
    pub(super) next: UnixMillis,
    pub(super) last_error: Option<Arc<str>>,
}

impl Progress {
    /// Whether the last fetch is long enough ago for a request to cause another. A clock that was
    /// set back must not forbid it for long.
    pub(super) fn allows_asking(&self, wait: Duration, now: UnixMillis) -> bool {
        self.begun.is_none_or(|begun| now < begun || now.since(begun) >= wait)
    }
}

/// What every ring is made with.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) runtime: Handle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// Numbers key sets across all rings.
    pub(super) generations: Arc<AtomicU64>,
}

impl Keyring {
    /// Starts to fetch at once, unless another ring over the same source has keys to begin with.
    pub(super) fn start(
        plan: FetchPlan,
        client: Client,
        before: Option<&Keyring>,
        around: &Surroundings,
    ) -> Self {
        let keys = before.and_then(Keyring::keys);
        let progress = match before {
            Some(before) if keys.is_some() => {
                let known = before.progress();
                // That ring's bounds may be longer than this one's.
                let latest = known.fetched.map_or(known.next, |at| at.plus(plan.refresh_max));
                let next = known.next.min(latest);
                Progress { fetched: known.fetched, next, ..Progress::default() }
            }
            _ => Progress::default(),
        };
        let shared = Arc::new(Shared {
            plan,
            clock: Arc::clone(&around.clock),
            asked: Notify::new(),
            metrics: Arc::clone(&around.metrics),
            generations: Arc::clone(&around.generations),
            generation: AtomicU64::new(keys.as_ref().map_or(0, |keys| keys.generation)),
            keys: ArcSwapOption::new(keys),
            progress: watch::Sender::new(progress),
        });
        let task = around.runtime.spawn(refresh_forever(Arc::clone(&shared), client));
        Self { shared, refresher: task.abort_handle() }
    }

    /// The last good keys; `None` before the first.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.shared.keys.load_full()
    }

    /// Changes whenever the keys change.
    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    pub(super) fn plan(&self) -> &FetchPlan {
        &self.shared.plan
    }

    pub(super) fn progress(&self) -> Progress {
        self.shared.progress.borrow().clone()
    }

    /// Waits for the fetch under way, or asks for one if the last is long enough ago. Returns at
    /// once if neither, and in any case after the time that a fetch may take.
    pub(super) async fn look_again(&self) {
        let shared = &self.shared;
        let mut progress = shared.progress.subscribe();
        let ended = {
            let seen = progress.borrow();
            if !seen.fetching {
                if !seen.allows_asking(shared.plan.unknown_key_wait, shared.clock.now()) {
                    return;
                }
                shared.asked.notify_one();
            }
            seen.ended
        };
        let outcome = progress.wait_for(|now| now.ended > ended);
        // Nothing to do differently if it took too long: the keys are as they are.
        let _ = tokio::time::timeout(shared.plan.timeout + GRACE, outcome).await;
    }
}

#[cfg(test)]
impl Keyring {
    /// Lets the task look at a clock that was turned by hand, and waits until so many fetches
    /// have ended.
    pub(super) async fn ended(&self, fetches: u64) {
        self.shared.asked.notify_one();
        let mut progress = self.shared.progress.subscribe();
        progress.wait_for(|now| now.ended >= fetches).await.expect("the ring is alive");
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("provider", &self.plan().provider).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn progress(&self) -> watch::Ref<'_, Progress> {
        self.progress.borrow()
    }

    pub(super) fn begin(&self) {
        let now = self.clock.now();
        self.progress.send_modify(|progress| {
            progress.fetching = true;
            progress.begun = Some(now);
        });
    }

    /// Takes in what a fetch brought: new keys, or a reason to try again sooner.
    pub(super) fn end(&self, outcome: Result<FetchedKeys, FetchError>) {
        let now = self.clock.now();
        let provider = &*self.plan.provider;
        self.metrics.record(Event::KeysFetched { provider, ok: outcome.is_ok() });
        match outcome {
            Ok(fetched) => {
                self.keep(fetched.keys);
                let next = after_success(&self.plan, &fetched.headers, now, Jitter::draw());
                self.progress.send_modify(|progress| {
                    *progress = Progress {
                        begun: progress.begun,
                        ended: progress.ended + 1,
                        fetched: Some(now),
                        next,
                        ..Progress::default()
                    };
                });
            }
            Err(error) => {
                if self.keys.load().is_some() {
                    tracing::warn!(provider, %error, "no new keys; the last good ones stay in use");
                } else {
                    tracing::warn!(provider, %error, "no keys yet: no token can be verified");
                }
                self.progress.send_modify(|progress| {
                    progress.fetching = false;
                    progress.ended += 1;
                    progress.failures = progress.failures.saturating_add(1);
                    progress.last_error = Some(error.to_string().into());
                    progress.next =
                        after_failure(&self.plan, progress.failures, now, Jitter::draw());
                });
            }
        }
    }

    /// Puts changed keys in place. The same keys again keep their generation, and with it the
    /// tokens that were verified.
    fn keep(&self, keys: Vec<Key>) {
        if self.keys.load().as_ref().is_some_and(|known| known.keys() == keys) {
            return;
        }
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(provider = &*self.plan.provider, keys = keys.len(), "keys changed");
        self.keys.store(Some(Arc::new(KeySet::new(keys, generation))));
        self.generation.store(generation, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_is_allowed_after_the_wait_and_when_the_clock_was_set_back() {
        let wait = Duration::from_secs(10);
        let allowed = |begun, now| {
            let begun = Some(UnixMillis(begun));
            Progress { begun, ..Progress::default() }.allows_asking(wait, UnixMillis(now))
        };
        assert!(Progress::default().allows_asking(wait, UnixMillis(0)));
        assert!(!allowed(50_000, 50_000));
        assert!(!allowed(50_000, 59_999));
        assert!(allowed(50_000, 60_000));
        assert!(allowed(50_000, 49_999));
    }
}
