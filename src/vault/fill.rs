use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Result;
use pingora_cache::storage::{HandleMiss, MissFinishType};
use pingora_cache::{CacheKey, CacheMeta};

use super::Vault;
use super::entry::{Entry, StoredMeta};
use super::key::{EntryName, Lookup, Place, Ticket};
use crate::observe::VaultOperation;

/// Collects an answer while it goes by. An answer that can't be kept goes by all the same: the
/// fill lets go of what it has and takes no more.
pub(super) struct Fill {
    vault: &'static Vault,
    /// `None` once it is given up.
    open: Option<Open>,
}

struct Open {
    place: Place,
    name: Arc<EntryName>,
    lookup: Lookup,
    meta: StoredMeta,
    body: Vec<u8>,
    reserved: Reserved,
}

impl Fill {
    pub(super) fn begin(vault: &'static Vault, key: &CacheKey, meta: &CacheMeta) -> Self {
        let open = Ticket::of(key).and_then(|ticket| {
            Some(Open {
                place: Place::of(key, &ticket.name),
                name: ticket.name.clone(),
                lookup: ticket.lookup()?,
                meta: StoredMeta::take(meta).ok()?,
                body: Vec::new(),
                reserved: Reserved { budget: vault.fills.clone(), bytes: 0 },
            })
        });
        Self { vault, open }
    }

    fn give_up(&mut self, why: VaultOperation) {
        self.open = None;
        self.vault.count(why);
    }
}

#[async_trait]
impl HandleMiss for Fill {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if (open.body.len() + data.len()) as u64 > self.vault.max_entry() {
            self.give_up(VaultOperation::TooLarge);
        } else if !open.reserved.more(data.len() as u64) {
            self.give_up(VaultOperation::Evicted);
        } else {
            // Copied, because the piece may be a small part of a large read buffer.
            open.body.extend_from_slice(&data);
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<MissFinishType> {
        let Some(Open { place, name, lookup, mut meta, body, reserved }) = self.open else {
            return Ok(MissFinishType::Created(0));
        };
        let size = body.len();
        if !meta.agrees_with(size) {
            return Ok(MissFinishType::Created(0));
        }
        // Before the header gets a tag of ours, which the backend could not validate.
        let expires = meta.expires();
        meta.complete(&body)?;
        let body = Bytes::from(body.into_boxed_slice());
        self.vault.keep(Entry::new(place, name, meta, body, expires, lookup));
        drop(reserved);
        Ok(MissFinishType::Created(size))
    }
}

/// Bounds the memory of all fills together, however many clients ask at once.
#[derive(Debug)]
pub(super) struct Budget {
    bound: AtomicU64,
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(bound: u64) -> Arc<Self> {
        Arc::new(Self { bound: AtomicU64::new(bound), used: AtomicU64::new(0) })
    }

    pub(super) fn set_bound(&self, bound: u64) {
        self.bound.store(bound, Ordering::Relaxed);
    }
}

/// What one fill has taken of the budget; given back when it ends, however it ends.
struct Reserved {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reserved {
    fn more(&mut self, bytes: u64) -> bool {
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        used <= self.budget.bound.load(Ordering::Relaxed)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
