use super::desk::{Change, Desk, Seat};
use super::event::{Answer, Ask, Bounds, Effect, Held, Now, Standing, Waiter, Wants, Why};
use crate::journal::Bucket;
use crate::quota::ledger::{BucketUse, Ledger};
use crate::quota::window::Terms;
use crate::request::UnixMillis;

/// Answers those that can be answered: by the fold alone if it has reached the limit, so that
/// every refusal has an offset to show; else by a place in the next record, as long as all that is
/// under way leaves room; else later.
pub(super) fn decide<T: Waiter>(
    ledger: &Ledger,
    bounds: Bounds,
    bucket: &Bucket,
    desk: &mut Desk<T>,
    now: Now,
    effects: &mut Vec<Effect<T>>,
) {
    if desk.is_resetting() {
        return;
    }
    let counted = ledger.bucket(bucket);
    for ask in std::mem::take(&mut desk.queue) {
        let Ask { terms, waiter, .. } = &ask;
        let at = moment(ledger, counted, now.wall).max(desk.floor());
        let mut standing = standing(ledger, bucket, terms, at);
        let under_way = standing.used.saturating_add(desk.unconfirmed());
        let fast = terms.unconfirmed.filter(|allowed| desk.served() < *allowed);
        let period = terms.period(at, counted.len());
        match waiter.wants() {
            Wants::Nothing => {}
            Wants::Count => desk.lane(period, counted.round()).next.serve(),
            // What is being given back may make room: that is known when it is read back.
            Wants::Answer if standing.used >= terms.limit && desk.gives_back() => {
                desk.queue.push_back(ask);
            }
            Wants::Answer if standing.used >= terms.limit => {
                effects.push(Effect::Answer(ask.waiter, Answer::Exceeded(standing)));
            }
            Wants::Answer if ledger.entries() >= bounds.entries => {
                effects.push(Effect::Answer(ask.waiter, Answer::Unavailable(Why::Full)));
            }
            Wants::Answer if under_way >= terms.limit => desk.queue.push_back(ask),
            Wants::Answer => {
                let lane = desk.lane(period, counted.round());
                let Some(allowed) = fast else {
                    lane.next.seats.push(Seat { terms: *terms, waiter: ask.waiter });
                    continue;
                };
                lane.next.serve_within(allowed);
                standing.used = under_way.saturating_add(1);
                let admitted = Answer::Admitted(lane.held(bucket), standing);
                effects.push(Effect::Answer(ask.waiter, admitted));
            }
        }
    }
}

/// Answers those whose record was read back.
pub(super) fn admit<T>(
    ledger: &Ledger,
    held: &Held,
    change: Change<T>,
    now: UnixMillis,
    effects: &mut Vec<Effect<T>>,
) {
    let mut left = change.seats.len() as u64;
    let mut same: Option<(Terms, Standing)> = None;
    for seat in change.seats {
        left -= 1;
        let (_, after) = *same
            .take_if(|(terms, _)| *terms == seat.terms)
            .get_or_insert_with(|| (seat.terms, standing(ledger, &held.bucket, &seat.terms, now)));
        same = Some((seat.terms, after));
        // Those who share a record count up one after the other.
        let standing = Standing { used: after.used.saturating_sub(left), ..after };
        effects.push(Effect::Answer(seat.waiter, Answer::Admitted(held.clone(), standing)));
    }
    let resets = change.resets.into_iter();
    effects.extend(resets.map(|waiter| Effect::Answer(waiter, Answer::Reset)));
}

/// The bucket was reset: what was about to be counted before that is decided anew, and nothing
/// of then is given back any more.
pub(super) fn start_round<T: Waiter>(
    bucket: &Bucket,
    desk: &mut Desk<T>,
    round: u32,
    effects: &mut Vec<Effect<T>>,
) {
    for lane in desk.lanes.values_mut().filter(|lane| lane.round < round) {
        let change = std::mem::take(&mut lane.next);
        desk.queue.extend(change.seats.into_iter().map(|seat| Ask {
            bucket: bucket.clone(),
            terms: seat.terms,
            waiter: seat.waiter,
        }));
        let resets = change.resets.into_iter();
        effects.extend(resets.map(|waiter| Effect::Answer(waiter, Answer::Reset)));
    }
}

/// The time that counts for a bucket: never before its latest period or a period that was closed,
/// whatever the clock says.
pub(super) fn moment(ledger: &Ledger, counted: BucketUse<'_>, now: UnixMillis) -> UnixMillis {
    now.max(counted.floor()).max(ledger.horizon())
}

/// Where a bucket stands by the fold.
pub(super) fn standing(
    ledger: &Ledger,
    bucket: &Bucket,
    terms: &Terms,
    now: UnixMillis,
) -> Standing {
    let counted = ledger.bucket(bucket);
    let at = moment(ledger, counted, now);
    Standing {
        used: terms.used(counted.periods(), at),
        resets: terms.resets(counted.periods(), at),
        offset: ledger.next().saturating_sub(1),
    }
}

pub(super) fn tell<T>(waiters: impl Iterator<Item = T>, why: Why, effects: &mut Vec<Effect<T>>) {
    effects.extend(waiters.map(|waiter| Effect::Answer(waiter, Answer::Unavailable(why))));
}
