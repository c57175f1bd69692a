//! Which gateway counts which account.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::claims;
use super::owner::Place;
use super::partition::Partition;
use super::service::Quotas;
use crate::account::AccountKey;
use crate::journal::{Offset, Replay};

/// Milliseconds by which clocks may differ without a word. `tollgate kafka check` holds to the same.
const CLOCKS: u64 = 1000;

fn clock_trouble(ahead: i64) -> Option<String> {
    let seconds = Duration::from_millis(ahead.unsigned_abs()).as_secs_f64();
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    (ahead.unsigned_abs() > CLOCKS).then(|| {
        format!(
            "this machine's clock is {seconds:.1} s {side} Kafka's: quota windows begin and end \
             by it; see that NTP keeps both"
        )
    })
}

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
        if partition.is_damaged() {
            return Place::Nowhere;
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

    /// What is wrong with the journal as a whole just now, in words for an operator.
    pub fn trouble(&self) -> Option<String> {
        self.journal.trouble()
    }

    /// All that is wrong though quotas are kept, in words for an operator.
    pub fn degraded(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self.trouble().into_iter().collect();
        let damaged = self.partitions.iter().filter(|partition| partition.is_damaged());
        wrong.extend(damaged.filter_map(|one| one.error()).map(|error| error.to_string()));
        if self.others.has_namesake() {
            wrong.push(format!(
                "another process claims under the name {}: each gateway needs a \
                 `fleet.advertise` of its own",
                self.name
            ));
        }
        wrong.extend(clock_trouble(self.journal.clock_ahead()));
        wrong
    }

    /// Why the ledger can't be asked yet, in words for an operator: true of a start, not of a
    /// journal that fails later.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        // One that is damaged is read on by nobody, however often it is begun: the others go on.
        let unread: Vec<_> = self
            .partitions
            .iter()
            .filter(|partition| !partition.is_replayed() && !partition.is_damaged())
            .collect();
        if !unread.is_empty() {
            reasons.push(format!("{} quota partitions are still being read", unread.len()));
        }
        reasons.extend(
            unread.iter().filter_map(|one| one.error()).map(|error| error.to_string()).next(),
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_of_from_a_second_on() {
        assert_eq!(clock_trouble(1000), None);
        assert_eq!(clock_trouble(-1000), None);
        assert!(clock_trouble(61_500).unwrap().contains("61.5 s ahead of"));
        assert!(clock_trouble(-1_001).unwrap().contains("1.0 s behind"));
    }
}
