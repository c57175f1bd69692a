//! Which gateway counts which account.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::claims;
use super::owner::Place;
use super::partition::Partition;
use super::service::Quotas;
use crate::account::AccountKey;
use crate::journal::{Offset, Replay};

impl Quotas {
    /// The number of an account's partition.
    pub fn partition_number(&self, account: &AccountKey) -> u32 {
        account.partition(u32::try_from(self.partitions.len()).unwrap_or(u32::MAX))
    }

    /// The gateway that counts an account, by its name; `None` if nobody does yet.
    pub fn owner_of(&self, account: &AccountKey) -> Option<Arc<str>> {
        self.owner_at(self.partition_of(account)?)
    }

    fn owner_at(&self, partition: &Partition) -> Option<Arc<str>> {
        match partition.place_now() {
            Place::Here => Some(Arc::clone(&self.name)),
            Place::There { owner, .. } => Some(owner),
            Place::Nowhere => None,
        }
    }

    /// Where a partition's uses are counted. Waits, as long as for any answer of the ledger, while
    /// that is nowhere or with `past`: an owner that is known to be none any more, by the offset
    /// of its claim.
    pub async fn locate(&self, partition: u32, past: Option<Offset>) -> Place {
        let Some(partition) = self.partitions.get(partition as usize) else {
            return Place::Nowhere;
        };
        let is_known = |place: &Place| match place {
            Place::Here => true,
            Place::There { epoch, .. } => past.is_none_or(|past| *epoch > past),
            Place::Nowhere => false,
        };
        let mut place = partition.place();
        if is_known(&place.borrow()) {
            return place.borrow().clone();
        }
        let deadline = Instant::now() + self.patience.answer;
        let found = timeout_at(deadline, place.wait_for(is_known)).await;
        found.ok().and_then(Result::ok).map_or(Place::Nowhere, |place| place.clone())
    }

    /// The owner of a partition under a claim can't be reached. The gateways that notice take its
    /// place in the order of their ranks, each a moment after the one before, so that one claim is
    /// enough.
    pub fn take_over(&self, partition: u32, owner: &str, epoch: Offset) {
        let Some(partition) = self.partitions.get(partition as usize) else { return };
        let mut heirs = self.owners();
        heirs.insert(Arc::clone(&self.name));
        heirs.remove(owner);
        let rank = claims::rank(partition.number, &self.name, &heirs);
        partition.take_over(epoch, claims::STEP.saturating_mul(rank));
    }

    /// The gateways that own something, by the names in their claims.
    pub fn owners(&self) -> BTreeSet<Arc<str>> {
        self.partitions.iter().filter_map(|partition| self.owner_at(partition)).collect()
    }

    /// What this gateway calls itself in its claims.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far the journal has been read.
    pub fn replay(&self) -> Replay {
        self.journal.replay()
    }

    /// What is wrong with the journal just now, in words for an operator.
    pub fn trouble(&self) -> Option<String> {
        self.journal.trouble()
    }

    /// Why the ledger can't be asked yet, in words for an operator: true of a start, not of a
    /// journal that fails later.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let replaying = self.partitions.iter().filter(|partition| !partition.is_replayed()).count();
        if replaying > 0 {
            reasons.push(format!("{replaying} quota partitions are still being read"));
        }
        let unread = self.partitions.iter().filter(|partition| !partition.is_replayed());
        reasons.extend(unread.filter_map(|one| one.error()).map(|error| error.to_string()).next());
        let nowhere = self
            .partitions
            .iter()
            .filter(|partition| partition.is_replayed() && partition.place_now() == Place::Nowhere);
        let nowhere = nowhere.count();
        if nowhere > 0 {
            reasons.push(format!("{nowhere} quota partitions have no owner yet"));
        }
        reasons
    }
}
