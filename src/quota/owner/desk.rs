use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Ask, Held, Waiter, Wants};
use crate::journal::{Bucket, Offset, Period, Record, Use};
use crate::quota::ledger::BucketUse;
use crate::quota::window::Terms;
use crate::request::UnixMillis;

/// All that is under way for one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Desk<T> {
    /// Not decided yet: the fold has not reached the limit, but it would with what is under way.
    pub queue: VecDeque<Ask<T>>,
    /// By period and round.
    pub lanes: BTreeMap<(Period, u32), Lane<T>>,
    /// Whether it is among those that the next flush sends.
    pub gathers: bool,
}

/// When a lane's next record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once.
    Now,
    /// Once somebody waits for it, half of what may be unconfirmed has gathered, or the next flush
    /// comes: a record is durable only after an `fsync`, which would be most of a use's cost.
    Gather,
}

/// What is under way for one period of a bucket. One journal key in one epoch, and at most one
/// record of it on its way: so a late record can never replace a newer one, and all that comes
/// meanwhile shares the next record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lane<T> {
    pub period: Period,
    pub round: u32,
    pub next: Change<T>,
    pub flight: Option<Flight<T>>,
}

/// What a record adds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Change<T> {
    /// Uses that wait for the record.
    pub seats: Vec<Seat<T>>,
    /// Uses that were admitted without waiting.
    pub served: u64,
    /// Uses given back.
    pub refunds: u64,
    /// So many uses have gathered that the record must go.
    pub pressing: bool,
    /// Who waits for the bucket's reset. The record opens a round by being there.
    pub resets: Vec<T>,
}

/// A use that waits for its record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seat<T> {
    pub waiter: T,
    pub terms: Terms,
}

/// A record on its way, with the numbers in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flight<T> {
    pub change: Change<T>,
    pub admitted: u64,
    pub refunded: u64,
    /// On the steady clock.
    pub sent: Duration,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), lanes: BTreeMap::new(), gathers: false }
    }
}

impl<T> Default for Change<T> {
    fn default() -> Self {
        Self { seats: Vec::new(), served: 0, refunds: 0, pressing: false, resets: Vec::new() }
    }
}

impl<T> Change<T> {
    fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.served == 0 && self.refunds == 0 && self.resets.is_empty()
    }

    /// Adds a use that doesn't wait.
    pub fn serve(&mut self) {
        self.served = self.served.saturating_add(1);
    }

    /// Adds a use that doesn't wait, of a rule that allows so many unconfirmed. At half of them the
    /// record goes: the other half may be served while it is on its way.
    pub fn serve_within(&mut self, unconfirmed: u64) {
        self.serve();
        self.pressing |= self.served >= unconfirmed.div_ceil(2);
    }

    /// Whether it need not be sent yet.
    fn may_gather(&self) -> bool {
        self.seats.is_empty() && self.resets.is_empty() && !self.pressing
    }

    fn uses(&self) -> u64 {
        self.served.saturating_add(self.seats.len() as u64)
    }
}

impl<T: Waiter> Change<T> {
    /// Lets go of those that no longer wait. A use that was served meanwhile stays counted.
    fn drop_the_gone(&mut self) {
        let served = &mut self.served;
        self.seats.retain(|seat| match seat.waiter.wants() {
            Wants::Answer => true,
            Wants::Nothing => false,
            Wants::Count => {
                *served = served.saturating_add(1);
                false
            }
        });
    }
}

impl<T> Desk<T> {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.lanes.is_empty()
    }

    /// The lane of a period; a new one if there is none.
    pub fn lane(&mut self, period: Period, round: u32) -> &mut Lane<T> {
        self.lanes.entry((period, round)).or_insert_with(|| Lane {
            period,
            round,
            next: Change::default(),
            flight: None,
        })
    }

    /// Uses that the fold doesn't have yet: in records on their way or to be sent.
    pub fn unconfirmed(&self) -> u64 {
        self.sum(Change::uses)
    }

    /// Of those, the ones that were admitted without waiting.
    pub fn served(&self) -> u64 {
        self.sum(|change| change.served)
    }

    /// Whether uses are being given back that the fold doesn't have yet.
    pub fn gives_back(&self) -> bool {
        self.sum(|change| change.refunds) > 0
    }

    fn sum(&self, part: fn(&Change<T>) -> u64) -> u64 {
        self.lanes
            .values()
            .flat_map(|lane| {
                [part(&lane.next), lane.flight.as_ref().map_or(0, |flight| part(&flight.change))]
            })
            .fold(0, u64::saturating_add)
    }

    /// Start of the latest period under way.
    pub fn floor(&self) -> UnixMillis {
        self.lanes.last_key_value().map_or(UnixMillis(0), |((period, _), _)| period.start)
    }

    /// When the last period under way ends.
    pub fn ends(&self) -> UnixMillis {
        self.lanes.keys().map(|(period, _)| period.ends).max().unwrap_or_default()
    }

    /// Whether an operator's reset is under way.
    pub fn is_resetting(&self) -> bool {
        self.lanes.values().any(|lane| {
            let flight = lane.flight.as_ref();
            !lane.next.resets.is_empty()
                || flight.is_some_and(|flight| !flight.change.resets.is_empty())
        })
    }

    /// Whether a record has been on its way for so long.
    pub fn waits_since(&self, sent: Duration) -> bool {
        self.lanes
            .values()
            .any(|lane| lane.flight.as_ref().is_some_and(|flight| flight.sent <= sent))
    }

    /// The record on its way that this is, taken off its lane.
    pub fn take_flight(
        &mut self,
        used: &Use,
        is: impl FnOnce(&Flight<T>) -> bool,
    ) -> Option<(&mut Lane<T>, Flight<T>)> {
        let lane = self.lanes.get_mut(&(used.period, used.round))?;
        let flight = lane.flight.take_if(|flight| is(flight))?;
        Some((lane, flight))
    }

    /// Forgets lanes with nothing under way.
    pub fn tidy(&mut self) {
        self.lanes.retain(|_, lane| lane.flight.is_some() || !lane.next.is_empty());
    }

    /// Forgets counts that wait to be written for periods that are over.
    pub fn drop_ended(&mut self, over: UnixMillis) {
        self.lanes.retain(|_, lane| {
            let waited_for = !lane.next.seats.is_empty() || !lane.next.resets.is_empty();
            lane.flight.is_some() || waited_for || lane.period.ends > over
        });
    }
}

impl<T: Waiter> Lane<T> {
    /// What a use admitted here is known by.
    pub fn held(&self, bucket: &Bucket) -> Held {
        Held { bucket: bucket.clone(), period: self.period, round: self.round }
    }

    /// Whether its next record could go.
    pub fn is_held_back(&self) -> bool {
        self.flight.is_none() && !self.next.is_empty()
    }

    /// The next record, if there is something to say, no record on its way and it is time.
    pub fn depart(
        &mut self,
        bucket: &Bucket,
        epoch: Offset,
        counted: BucketUse<'_>,
        pace: Pace,
        sent: Duration,
    ) -> Option<Record> {
        if self.flight.is_some() {
            return None;
        }
        self.next.drop_the_gone();
        if self.next.is_empty() || (pace == Pace::Gather && self.next.may_gather()) {
            return None;
        }
        let change = std::mem::take(&mut self.next);
        let same_round = counted.round() == self.round;
        let (admitted, refunded) =
            if same_round { counted.counted(self.period, epoch) } else { (0, 0) };
        let admitted = admitted.saturating_add(change.uses());
        let refunded = refunded.saturating_add(change.refunds);
        self.flight = Some(Flight { change, admitted, refunded, sent });
        Some(Record::Use(Use {
            bucket: bucket.clone(),
            period: self.period,
            round: self.round,
            epoch,
            admitted,
            refunded,
        }))
    }
}
