//! When a gateway claims a partition. Claims are safe at any time, so this is etiquette: it keeps
//! gateways from taking partitions from each other to and fro.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};

use super::owner::{Out, Place, Role};
use super::partition::{Partition, TICK};
use crate::journal::Offset;
use crate::observe::ClaimReason;

/// Longest wait between claims after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// First wait before a partition is taken back from a gateway that took it over: it had a reason.
const TAKE_BACK: Duration = Duration::from_secs(2);
/// Longest such wait.
const LONGEST_TAKE_BACK: Duration = Duration::from_secs(60);
/// After so long in possession, what went wrong before is forgotten.
const SETTLED: Duration = Duration::from_secs(30);

/// Before a claim that could not be renewed is renewed again: uses were still on their way.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// After so long without being overruled, it is forgotten that it happened.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// What one gateway remembers of its claims to a partition.
pub(super) struct Claims {
    /// The age at which a claim is made anew.
    renewal: Option<Duration>,
    failed: u32,
    not_before: Option<Instant>,
    owning: Option<Owning>,
}

struct Owning {
    epoch: Offset,
    since: Instant,
    renewed: Option<Instant>,
}

impl Claims {
    /// None yet. `renewal`: the age at which a claim is made anew, in a journal that doesn't keep it
    /// for good.
    pub fn new(renewal: Option<Duration>) -> Self {
        Self { renewal, failed: 0, not_before: None, owning: None }
    }

    /// Claims the partition if it is this gateway's by its share or by the log, and it does not
    /// own it.
    pub fn renew(&mut self, partition: &Arc<Partition>) {
        if partition.is_given() {
            return;
        }
        let out = match partition.role_now() {
            Role::Owning { epoch } => return self.own(partition, epoch),
            Role::Claiming { .. } | Role::Settling { .. } => return,
            Role::Out(out) => out,
        };
        self.owning = None;
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

    fn own(&mut self, partition: &Arc<Partition>, epoch: Offset) {
        self.not_before = None;
        let now = Instant::now();
        let fresh = || Owning { epoch, since: now, renewed: None };
        let owning = match &mut self.owning {
            Some(owning) if owning.epoch == epoch => owning,
            other => other.insert(fresh()),
        };
        let age = now.duration_since(owning.since);
        if age >= SETTLED {
            self.failed = 0;
        }
        let tried = owning.renewed.is_some_and(|time| now.duration_since(time) < RENEW_AGAIN);
        if !tried && self.renewal.is_some_and(|renewal| age >= renewal) {
            owning.renewed = Some(now);
            partition.claim_anew();
        }
    }

    /// Whether it is too early for another claim; each claim makes the next one wait longer.
    fn must_wait(&mut self, out: Out) -> bool {
        let now = Instant::now();
        let taken = matches!(out, Out::Superseded | Out::HandedOver);
        if taken && self.not_before.is_none() {
            self.not_before = Some(now + wait(TAKE_BACK, LONGEST_TAKE_BACK, self.failed));
        }
        if self.not_before.is_some_and(|time| now < time) {
            return true;
        }
        self.failed += 1;
        self.not_before = (!taken).then(|| now + wait(TICK, LONGEST_WAIT, self.failed));
        false
    }
}

fn wait(first: Duration, most: Duration, failed: u32) -> Duration {
    first.saturating_mul(1 << failed.min(6)).min(most)
}

/// Keeps two gateways that can't reach each other from taking a partition from each other with
/// every request, which would make void what is under way each time.
#[derive(Debug, Default)]
pub(super) struct Restraint {
    times: u32,
    last: Option<Instant>,
}

impl Restraint {
    /// Another gateway has claimed, unasked, what this one had taken by force.
    pub fn overruled(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.duration_since(last) >= FORGOTTEN) {
            self.times = 0;
        }
        self.times = self.times.saturating_add(1);
        self.last = Some(now);
    }

    /// Whether it is too early to take it back by force.
    pub fn holds(&self, now: Instant) -> bool {
        let pause = wait(TAKE_BACK, LONGEST_TAKE_BACK, self.times.saturating_sub(1));
        self.last.is_some_and(|last| now.duration_since(last) < pause)
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
    fn each_time_a_gateway_is_overruled_it_waits_longer_and_forgets_in_the_end() {
        let mut restraint = Restraint::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!restraint.holds(at(0)));
        restraint.overruled(at(0));
        assert!(restraint.holds(at(1)) && !restraint.holds(at(2)));
        restraint.overruled(at(2));
        assert!(restraint.holds(at(5)) && !restraint.holds(at(6)));
        (0..9).for_each(|round| restraint.overruled(at(10 + round)));
        assert!(restraint.holds(at(77)) && !restraint.holds(at(78)));
        restraint.overruled(at(300));
        assert!(!restraint.holds(at(302)));
    }

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
