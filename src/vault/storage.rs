use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::{Error, ErrorType, Result};
use pingora_cache::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget, PurgeType};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, CacheMeta, Storage};

use super::Vault;
use super::change::Scope;
use super::entry::{Entry, StoredMeta};
use super::fill::Fill;
use super::hit::Hit;
use super::key::{EntryName, Lookup, Place, Ticket};
use crate::observe::VaultOperation;

/// No error of the vault's own ever reaches a request: what can't be read is a miss, what can't be
/// kept is given and forgotten.
///
/// Partial writes are not shown to other requests (`support_streaming_partial_write` is false):
/// those that ask for the same answer wait until it is whole, so one composition serves them all,
/// and none of them can be handed the first half of an answer that then fails. When the client
/// that caused a fill goes away, the fill ends with it and the next in line starts again.
#[async_trait]
impl Storage for Vault {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let Some(ticket) = Ticket::of(key) else { return Ok(None) };
        let epoch = self.epochs.now(ticket.name.stripes);
        ticket.looked_up(Lookup { epoch, asked: self.clock.now() });
        let found = self.find(Place::of(key, &ticket.name), &ticket.name, epoch).await;
        ticket.saw(found.as_ref().map(|entry| entry.meta.updated));
        Ok(found.and_then(|entry| self.give(&entry)))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<MissHandler> {
        Ok(Box::new(Fill::begin(self, key, meta)))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        _purge: PurgeType,
        _trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let Some(place) = Place::of_compact(target.key()) else {
            return Ok(PurgeOutcome::NotFound);
        };
        match self.purge(Scope::Entry(place)).await {
            Ok(report) if report.entries == 0 => Ok(PurgeOutcome::NotFound),
            Ok(_) => Ok(PurgeOutcome::Purged(None)),
            Err(error) => {
                Err(Error::because(ErrorType::InternalError, "the purge is not durable", error))
            }
        }
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<bool> {
        let Some(ticket) = Ticket::of(key) else { return Ok(false) };
        let place = Place::of(key, &ticket.name);
        let Some(lookup) = ticket.lookup() else { return Ok(false) };
        let Some(old) = self.peek(place, &ticket.name, lookup.epoch).await else {
            return Ok(false);
        };
        let meta = StoredMeta::take(meta)?;
        let (name, body, expires) = (ticket.name.clone(), old.body.clone(), meta.expires());
        Ok(self.keep(Entry::new(place, name, meta, body, expires, lookup)))
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

impl Vault {
    /// The entry at a place, from memory or else from disk; counts what was found.
    async fn find(&self, place: Place, name: &EntryName, epoch: u64) -> Option<Arc<Entry>> {
        if let Some(entry) = self.in_memory(&place, epoch) {
            self.count(VaultOperation::MemoryHit);
            return Some(entry);
        }
        // A fault has been counted where it happened.
        let found = self.disk.find(place, epoch).await.ok()?;
        // What was read while a purge went on may be what was purged.
        let entry = found.filter(|_| self.epochs.now(name.stripes) == epoch);
        let Some(entry) = entry.map(Arc::new) else {
            self.count(VaultOperation::Miss);
            return None;
        };
        self.count(VaultOperation::DiskHit);
        self.memory.insert(entry.clone());
        Some(entry)
    }

    /// The same without counting or keeping.
    async fn peek(&self, place: Place, name: &EntryName, epoch: u64) -> Option<Arc<Entry>> {
        if let Some(entry) = self.in_memory(&place, epoch) {
            return Some(entry);
        }
        let found = self.disk.find(place, epoch).await.ok()?;
        found.filter(|_| self.epochs.now(name.stripes) == epoch).map(Arc::new)
    }

    pub(super) fn in_memory(&self, place: &Place, epoch: u64) -> Option<Arc<Entry>> {
        let entry = self.memory.get(&place.hash).or_else(|| self.disk.waiting(&place.hash))?;
        if entry.epoch != epoch || entry.is_over(self.clock.now()) {
            self.memory.forget(&place.hash);
            return None;
        }
        Some(entry)
    }

    fn give(&self, entry: &Entry) -> Option<(CacheMeta, HitHandler)> {
        let meta = entry.meta.give().inspect_err(|error| {
            tracing::warn!(%error, "a kept answer has no usable meta");
        });
        Some((meta.ok()?, Box::new(Hit::new(entry.body.clone()))))
    }

    /// Keeps an entry, unless a purge has come since its lookup.
    pub(super) fn keep(&self, mut entry: Entry) -> bool {
        if let Some(feed) = &self.feed {
            // As long as the other gateways do.
            entry.expires = entry.expires.min(entry.asked.plus(feed.kafka.cache_retention));
        }
        if self.epochs.now(entry.name.stripes) != entry.epoch {
            return false;
        }
        let entry = Arc::new(entry);
        // Before memory: whoever finds it in neither must be able to rely on the disk's queue.
        self.disk.put(entry.clone());
        self.memory.insert(entry);
        self.count(VaultOperation::Stored);
        true
    }
}
