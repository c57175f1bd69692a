//! An owner's dealings with buckets: asks, refunds, resets, and the records that carry them.

use super::decide::{Verdict, admit, decide, judge, moment, start_round, tell};
use super::desk::{Desk, Lane, Pace};
use super::event::{Answer, Ask, Effect, Held, Now, Place, Role, Waiter, Why};
use super::{MOST_DESKS, Owner};
use crate::journal::{Bucket, Period, Use};
use crate::quota::window::Terms;

impl<T: Waiter> Owner<T> {
    pub(super) fn ask(&mut self, ask: Ask<T>, now: Now, effects: &mut Vec<Effect<T>>) {
        if matches!(self.role, Role::Out(_)) {
            effects.push(Effect::Answer(ask.waiter, Answer::Unavailable(Why::NotOwner)));
            return;
        }
        let bucket = ask.bucket.clone();
        self.desks.entry(bucket.clone()).or_default().queue.push_back(ask);
        self.advance(&bucket, Pace::Gather, now, effects);
    }

    /// Answers at once one who asks for a use, where that can be decided without a record: the
    /// limit is reached, or the rule lets uses go unconfirmed. `None`: [`Event::Ask`] for it.
    pub fn ask_now(
        &mut self,
        bucket: &Bucket,
        terms: &Terms,
        now: Now,
    ) -> (Option<Answer>, Vec<Effect<T>>) {
        let mut effects = Vec::new();
        self.fence(now, &mut effects);
        let answer = self.decide_now(bucket, terms, now);
        if let Some(Answer::Admitted(..)) = answer {
            self.advance(bucket, Pace::Gather, now, &mut effects);
        }
        (answer, effects)
    }

    fn decide_now(&mut self, bucket: &Bucket, terms: &Terms, now: Now) -> Option<Answer> {
        let decides = matches!(self.role, Role::Owning { .. }) && self.handing_over.is_none();
        if !decides || terms.unconfirmed.is_none() {
            return None;
        }
        let counted = self.ledger.bucket(bucket);
        let none = Desk::default();
        let desk = self.desks.get(bucket).unwrap_or(&none);
        // Who came first is decided first.
        if !desk.queue.is_empty() || desk.is_resetting() {
            return None;
        }
        match judge(&self.ledger, self.bounds, counted, desk, terms, now) {
            Verdict::Exceeded(standing) => Some(Answer::Exceeded(standing)),
            Verdict::Full => Some(Answer::Unavailable(Why::Full)),
            Verdict::Wait | Verdict::Next(_) => None,
            Verdict::Serve(period, standing, allowed) => {
                let desk = self.desks.entry(bucket.clone()).or_default();
                let lane = desk.lane(period, counted.round());
                lane.next.serve_within(allowed);
                Some(Answer::Admitted(lane.held(bucket), standing))
            }
        }
    }

    pub(super) fn owe(
        &mut self,
        bucket: Bucket,
        terms: &Terms,
        now: Now,
        effects: &mut Vec<Effect<T>>,
    ) {
        let full = self.ledger.entries() >= self.bounds.entries;
        if full || self.desks.len() >= MOST_DESKS {
            return;
        }
        let counted = self.ledger.bucket(&bucket);
        let desk = self.desks.entry(bucket.clone()).or_default();
        let at = moment(&self.ledger, counted, now.wall).max(desk.floor());
        desk.lane(terms.period(at, counted.len()), counted.round()).next.serve();
        self.advance(&bucket, Pace::Gather, now, effects);
    }

    /// Under whichever epoch is this owner's now: sums go over epochs, so it need not be the one
    /// that admitted.
    pub(super) fn refund(&mut self, held: Held, now: Now, effects: &mut Vec<Effect<T>>) {
        self.settle(&held, 0, 1, now, effects);
    }

    pub(super) fn settle(
        &mut self,
        held: &Held,
        served: u64,
        refunds: u64,
        now: Now,
        effects: &mut Vec<Effect<T>>,
    ) {
        let over = held.period.ends <= now.wall.max(self.ledger.horizon());
        let reset = self.ledger.bucket(&held.bucket).round() > held.round;
        if over || reset || self.desks.len() >= MOST_DESKS {
            return;
        }
        let desk = self.desks.entry(held.bucket.clone()).or_default();
        let lane = desk.lane(held.period, held.round);
        lane.next.served = lane.next.served.saturating_add(served);
        lane.next.refunds = lane.next.refunds.saturating_add(refunds);
        self.advance(&held.bucket, Pace::Gather, now, effects);
    }

    /// Takes out what was served or given back and is not written down, if another gateway is the
    /// one to do that.
    pub fn leftovers(&mut self) -> Vec<(Held, u64, u64)> {
        if !matches!(self.place(), Place::There { .. }) {
            return Vec::new();
        }
        let mut left = Vec::new();
        for (bucket, desk) in &mut self.desks {
            for lane in desk.lanes.values_mut() {
                let served = std::mem::take(&mut lane.next.served);
                let refunds = std::mem::take(&mut lane.next.refunds);
                if served > 0 || refunds > 0 {
                    left.push((lane.held(bucket), served, refunds));
                }
            }
            desk.tidy();
        }
        self.desks.retain(|_, desk| !desk.is_empty());
        left
    }

    /// Opens the bucket's next round with an empty record. It lasts as long as all that it
    /// replaces, so that nothing of that can outlive it, and keeps their latest start, so that no
    /// period is opened anew.
    pub(super) fn reset(
        &mut self,
        bucket: Bucket,
        waiter: T,
        now: Now,
        effects: &mut Vec<Effect<T>>,
    ) {
        if matches!(self.role, Role::Out(_)) {
            effects.push(Effect::Answer(waiter, Answer::Unavailable(Why::NotOwner)));
            return;
        }
        let counted = self.ledger.bucket(&bucket);
        if counted.is_empty() {
            effects.push(Effect::Answer(waiter, Answer::Reset));
            return;
        }
        let round = counted.round().saturating_add(1);
        let desk = self.desks.entry(bucket.clone()).or_default();
        let start = counted.floor().max(desk.floor());
        let period = Period { start, ends: counted.ends().max(desk.ends()) };
        desk.lane(period, round).next.resets.push(waiter);
        self.advance(&bucket, Pace::Gather, now, effects);
    }

    /// Admits those whose record this is. The newest claim before it is this owner's, or it would
    /// have left when it read the newer one.
    pub(super) fn read_use(&mut self, used: &Use, now: Now, effects: &mut Vec<Effect<T>>) {
        let Some(desk) = self.desks.get_mut(&used.bucket) else { return };
        let round = self.ledger.bucket(&used.bucket).round();
        if round == used.round {
            start_round(&used.bucket, desk, round, effects);
        }
        let mine = matches!(self.role, Role::Owning { epoch } if epoch == used.epoch);
        // Compaction may have removed the very record; one that says at least as much, at a place
        // where no newer claim was read, confirms it as well.
        let found = desk.take_flight(used, |flight| {
            mine && used.admitted >= flight.admitted && used.refunded >= flight.refunded
        });
        let Some((lane, flight)) = found else { return };
        self.outstanding = self.outstanding.saturating_sub(1);
        let held = lane.held(&used.bucket);
        admit(&self.ledger, &held, flight.change, now.wall, effects);
        self.advance(&used.bucket, Pace::Gather, now, effects);
    }

    pub(super) fn is_on_its_way(&self, used: &Use) -> bool {
        let mine = matches!(self.role, Role::Owning { epoch } if epoch == used.epoch);
        let lane = self
            .desks
            .get(&used.bucket)
            .and_then(|desk| desk.lanes.get(&(used.period, used.round)));
        mine && lane.is_some_and(|lane| lane.flight.is_some())
    }

    /// Who waited is told; what was served or given back goes with the next record, at the next
    /// tick rather than at once, since the journal is in trouble.
    pub(super) fn use_not_written(&mut self, used: &Use, effects: &mut Vec<Effect<T>>) {
        if !self.is_on_its_way(used) {
            return;
        }
        let Some(desk) = self.desks.get_mut(&used.bucket) else { return };
        let Some((lane, flight)) = desk.take_flight(used, |_| true) else { return };
        self.outstanding = self.outstanding.saturating_sub(1);
        lane.next.served = lane.next.served.saturating_add(flight.change.served);
        lane.next.refunds = lane.next.refunds.saturating_add(flight.change.refunds);
        let waiters = flight.change.seats.into_iter().map(|seat| seat.waiter);
        tell(waiters.chain(flight.change.resets), Why::NotWritten, effects);
        let queue = std::mem::take(&mut desk.queue);
        tell(queue.into_iter().map(|ask| ask.waiter), Why::NotWritten, effects);
        desk.tidy();
    }

    /// Decides what can be decided for a bucket and sends what can be sent and is due.
    pub(super) fn advance(
        &mut self,
        bucket: &Bucket,
        pace: Pace,
        now: Now,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Some(desk) = self.desks.get_mut(bucket) else { return };
        desk.gathers &= pace == Pace::Gather;
        if let Role::Owning { epoch } = self.role {
            if self.handing_over.is_none() {
                decide(&self.ledger, self.bounds, bucket, desk, now, effects);
            }
            // Whoever is undecided waits for what is under way; so does the next owner.
            let waited_for = !desk.queue.is_empty() || self.handing_over.is_some();
            let pace = if waited_for { Pace::Now } else { pace };
            let counted = self.ledger.bucket(bucket);
            for lane in desk.lanes.values_mut() {
                if let Some(record) = lane.depart(bucket, epoch, counted, pace, now.steady) {
                    if self.outstanding == 0 {
                        self.quiet_since = now.steady;
                    }
                    self.outstanding += 1;
                    effects.push(Effect::Append(record));
                }
            }
            if !desk.gathers && desk.lanes.values().any(Lane::is_held_back) {
                desk.gathers = true;
                if self.gathering.is_empty() {
                    effects.push(Effect::Gather);
                }
                self.gathering.push(bucket.clone());
            }
        }
        desk.tidy();
        if desk.is_empty() {
            self.desks.remove(bucket);
        }
    }
}
