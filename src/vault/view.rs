use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::Vault;
use super::entry::{Entry, unix_millis};
use crate::account::AccountKey;
use crate::config::model::Visibility;
use crate::request::{RouteId, UnixMillis};

/// A kept answer, for operators. Its content is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// The route that it answers.
    pub route: RouteId,
    /// When it was fetched or last found to be unchanged.
    pub stored_at: UnixMillis,
    /// Until when it is given without asking the backend.
    pub fresh_until: UnixMillis,
    /// Bytes of its body.
    pub bytes: u64,
    /// Who shares it.
    pub visible_to: Visibility,
    /// Where it stands.
    pub tier: Tier,
}

impl EntryView {
    pub(super) fn of(entry: &Entry, tier: Tier) -> Self {
        Self {
            route: entry.name.route.clone(),
            stored_at: unix_millis(entry.meta.updated),
            fresh_until: unix_millis(entry.meta.fresh_until),
            bytes: entry.body.len() as u64,
            visible_to: entry.name.visible_to,
            tier,
        }
    }
}

/// Where a kept answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// In memory alone: not written to disk yet, or the disk could not keep up.
    Memory,
    /// On disk alone: the next request for it brings it back to memory.
    Disk,
    /// In memory and on disk.
    Both,
}

/// The vault's size and troubles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VaultStats {
    /// Bytes of answers in memory, with their headers and what it takes to find them.
    pub memory_bytes: u64,
    /// Answers in memory.
    pub memory_entries: u64,
    /// Bytes written to disk and not thrown away yet.
    pub disk_bytes: u64,
    /// Answers on disk. One that was refreshed may count twice.
    pub disk_entries: u64,
    /// Answers waiting to be written.
    pub queued: u64,
    /// Answers that were not written because the disk could not keep up or was at fault.
    pub not_written: u64,
    /// Faults of the disk, each a miss or a failed write.
    pub faults: u64,
    /// Whether the disk is in use; without it the vault goes on in memory.
    pub disk_available: bool,
}

impl Vault {
    /// What is kept about an account, the newest first; at most a thousand answers of those on
    /// disk.
    pub async fn entries(&self, account: &AccountKey) -> Vec<EntryView> {
        let now = self.clock.now();
        let mut views: HashMap<_, _> = self.disk.of_account(*account).await.into_iter().collect();
        for entry in self.memory.of_account(account) {
            if entry.is_over(now) || self.epochs.now(entry.name.stripes) != entry.epoch {
                continue;
            }
            let tier = if entry.is_on_disk() { Tier::Both } else { Tier::Memory };
            views.insert(entry.place.hash, EntryView::of(&entry, tier));
        }
        let mut views: Vec<_> = views.into_values().collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.stored_at));
        views
    }

    /// Size and troubles.
    pub fn stats(&self) -> VaultStats {
        let shared = self.disk.shared();
        let (memory_bytes, memory_entries) = self.memory.size();
        let (disk_bytes, disk_entries) = self.disk.size();
        VaultStats {
            memory_bytes,
            memory_entries,
            disk_bytes,
            disk_entries,
            queued: shared.queue.len(),
            not_written: shared.not_written.load(Ordering::Relaxed),
            faults: shared.faults_seen.load(Ordering::Relaxed),
            disk_available: shared.table.load().is_some(),
        }
    }
}
