//! The account cache: answers kept in memory (moka) over a table on disk (fjall).
//!
//! A [`Vault`] is a `pingora_cache::Storage`. A lookup asks memory, then what waits for the disk,
//! then the disk; what is found on disk goes back to memory. A fill collects the answer and, at
//! its end, puts it into memory and into the queue of the one thread that writes to disk. Answers
//! are sealed before they leave memory. A fault of the disk is a miss, never an error.
//!
//! `policy` says what may be kept and given (RFC 9111 under the route's policy), `key` under which
//! key, `epochs` what makes a purge final. In a fleet, `feed` brings every gateway what the others
//! keep and purge.

mod broken;
mod change;
mod complete;
mod describe;
mod disk;
mod entry;
mod epochs;
mod feed;
mod fill;
mod flight;
mod hit;
mod key;
mod layout;
mod memory;
pub mod policy;
mod purge;
mod queue;
mod record;
mod seal;
mod shelf;
mod storage;
mod table;
mod view;
mod writer;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use describe::{KeyDescription, describe};
pub use feed::{FeedView, PartitionView, TopicView};
pub use key::cache_key;
pub use purge::PurgeReport;
pub use view::{EntryView, Tier, VaultStats};

use std::fs::create_dir_all;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use pingora::http::ResponseHeader;
use pingora_cache::lock::{CacheKeyLockImpl, CacheLock};
use pingora_cache::{CacheOptionOverrides, HttpCache, NoCacheReason, RespCacheable};

use crate::account::AccountHasher;
use crate::config::model::{CachePolicy, CacheSettings, Kafka, Route};
use crate::observe::{Event, Metrics, VaultOperation};
use crate::request::Clock;
use change::Scope;
use disk::Disk;
use epochs::Epochs;
use feed::{DataClasses, Feed};
use fill::Budget;
use memory::Memory;
use seal::KeyRing;

/// Kept answers to requests about accounts.
pub struct Vault {
    memory: Arc<Memory>,
    disk: Disk,
    feed: Option<Arc<Feed>>,
    epochs: Arc<Epochs>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    lock: CacheLock,
    fills: Arc<Budget>,
    max_entry: AtomicU64,
}

/// Why the vault can't be opened, or a purge is not durable.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The file system refused.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// What was to be used.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// The directory is in use.
    #[error("{path} is in use by another process", path = .0.display())]
    Locked(PathBuf),
    /// The table on disk can't be opened, nor an empty one be begun.
    #[error("the account cache in {path} can't be opened: {why}", path = path.display())]
    Table {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key that seals answers can't be had.
    #[error("the key that seals kept answers: {0}")]
    SealingKey(&'static str),
    /// The disk is at fault, or the vault was closed: the purge is not durable.
    #[error("the account cache's disk is not available")]
    Unavailable,
    /// Kafka has not taken the purge. It is done at this gateway.
    #[error(
        "Kafka has not taken the purge: it is done at this gateway, other gateways may give the \
         answers until Kafka takes it, which is tried until it does"
    )]
    Owed,
}

impl VaultError {
    /// Whether there was no room on the disk: that passes, and the rest of a gateway need not wait for
    /// it.
    fn is_full_disk(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::File { error, .. } if matches!(error.kind(), StorageFull | QuotaExceeded))
    }
}

/// What the tiers share.
struct Parts {
    epochs: Arc<Epochs>,
    memory: Arc<Memory>,
    feed: Option<Arc<Feed>>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// Longest time for which a request may fill while others wait for it. Beyond, one of them tries.
const LONGEST_FILL: Duration = Duration::from_secs(60);
/// Fills that a waiting request sees fail before it goes to the backend on its own: fills end
/// early when their clients go, and a crowd must not then rush to the backend.
const FILLS_WAITED_FOR: usize = 10;
const QUEUE_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(64 << 20);

impl Vault {
    /// Opens the vault's table in `directory/cache`. The settings need at least one sealing key.
    ///
    /// It is leaked on purpose, for the proxy wants its cache to live as long as the process: open
    /// one for each process, and [`Vault::reconfigure`] it on reload.
    pub fn open(
        directory: &Path,
        settings: &CacheSettings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<&'static Self, VaultError> {
        Self::open_with(directory, settings, None, clock, metrics)
    }

    /// The same for a gateway of a fleet: what one keeps and purges reaches the others by Kafka,
    /// and what backends say about changed accounts reaches them all. Does not wait for Kafka.
    ///
    /// `accounts` must hash as in every other gateway of the fleet, and the sealing keys must be
    /// the same there.
    pub fn open_fed(
        directory: &Path,
        settings: &CacheSettings,
        kafka: &Kafka,
        accounts: AccountHasher,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<&'static Self, VaultError> {
        let feed = Feed::new(kafka, accounts, clock.clone(), metrics.clone());
        Self::open_with(directory, settings, Some(feed), clock, metrics)
    }

    fn open_with(
        directory: &Path,
        settings: &CacheSettings,
        feed: Option<Arc<Feed>>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<&'static Self, VaultError> {
        create_dir_all(directory)
            .map_err(|error| VaultError::File { path: directory.to_owned(), error })?;
        let ring = KeyRing::new(&settings.sealing_keys)?;
        let epochs = Arc::new(Epochs::new());
        let memory = Arc::new(Memory::new(settings.memory, clock.clone(), metrics.clone()));
        let parts = Parts {
            epochs: epochs.clone(),
            memory: memory.clone(),
            feed: feed.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
        let path = directory.join("cache");
        let disk = Disk::open(&path, settings.disk, queue_bytes(settings), ring, parts)?;
        Ok(Box::leak(Box::new(Self {
            memory,
            disk,
            feed,
            epochs,
            clock,
            metrics,
            lock: CacheLock::new(LONGEST_FILL),
            fills: Budget::new(fill_bytes(settings)),
            max_entry: AtomicU64::new(settings.max_entry),
        })))
    }

    /// Takes over bounds and keys of a new configuration; kept answers stay, as far as the bounds
    /// allow and the keys open them. On an error nothing changes.
    pub fn reconfigure(&self, settings: &CacheSettings) -> Result<(), VaultError> {
        let ring = KeyRing::new(&settings.sealing_keys)?;
        self.disk.set_keys(ring);
        self.disk.set_bounds(settings.disk, queue_bytes(settings));
        self.memory.resize(settings.memory);
        self.fills.set_bound(fill_bytes(settings));
        self.max_entry.store(settings.max_entry, Ordering::Relaxed);
        Ok(())
    }

    /// Takes over which classes of data the routes' answers show: a change of another class leaves
    /// them. Until then every change removes every answer of its account.
    pub fn know_routes(&self, routes: &[Arc<Route>]) {
        if let Some(feed) = &self.feed {
            feed.set_classes(DataClasses::of(routes));
        }
    }

    /// How the topics that feed it stand; `None` outside a fleet.
    pub fn feed(&self) -> Option<FeedView> {
        self.feed.as_ref().map(|feed| feed.view())
    }

    /// Turns the cache on for a request: with this vault as storage, and one fill at a time for
    /// each key. `patience` is how long the request may wait for another's fill: its deadline.
    pub fn enable_on(&'static self, cache: &mut HttpCache, patience: Duration) {
        let mut options = CacheOptionOverrides::default();
        options.wait_timeout = Some(patience.min(LONGEST_FILL));
        options.max_lock_retries = Some(FILLS_WAITED_FOR);
        cache.enable(self, None, None, Some(self.lock()), Some(options));
    }

    /// The lock that lets one request fill while others for the same key wait.
    pub fn lock(&'static self) -> &'static CacheKeyLockImpl {
        self
    }

    /// [`policy::judge`] now, and whether the answer says that it is too large to be kept: then
    /// requests that wait for it needn't. (Don't use pingora's own size limit: it would count no
    /// event.)
    pub fn judge(
        &self,
        policy: &CachePolicy,
        response: &ResponseHeader,
        partial: bool,
    ) -> RespCacheable {
        let length = response.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let too_large = length.is_some_and(|length| length > self.max_entry());
        match policy::judge(policy, response, partial, self.clock.now()) {
            RespCacheable::Cacheable(_) if too_large => {
                self.count(VaultOperation::TooLarge);
                RespCacheable::Uncacheable(NoCacheReason::ResponseTooLarge)
            }
            judged => judged,
        }
    }

    /// Largest body kept, in bytes.
    pub fn max_entry(&self) -> u64 {
        self.max_entry.load(Ordering::Relaxed)
    }

    /// Returns when all answers kept so far are on disk and survive a crash of the machine, or
    /// are given up because the disk is at fault.
    pub async fn flush(&self) {
        self.disk.flush().await;
    }

    /// Writes what is queued and lets go of the files, for a clean end of the process. From then
    /// on the vault works in memory alone. Blocks until the disk is done.
    pub fn close(&self) {
        self.disk.close();
    }

    /// Takes the files back that [`Vault::close`] let go of for another process. Must not be called
    /// on a vault that is fed.
    ///
    /// # Errors
    /// They can't be opened: the vault goes on in memory alone.
    pub fn regain(&self) -> Result<(), VaultError> {
        // The other process may have served for a moment, and known of changes.
        self.epochs.turn_all();
        self.memory.remove(&Scope::All);
        self.disk.regain()
    }

    fn count(&self, operation: VaultOperation) {
        self.metrics.record(Event::Vault { operation });
    }
}

/// Answers that wait for the disk are bounded apart from those kept in memory.
fn queue_bytes(settings: &CacheSettings) -> u64 {
    (settings.memory / 8).clamp(*QUEUE_BYTES.start(), *QUEUE_BYTES.end())
}

/// So are answers that are still being collected; the largest one allowed must fit.
fn fill_bytes(settings: &CacheSettings) -> u64 {
    (settings.memory / 4).max(settings.max_entry)
}
