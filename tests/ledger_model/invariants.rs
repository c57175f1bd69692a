//! What must hold after every step.

use std::collections::BTreeMap;

use tollgate::journal::{Offset, Period, Record, Use};
use tollgate::quota::{Held, Ledger};

use crate::fleet::{Fleet, Rules};
use crate::world::{Entry, Gateway, World};

impl World {
    pub fn admitted_at(&mut self, offset: Offset, used: &Use, held: &Held) {
        let before = &self.log[..offset as usize];
        let newest = before.iter().rposition(|entry| matches!(entry.record, Record::Claim(_)));
        if newest.map(|epoch| epoch as Offset) != Some(used.epoch) {
            self.wrong = Some("I5: an epoch admitted after a newer claim");
        }
        self.periods.insert(offset, held.period.start);
        if !self.periods.values().is_sorted() {
            self.wrong = Some("I8: a period went back");
        }
    }

    /// All that was ever written.
    fn fold(&self, keep: impl Fn(&Entry) -> bool) -> Ledger {
        let mut ledger = Ledger::default();
        for (entry, offset) in self.log.iter().zip(0..) {
            if keep(entry) {
                ledger.apply(offset, &entry.record);
            }
        }
        ledger
    }

    pub fn judge(&mut self, fleet: &Fleet) {
        // A fast rule may admit its bound too many for each crash and each change of owner.
        let claims = self.log.iter().filter(|entry| matches!(entry.record, Record::Claim(_)));
        let breaks = (claims.count() as u64).saturating_sub(1) + self.crashed;
        let most = fleet.limit + fleet.fast.unwrap_or(0) * breaks;
        if self.kept.values().any(|kept| *kept > most) {
            self.wrong = Some("I1, I4: one too many was admitted");
        }
        let all = self.fold(|_| true).uses();
        let total = |part: fn(&Use) -> u64| all.iter().map(part).sum::<u64>();
        let (written, given_back) = (total(|used| used.admitted), total(|used| used.refunded));
        // What is neither in the log nor in anybody's memory is lost.
        let at_rest = self.gateways.iter().all(|gateway| gateway.owner.is_idle());
        if let Some(bound) = fleet.fast
            && at_rest
            && self.transit.is_empty()
            && self.admitted.saturating_sub(written) > bound * self.crashed
        {
            self.wrong = Some("I4: more uses were lost than the bound for each crash");
        }
        // Sweeps and resets remove counts from the fold, and fast uses may be counted twice.
        let plain = fleet.sweeps == 0 && fleet.resets == 0 && fleet.fast.is_none();
        if plain && fleet.rules == Rules::All {
            if written < self.admitted {
                self.wrong = Some("I3: an admitted use is not in the log");
            }
            if written > self.asked - self.refused {
                self.wrong = Some("I3: more uses in the log than were asked for");
            }
        }
        if given_back > self.refunded && fleet.rules == Rules::All {
            self.wrong = Some("I6: a use was given back twice");
        }
        if fleet.rules == Rules::All {
            let kept = self.fold(|entry| !entry.compacted).uses();
            let healed = self.gateways.iter().filter(|gateway| gateway.position == self.log.len());
            if kept != all || healed.into_iter().any(|gateway| gateway.owner.ledger().uses() != all)
            {
                self.wrong = Some("I7: a replica differs from the fold");
            }
        }
    }
}

impl Gateway {
    /// The most that counts in one period of the latest round, by the independent fold.
    pub fn shown(&self) -> u64 {
        let round = self.seen.keys().map(|(_, round, _)| *round).max().unwrap_or(0);
        let mut periods: BTreeMap<Period, (u64, u64)> = BTreeMap::new();
        for ((period, of, _), (admitted, refunded)) in &self.seen {
            if *of == round {
                let sum = periods.entry(*period).or_default();
                sum.0 += admitted;
                sum.1 += refunded;
            }
        }
        periods
            .values()
            .map(|(admitted, refunded)| admitted.saturating_sub(*refunded))
            .max()
            .unwrap_or(0)
    }
}
