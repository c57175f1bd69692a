//! When a gateway claims a partition. Claims are safe at any time, so this is etiquette: it keeps
//! gateways from taking partitions from each other to and fro.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};

use super::owner::{Out, Place, Role};
use super::partition::{Partition, TICK};
use crate::observe::ClaimReason;

/// Longest wait between claims after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// First wait before a partition is taken back from a gateway that took it over: it had a reason.
const TAKE_BACK: Duration = Duration::from_secs(2);
/// Longest such wait.
const LONGEST_TAKE_BACK: Duration = Duration::from_secs(60);
/// After so long in possession, what went wrong before is forgotten.
const SETTLED: Duration = Duration::from_secs(30);

/// What one gateway remembers of its claims to a partition.
#[derive(Default)]
pub(super) struct Claims {
    failed: u32,
    not_before: Option<Instant>,
    owning_since: Option<Instant>,
}

impl Claims {
    /// Claims the partition if it is this gateway's by its share or by the log, and it does not
    /// own it.
    pub fn renew(&mut self, partition: &Arc<Partition>) {
        if partition.is_given() {
            return;
        }
        let out = match partition.role_now() {
            Role::Owning { .. } => return self.owning(),
            Role::Claiming { .. } | Role::Settling { .. } => return,
            Role::Out(out) => out,
        };
        self.owning_since = None;
        let place = partition.place_now();
        let mine = place == Place::Here || partition.is_shared_out();
        if !mine || !partition.is_replayed() || self.must_wait(out) {
            return;
        }
        match place {
            // By the log.
            Place::Here => partition.claim(ClaimReason::Resumed),
            Place::Nowhere => partition.claim(ClaimReason::Shared),
            Place::There { owner, .. } => partition.claim_from(owner, ClaimReason::Shared),
        }
    }

    fn owning(&mut self) {
        let since = *self.owning_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SETTLED {
            self.failed = 0;
        }
        self.not_before = None;
    }

    /// Whether it is too early for another claim; each claim makes the next one wait longer.
    fn must_wait(&mut self, out: Out) -> bool {
        let now = Instant::now();
        let wait = |first: Duration, most: Duration, failed: u32| {
            first.saturating_mul(1 << failed.min(6)).min(most)
        };
        if out == Out::Superseded && self.not_before.is_none() {
            self.not_before = Some(now + wait(TAKE_BACK, LONGEST_TAKE_BACK, self.failed));
        }
        if self.not_before.is_some_and(|time| now < time) {
            return true;
        }
        self.failed += 1;
        self.not_before = match out {
            Out::Superseded => None,
            _ => Some(now + wait(TICK, LONGEST_WAIT, self.failed)),
        };
        false
    }
}

/// Between the claims of two gateways that take over from a third: enough for the second to read
/// the first one's claim.
pub(super) const STEP: Duration = Duration::from_millis(200);

/// A gateway's place among those that may take a partition over, by rendezvous hashing (Thaler and
/// Ravishankar, 1998): every gateway finds the same order without asking anybody.
pub(super) fn rank(partition: u32, name: &str, heirs: &BTreeSet<Arc<str>>) -> u32 {
    let weight = |name: &str| {
        let text = [&partition.to_be_bytes(), name.as_bytes()].concat();
        digest(&SHA256, &text).as_ref().to_vec()
    };
    let own = weight(name);
    let before = heirs.iter().filter(|heir| weight(heir) > own).count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gateway_finds_the_same_order_and_partitions_differ() {
        let heirs: BTreeSet<Arc<str>> = ["a:1", "b:1", "c:1", "d:1"].map(Arc::from).into();
        let order = |partition| {
            let mut ranks: Vec<u32> = heirs.iter().map(|h| rank(partition, h, &heirs)).collect();
            let order = ranks.clone();
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2, 3]);
            order
        };
        let orders: BTreeSet<Vec<u32>> = (0..16).map(order).collect();
        assert!(orders.len() > 4, "one gateway would inherit everything: {orders:?}");
    }
}
