use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use pingora_cache::key::HashBinary;

use super::change::Scope;
use super::entry::Entry;
use super::key::account_bytes;
use crate::account::AccountKey;
use crate::observe::{Event, Metrics, VaultOperation};
use crate::request::Clock;

/// Answers in memory, bounded by their weight in bytes; the least recently used make room.
///
/// Least recently used, and not the library's default that may turn new entries away: requests
/// that waited for an answer must find it, or they would all fetch it again.
pub(super) struct Memory {
    tier: ArcSwap<Tier>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

struct Tier {
    capacity: u64,
    cache: Cache<HashBinary, Arc<Entry>>,
    accounts: Arc<Accounts>,
}

impl Memory {
    pub(super) fn new(capacity: u64, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let tier = Tier::new(capacity, &clock, &metrics);
        Self { tier: ArcSwap::from_pointee(tier), clock, metrics }
    }

    /// The entry, if it is there. The caller judges whether it still counts.
    pub(super) fn get(&self, hash: &HashBinary) -> Option<Arc<Entry>> {
        self.tier.load().cache.get(hash)
    }

    pub(super) fn insert(&self, entry: Arc<Entry>) {
        self.tier.load().insert(entry);
    }

    pub(super) fn forget(&self, hash: &HashBinary) {
        self.tier.load().cache.invalidate(hash);
    }

    /// Removes what the scope names and returns it. This frees memory at once; what another
    /// thread puts in meanwhile is made invisible by the epoch.
    pub(super) fn remove(&self, scope: &Scope) -> Vec<Arc<Entry>> {
        let tier = self.tier.load();
        let hashes = match scope {
            Scope::Entry(place) => vec![place.hash],
            Scope::Account(account) => tier.accounts.hashes(account),
            Scope::Changed(changed) => {
                let mut hashes = tier.accounts.hashes(&changed.account);
                hashes.retain(|hash| tier.cache.get(hash).is_some_and(|entry| scope.holds(&entry)));
                hashes
            }
            Scope::Route(_) | Scope::All | Scope::Part(..) => tier
                .cache
                .iter()
                .filter(|(_, entry)| scope.holds(entry))
                .map(|(hash, _)| *hash)
                .collect(),
        };
        hashes.iter().filter_map(|hash| tier.cache.remove(hash)).collect()
    }

    pub(super) fn of_account(&self, account: &AccountKey) -> Vec<Arc<Entry>> {
        let tier = self.tier.load();
        let hashes = tier.accounts.hashes(account.as_bytes());
        hashes.iter().filter_map(|hash| tier.cache.get(hash)).collect()
    }

    /// Changes the bound. The library fixes it when a cache is made, so a new one takes over the
    /// entries; what is put into the old one meanwhile is found on disk.
    pub(super) fn resize(&self, capacity: u64) {
        let old = self.tier.load_full();
        if old.capacity == capacity {
            return;
        }
        let new = Tier::new(capacity, &self.clock, &self.metrics);
        old.cache.iter().for_each(|(_, entry)| new.insert(entry));
        self.tier.store(Arc::new(new));
    }

    /// Bytes and entries.
    pub(super) fn size(&self) -> (u64, u64) {
        let tier = self.tier.load();
        tier.cache.run_pending_tasks();
        (tier.cache.weighted_size(), tier.cache.entry_count())
    }
}

impl Tier {
    fn new(capacity: u64, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Self {
        let accounts = Arc::new(Accounts::new());
        let (index, metrics) = (accounts.clone(), metrics.clone());
        let cache = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, entry: &Arc<Entry>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Lifetime(clock.clone()))
            .eviction_listener(move |hash, entry, cause| {
                if cause != RemovalCause::Replaced {
                    index.remove(&account_bytes(entry.name.account.as_ref()), &hash);
                }
                if cause == RemovalCause::Size {
                    metrics.record(Event::Vault { operation: VaultOperation::Evicted });
                }
            })
            .build();
        Self { capacity, cache, accounts }
    }

    fn insert(&self, entry: Arc<Entry>) {
        self.accounts.add(entry.place.account, entry.place.hash);
        self.cache.insert(entry.place.hash, entry);
    }
}

/// Frees the memory of entries that are over, even if nobody asks for them again.
struct Lifetime(Arc<dyn Clock>);

impl Expiry<HashBinary, Arc<Entry>> for Lifetime {
    fn expire_after_create(
        &self,
        _: &HashBinary,
        entry: &Arc<Entry>,
        _: Instant,
    ) -> Option<Duration> {
        Some(entry.expires.since(self.0.now()))
    }

    fn expire_after_update(
        &self,
        _: &HashBinary,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.expires.since(self.0.now()))
    }
}

const SHARDS: usize = 64;

/// Which entries an account has in memory, so that a purge needn't walk through all. It may miss
/// one that is put in at the very moment its predecessor is evicted; the epoch covers that.
struct Accounts(Vec<Mutex<HashMap<[u8; 16], HashSet<HashBinary>>>>);

impl Accounts {
    fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    fn shard(
        &self,
        account: &[u8; 16],
    ) -> Option<MutexGuard<'_, HashMap<[u8; 16], HashSet<HashBinary>>>> {
        let [.., last] = *account;
        let shard = self.0.get(usize::from(last) % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, account: [u8; 16], hash: HashBinary) {
        if let Some(mut shard) = self.shard(&account) {
            shard.entry(account).or_default().insert(hash);
        }
    }

    fn remove(&self, account: &[u8; 16], hash: &HashBinary) {
        let Some(mut shard) = self.shard(account) else { return };
        if let Some(hashes) = shard.get_mut(account) {
            hashes.remove(hash);
            if hashes.is_empty() {
                shard.remove(account);
            }
        }
    }

    fn hashes(&self, account: &[u8; 16]) -> Vec<HashBinary> {
        let shard = self.shard(account);
        shard
            .and_then(|shard| shard.get(account).map(|hashes| hashes.iter().copied().collect()))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ManualClock;
    use crate::vault::testing::{HOUR, NOW, entry};

    fn memory(capacity: u64) -> Memory {
        Memory::new(capacity, Arc::new(ManualClock::at(NOW)), Arc::default())
    }

    #[test]
    fn memory_stays_within_its_bound_under_a_flood_and_keeps_the_newest() {
        let memory = memory(1 << 20);
        for number in 0..2000 {
            memory.insert(Arc::new(entry(number, 4096)));
        }
        let (bytes, entries) = memory.size();
        assert!(bytes <= 1 << 20, "{bytes}");
        assert!(entries > 100, "{entries}");
        assert!(memory.get(&entry(1999, 0).place.hash).is_some());
        assert!(memory.get(&entry(0, 0).place.hash).is_none());
        let indexed: usize =
            memory.tier.load().accounts.0.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(indexed as u64 <= entries, "the index outgrew the entries: {indexed}");
    }

    #[test]
    fn a_smaller_bound_takes_effect_at_once_and_keeps_what_fits() {
        let memory = memory(1 << 20);
        (0..100).for_each(|number| memory.insert(Arc::new(entry(number, 4096))));
        memory.resize(64 << 10);
        let (bytes, entries) = memory.size();
        assert!(bytes <= 64 << 10, "{bytes}");
        assert!(entries > 0);
        memory.resize(1 << 20);
        memory.insert(Arc::new(entry(200, 4096)));
        assert_eq!(memory.size().1, entries + 1);
    }

    #[test]
    fn an_account_is_removed_alone() {
        let memory = memory(1 << 20);
        (0..10).for_each(|number| memory.insert(Arc::new(entry(number, 10))));
        let account = entry(3, 0).place.account;
        assert_eq!(memory.remove(&Scope::Account(account)).len(), 1);
        assert!(memory.get(&entry(3, 0).place.hash).is_none());
        assert!(memory.get(&entry(4, 0).place.hash).is_some());
        assert_eq!(memory.of_account(&AccountKey::from_bytes(account)).len(), 0);
        assert_eq!(memory.remove(&Scope::All).len(), 9);
    }

    #[test]
    fn an_entry_leaves_memory_when_it_is_over() {
        let clock = Arc::new(ManualClock::at(NOW));
        let lifetime = Lifetime(clock.clone());
        let entry = Arc::new(entry(1, 10));
        let left = || lifetime.expire_after_create(&entry.place.hash, &entry, Instant::now());
        assert_eq!(left(), Some(HOUR));
        clock.advance(HOUR / 2);
        assert_eq!(left(), Some(HOUR / 2));
        clock.advance(HOUR);
        assert_eq!(left(), Some(Duration::ZERO));
    }
}
