use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::key::Key;
use crate::config::model::Concurrency;
use crate::request::Refusal;

/// Locks are shared out over this many maps.
const SHARDS: usize = 64;

/// How many requests are in progress under one bound.
///
/// Memory is bounded by the requests in progress: a key that has none isn't kept.
pub(super) struct InProgress {
    name: Arc<str>,
    limit: u32,
    places: Places,
}

enum Places {
    One(AtomicU32),
    ByKey(Box<[Mutex<HashMap<Key, u32>>]>),
}

/// A place among the requests in progress; dropping it frees the place.
pub struct Permit {
    bound: Arc<InProgress>,
    key: Option<Key>,
}

impl InProgress {
    pub fn new(bound: &Concurrency) -> Self {
        Self {
            name: bound.name.clone(),
            limit: bound.limit,
            places: match bound.per.is_empty() {
                true => Places::One(AtomicU32::new(0)),
                false => Places::ByKey((0..SHARDS).map(|_| Mutex::default()).collect()),
            },
        }
    }

    /// Takes a place.
    pub fn enter(self: &Arc<Self>, key: Option<Key>) -> Result<Permit, Refusal> {
        let entered = match (&self.places, key) {
            (Places::One(count), _) => count
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                    (count < self.limit).then_some(count + 1)
                })
                .is_ok(),
            (Places::ByKey(shards), Some(key)) => self.enter_shard(shards, key),
            (Places::ByKey(_), None) => false,
        };
        if entered {
            Ok(Permit { bound: self.clone(), key })
        } else {
            Err(Refusal::TooManyInProgress { limit: self.name.clone() })
        }
    }

    fn enter_shard(&self, shards: &[Mutex<HashMap<Key, u32>>], key: Key) -> bool {
        let Some(shard) = shards.get(shard_of(key)) else { return false };
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.entry(key) {
            Entry::Occupied(mut entry) if *entry.get() < self.limit => {
                *entry.get_mut() += 1;
                true
            }
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) if self.limit > 0 => {
                entry.insert(1);
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    fn leave(&self, key: Option<Key>) {
        match (&self.places, key) {
            (Places::One(count), _) => {
                count.fetch_sub(1, Ordering::Relaxed);
            }
            (Places::ByKey(shards), Some(key)) => {
                let Some(shard) = shards.get(shard_of(key)) else { return };
                let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
                if let Entry::Occupied(mut entry) = counts.entry(key) {
                    *entry.get_mut() -= 1;
                    if *entry.get() == 0 {
                        entry.remove();
                    }
                }
            }
            (Places::ByKey(_), None) => {}
        }
    }

    #[cfg(test)]
    pub fn keys(&self) -> usize {
        match &self.places {
            Places::One(_) => 0,
            Places::ByKey(shards) => shards.iter().map(|shard| shard.lock().unwrap().len()).sum(),
        }
    }
}

fn shard_of(key: Key) -> usize {
    usize::try_from(key.0).unwrap_or_default() % SHARDS
}

impl Permit {
    #[cfg(test)]
    pub(super) fn keys_in_bound(&self) -> usize {
        self.bound.keys()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.bound.leave(self.key);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.bound.name)
    }
}
