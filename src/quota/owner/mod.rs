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
mod uses;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::event::{
    Answer, Ask, Bounds, Effect, Event, Held, Now, Out, Place, Role, Standing, Waiter, Wants, Why,
};

use self::decide::{standing, tell};
use self::desk::{Desk, Pace};
use super::ledger::Ledger;
use super::window::Terms;
use crate::journal::{AccountBytes, Bucket, Claim, Horizon, Offset, Record};
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
    /// Buckets with something that waits for the next flush.
    gathering: Vec<Bucket>,
    /// Records of uses on their way.
    outstanding: usize,
    /// The latest horizon that it sent: those of an epoch must rise also while they are on their
    /// way and the clock steps back.
    swept: UnixMillis,
    /// When a record was last read, or the first of those on their way was sent.
    quiet_since: Duration,
    /// Until when nothing new is begun, because another is about to take the partition.
    handing_over: Option<Duration>,
    /// The process that has the partition now, though the log has not heard of it yet.
    given: Option<Arc<str>>,
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
            gathering: Vec::new(),
            outstanding: 0,
            swept: UnixMillis(0),
            quiet_since: Duration::ZERO,
            handing_over: None,
            given: None,
        }
    }

    /// The same owner of nothing, which has read nothing. Who waited is let go of unanswered.
    pub fn anew(&self) -> Self {
        Self::new(Arc::clone(&self.name), self.bounds)
    }

    /// The fold of all that was read.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What it is to the partition.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where the partition's uses are counted. An owner that has stumbled (Kafka or its disk is in
    /// trouble) is still the one that its claim says: nobody else could do better just now.
    pub fn place(&self) -> Place {
        if let Some(owner) = &self.given {
            let epoch = self.ledger.claim().map_or(0, |(epoch, _)| epoch);
            return Place::There { owner: Arc::clone(owner), epoch };
        }
        match (self.role, self.ledger.claim()) {
            (Role::Out(_), Some((epoch, claim))) if claim.owner != self.name => {
                Place::There { owner: Arc::clone(&claim.owner), epoch }
            }
            (Role::Out(_), None) => Place::Nowhere,
            _ => Place::Here,
        }
    }

    /// Records of uses on their way.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.desks.is_empty()
    }

    /// Whether something waits for the next flush.
    pub fn is_gathering(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// Whether uses of a bucket are being given back that the fold doesn't have yet.
    pub fn gives_back(&self, bucket: &Bucket) -> bool {
        self.desks.get(bucket).is_some_and(Desk::gives_back)
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
            Event::Settle(held, served, refunds) => {
                self.settle(&held, served, refunds, now, &mut effects);
            }
            Event::Reset(bucket, waiter) => self.reset(bucket, waiter, now, &mut effects),
            Event::Sweep(ended) => self.sweep(ended, &mut effects),
            Event::HandOver => self.hand_over(now, &mut effects),
            Event::Give(to) => self.give(to, &mut effects),
            Event::TakeBack => {
                (self.given, self.handing_over) = (None, None);
                self.move_all(now, &mut effects);
            }
            Event::Flush => self.flush(now, &mut effects),
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
        let anew = self.handing_over.is_some() && self.outstanding == 0;
        if matches!(self.role, Role::Out(_)) || anew {
            self.handing_over = None;
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
            self.leave(self.overtaken(), effects);
        }
    }

    /// What it is once there is a newer claim.
    fn overtaken(&self) -> Out {
        if self.handing_over.is_some() { Out::HandedOver } else { Out::Superseded }
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
            Role::Settling { .. } | Role::Owning { .. } => self.leave(self.overtaken(), effects),
            // Another's claim, or one of this gateway's that it had given up.
            Role::Claiming { .. } | Role::Out(_) => {}
        }
    }

    fn sweep(&mut self, ended: UnixMillis, effects: &mut Vec<Effect<T>>) {
        let Role::Owning { epoch } = self.role else { return };
        if ended > self.swept.max(self.ledger.horizon()) && self.ledger.has_ended(ended) {
            self.swept = ended;
            effects.push(Effect::Append(Record::Horizon(Horizon { epoch, ended })));
        }
    }

    /// What waits is sent first: whoever comes from now on waits for the next owner.
    fn hand_over(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        if matches!(self.role, Role::Owning { .. }) {
            self.move_all(now, effects);
            self.handing_over = Some(now.steady.saturating_add(self.bounds.hand_over));
        }
    }

    /// Nothing may be on its way: nobody could tell the other process of it.
    fn give(&mut self, to: Arc<str>, effects: &mut Vec<Effect<T>>) {
        if self.outstanding == 0 {
            self.leave(Out::Halted, effects);
            self.given = Some(to);
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let long_ago = now.steady.checked_sub(self.bounds.silence);
        if long_ago.is_some_and(|sent| self.desks.values().any(|desk| desk.waits_since(sent))) {
            self.leave(Out::Silent, effects);
        }
        self.handing_over.take_if(|until| *until <= now.steady);
        self.move_all(now, effects);
        // Whatever can be sent has been.
        let over = now.wall.max(self.ledger.horizon());
        self.desks.retain(|_, desk| {
            desk.drop_ended(over);
            !desk.is_empty()
        });
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

    /// Stops owning. Who waits is told. What was served without waiting is counted in the next
    /// epoch: twice at worst, if the record on its way turns up. What was being given back isn't
    /// given back again, for the same reason.
    fn leave(&mut self, out: Out, effects: &mut Vec<Effect<T>>) {
        self.role = Role::Out(out);
        self.outstanding = 0;
        self.handing_over = None;
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
        self.gathering.clear();
        let buckets: Vec<Bucket> = self.desks.keys().cloned().collect();
        buckets.iter().for_each(|bucket| self.advance(bucket, Pace::Now, now, effects));
    }

    fn flush(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let gathered = std::mem::take(&mut self.gathering);
        gathered.iter().for_each(|bucket| self.advance(bucket, Pace::Now, now, effects));
    }

    /// Labels of an account's buckets that have counts.
    pub fn buckets(&self, account: &AccountBytes) -> Vec<Bucket> {
        let found = self.ledger.account(account);
        found.into_iter().map(|(label, _)| Bucket { account: *account, label }).collect()
    }
}
