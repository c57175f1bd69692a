//! The owner: the state machine by which a gateway owns one partition, and admits. Pure: events
//! in, effects out; it does no I/O and asks no clock. The log decides:
//!
//! 1. To own the partition, append a claim and read the partition past it. The claim's offset is
//!    the epoch. Then append a mark and read past that too: compaction may have removed a record
//!    before the claim, not read yet, in favour of a void one of the same key behind the claim.
//!    Whatever was removed before the claim was read stands before the mark.
//! 2. To admit, append a use under that epoch and wait until it is *read back* with no newer claim
//!    before it. That the journal confirmed the append is not enough: a newer claim may stand
//!    before it, whose owner has not seen it.
//! 3. Every use counts, void ones too ([`Ledger`]).
//!
//! After a write of which it isn't known whether it happened, the epoch is over: nothing else is
//! written under it, so that the write, should it turn up late, can't replace a newer record of
//! the same key. A new claim starts afresh, with the lost write counted or not as the log says.

mod decide;
mod desk;
mod event;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::event::{
    Answer, Ask, Bounds, Effect, Event, Held, Now, Out, Role, Standing, Waiter, Wants, Why,
};

use self::decide::{admit, decide, moment, standing, start_round, tell};
use self::desk::Desk;
use super::ledger::Ledger;
use super::window::Terms;
use crate::journal::{AccountBytes, Bucket, Claim, Horizon, Offset, Period, Record, Use};
use crate::request::UnixMillis;

/// Buckets with something under way at most. Reached only when nothing can be written for long;
/// uses beyond it that a rule allows all the same are not counted.
const MOST_DESKS: usize = 65_536;

/// One gateway's part in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner<T> {
    name: Arc<str>,
    bounds: Bounds,
    ledger: Ledger,
    role: Role,
    desks: BTreeMap<Bucket, Desk<T>>,
    /// Records of uses on their way.
    outstanding: usize,
    /// The latest horizon that it sent: those of an epoch must rise also while they are on their
    /// way and the clock steps back.
    swept: UnixMillis,
    /// When a record was last read, or the first of those on their way was sent.
    quiet_since: Duration,
}

impl<T: Waiter> Owner<T> {
    /// An owner of nothing yet, which has read nothing.
    pub fn new(name: Arc<str>, bounds: Bounds) -> Self {
        Self {
            name,
            bounds,
            ledger: Ledger::default(),
            role: Role::Out(Out::Idle),
            desks: BTreeMap::new(),
            outstanding: 0,
            swept: UnixMillis(0),
            quiet_since: Duration::ZERO,
        }
    }

    /// The fold of all that was read.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What it is to the partition.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Records of uses on their way.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.desks.is_empty()
    }

    /// Where a bucket stands by the fold alone.
    pub fn standing(&self, bucket: &Bucket, terms: &Terms, now: UnixMillis) -> Standing {
        let floor = self.desks.get(bucket).map_or(UnixMillis(0), Desk::floor);
        standing(&self.ledger, bucket, terms, floor.max(now))
    }

    /// Takes an event in, and says what is to be done.
    pub fn step(&mut self, event: Event<T>, now: Now) -> Vec<Effect<T>> {
        let mut effects = Vec::new();
        if !matches!(event, Event::Read(..)) {
            self.fence(now, &mut effects);
        }
        match event {
            Event::Claim { nonce } => self.claim(nonce, now, &mut effects),
            Event::Read(offset, record) => self.read(offset, &record, now, &mut effects),
            Event::NotWritten(record) => self.not_written(&record, &mut effects),
            Event::Unsure(record) => self.unsure(&record, &mut effects),
            Event::Ask(ask) => self.ask(ask, now, &mut effects),
            Event::Owe(bucket, terms) => self.owe(bucket, &terms, now, &mut effects),
            Event::Refund(held) => self.refund(held, now, &mut effects),
            Event::Reset(bucket, waiter) => self.reset(bucket, waiter, now, &mut effects),
            Event::Sweep(ended) => self.sweep(ended, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
            Event::Halt => self.leave(Out::Halted, &mut effects),
        }
        effects
    }

    /// Something is on its way and nothing comes back: others may have taken the partition, and
    /// this gateway may have been asleep.
    fn fence(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        if now.steady.saturating_sub(self.quiet_since) < self.bounds.silence {
            return;
        }
        match self.role {
            Role::Owning { .. } if self.outstanding > 0 => self.leave(Out::Silent, effects),
            Role::Claiming { .. } | Role::Settling { .. } => {
                self.leave(Out::ClaimFailed, effects);
            }
            Role::Owning { .. } | Role::Out(_) => {}
        }
    }

    fn claim(&mut self, nonce: u128, now: Now, effects: &mut Vec<Effect<T>>) {
        if matches!(self.role, Role::Out(_)) {
            self.role = Role::Claiming { nonce };
            self.quiet_since = now.steady;
            let owner = Arc::clone(&self.name);
            effects.push(Effect::Append(Record::Claim(Claim { owner, nonce })));
        }
    }

    fn read(&mut self, offset: Offset, record: &Record, now: Now, effects: &mut Vec<Effect<T>>) {
        self.ledger.apply(offset, record);
        self.quiet_since = now.steady;
        self.leave_to_newer(record, effects);
        match record {
            Record::Claim(claim) => self.read_claim(offset, claim, effects),
            Record::Use(used) => self.read_use(used, now, effects),
            Record::Horizon(mark) => self.read_mark(mark, now, effects),
        }
    }

    /// A record of a later epoch proves a newer claim, even one that was not delivered.
    fn leave_to_newer(&mut self, record: &Record, effects: &mut Vec<Effect<T>>) {
        let theirs = match record {
            Record::Use(used) => used.epoch,
            Record::Horizon(mark) => mark.epoch,
            Record::Claim(_) => return,
        };
        if let Role::Settling { epoch } | Role::Owning { epoch } = self.role
            && theirs > epoch
        {
            self.leave(Out::Superseded, effects);
        }
    }

    fn read_mark(&mut self, mark: &Horizon, now: Now, effects: &mut Vec<Effect<T>>) {
        if self.role == (Role::Settling { epoch: mark.epoch }) {
            self.role = Role::Owning { epoch: mark.epoch };
            self.move_all(now, effects);
        }
    }

    fn read_claim(&mut self, offset: Offset, claim: &Claim, effects: &mut Vec<Effect<T>>) {
        match self.role {
            Role::Claiming { nonce } if nonce == claim.nonce => {
                self.role = Role::Settling { epoch: offset };
                let mark = Horizon { epoch: offset, ended: self.ledger.horizon() };
                effects.push(Effect::Append(Record::Horizon(mark)));
            }
            Role::Settling { .. } | Role::Owning { .. } => self.leave(Out::Superseded, effects),
            // Another's claim, or one of this gateway's that it had given up.
            Role::Claiming { .. } | Role::Out(_) => {}
        }
    }

    /// Admits those whose record this is. The newest claim before it is this owner's, or it would
    /// have left when it read the newer one.
    fn read_use(&mut self, used: &Use, now: Now, effects: &mut Vec<Effect<T>>) {
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
        self.advance(&used.bucket, now, effects);
    }

    fn ask(&mut self, ask: Ask<T>, now: Now, effects: &mut Vec<Effect<T>>) {
        if matches!(self.role, Role::Out(_)) {
            effects.push(Effect::Answer(ask.waiter, Answer::Unavailable(Why::NotOwner)));
            return;
        }
        let bucket = ask.bucket.clone();
        self.desks.entry(bucket.clone()).or_default().queue.push_back(ask);
        self.advance(&bucket, now, effects);
    }

    fn owe(&mut self, bucket: Bucket, terms: &Terms, now: Now, effects: &mut Vec<Effect<T>>) {
        let full = self.ledger.entries() >= self.bounds.entries;
        if full || self.desks.len() >= MOST_DESKS {
            return;
        }
        let counted = self.ledger.bucket(&bucket);
        let desk = self.desks.entry(bucket.clone()).or_default();
        let at = moment(&self.ledger, counted, now.wall).max(desk.floor());
        desk.lane(terms.period(at, counted.len()), counted.round()).next.serve();
        self.advance(&bucket, now, effects);
    }

    /// Under whichever epoch is this owner's now: sums go over epochs, so it need not be the one
    /// that admitted.
    fn refund(&mut self, held: Held, now: Now, effects: &mut Vec<Effect<T>>) {
        let over = held.period.ends <= now.wall.max(self.ledger.horizon());
        let reset = self.ledger.bucket(&held.bucket).round() > held.round;
        if over || reset || self.desks.len() >= MOST_DESKS {
            return;
        }
        let desk = self.desks.entry(held.bucket.clone()).or_default();
        let lane = desk.lane(held.period, held.round);
        lane.next.refunds = lane.next.refunds.saturating_add(1);
        self.advance(&held.bucket, now, effects);
    }

    /// Opens the bucket's next round with an empty record. It lasts as long as all that it
    /// replaces, so that nothing of that can outlive it, and keeps their latest start, so that no
    /// period is opened anew.
    fn reset(&mut self, bucket: Bucket, waiter: T, now: Now, effects: &mut Vec<Effect<T>>) {
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
        self.advance(&bucket, now, effects);
    }

    fn sweep(&mut self, ended: UnixMillis, effects: &mut Vec<Effect<T>>) {
        let Role::Owning { epoch } = self.role else { return };
        if ended > self.swept.max(self.ledger.horizon()) && self.ledger.has_ended(ended) {
            self.swept = ended;
            effects.push(Effect::Append(Record::Horizon(Horizon { epoch, ended })));
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let over = now.wall.max(self.ledger.horizon());
        for desk in self.desks.values_mut() {
            desk.drop_ended(over);
        }
        let long_ago = now.steady.checked_sub(self.bounds.silence);
        if long_ago.is_some_and(|sent| self.desks.values().any(|desk| desk.waits_since(sent))) {
            self.leave(Out::Silent, effects);
        }
        self.move_all(now, effects);
    }

    fn not_written(&mut self, record: &Record, effects: &mut Vec<Effect<T>>) {
        match record {
            Record::Claim(claim) => self.claim_failed(claim, effects),
            Record::Use(used) => self.use_not_written(used, effects),
            Record::Horizon(mark) => self.mark_failed(mark, effects),
        }
    }

    fn unsure(&mut self, record: &Record, effects: &mut Vec<Effect<T>>) {
        match record {
            Record::Claim(claim) => self.claim_failed(claim, effects),
            // Unless it was read back after all.
            Record::Use(used) if self.is_on_its_way(used) => self.leave(Out::WriteFailed, effects),
            Record::Use(_) => {}
            Record::Horizon(mark) => self.mark_failed(mark, effects),
        }
    }

    /// Of an owner, the next sweep says it again.
    fn mark_failed(&mut self, mark: &Horizon, effects: &mut Vec<Effect<T>>) {
        if self.role == (Role::Settling { epoch: mark.epoch }) {
            self.leave(Out::ClaimFailed, effects);
        }
    }

    fn claim_failed(&mut self, claim: &Claim, effects: &mut Vec<Effect<T>>) {
        if matches!(self.role, Role::Claiming { nonce } if nonce == claim.nonce) {
            self.leave(Out::ClaimFailed, effects);
        }
    }

    fn is_on_its_way(&self, used: &Use) -> bool {
        let mine = matches!(self.role, Role::Owning { epoch } if epoch == used.epoch);
        let lane = self
            .desks
            .get(&used.bucket)
            .and_then(|desk| desk.lanes.get(&(used.period, used.round)));
        mine && lane.is_some_and(|lane| lane.flight.is_some())
    }

    /// Who waited is told; what was served or given back goes with the next record, at the next
    /// tick rather than at once, since the journal is in trouble.
    fn use_not_written(&mut self, used: &Use, effects: &mut Vec<Effect<T>>) {
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

    /// Stops owning. Who waits is told. What was served without waiting is counted in the next
    /// epoch: twice at worst, if the record on its way turns up. What was being given back isn't
    /// given back again, for the same reason.
    fn leave(&mut self, out: Out, effects: &mut Vec<Effect<T>>) {
        self.role = Role::Out(out);
        self.outstanding = 0;
        for desk in self.desks.values_mut() {
            let queue = std::mem::take(&mut desk.queue);
            tell(queue.into_iter().map(|ask| ask.waiter), Why::NotOwner, effects);
            for lane in desk.lanes.values_mut() {
                if let Some(flight) = lane.flight.take() {
                    lane.next.served = lane.next.served.saturating_add(flight.change.served);
                    let waiters = flight.change.seats.into_iter().map(|seat| seat.waiter);
                    tell(waiters.chain(flight.change.resets), Why::Unsure, effects);
                }
                let seats = std::mem::take(&mut lane.next.seats);
                let waiters = seats.into_iter().map(|seat| seat.waiter);
                let resets = std::mem::take(&mut lane.next.resets);
                tell(waiters.chain(resets), Why::NotOwner, effects);
            }
            desk.tidy();
        }
        self.desks.retain(|_, desk| !desk.is_empty());
    }

    fn move_all(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let buckets: Vec<Bucket> = self.desks.keys().cloned().collect();
        buckets.iter().for_each(|bucket| self.advance(bucket, now, effects));
    }

    /// Decides what can be decided for a bucket and sends what can be sent.
    fn advance(&mut self, bucket: &Bucket, now: Now, effects: &mut Vec<Effect<T>>) {
        let Some(desk) = self.desks.get_mut(bucket) else { return };
        if let Role::Owning { epoch } = self.role {
            decide(&self.ledger, self.bounds, bucket, desk, now, effects);
            let counted = self.ledger.bucket(bucket);
            for lane in desk.lanes.values_mut() {
                if let Some(record) = lane.depart(bucket, epoch, counted, now.steady) {
                    if self.outstanding == 0 {
                        self.quiet_since = now.steady;
                    }
                    self.outstanding += 1;
                    effects.push(Effect::Append(record));
                }
            }
        }
        desk.tidy();
        if desk.is_empty() {
            self.desks.remove(bucket);
        }
    }

    /// Labels of an account's buckets that have counts.
    pub fn buckets(&self, account: &AccountBytes) -> Vec<Bucket> {
        let found = self.ledger.account(account);
        found.into_iter().map(|(label, _)| Bucket { account: *account, label }).collect()
    }
}
