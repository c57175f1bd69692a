use super::desk::{Change, Desk, Seat};
use super::event::{Answer, Ask, Bounds, Effect, Held, Now, Standing, Waiter, Wants, Why};
use crate::journal::{Bucket, Period};
use crate::quota::ledger::{BucketUse, Ledger};
use crate::quota::window::Terms;
use crate::request::UnixMillis;

/// What becomes of a use that somebody asks for.
pub(super) enum Verdict {
    /// The fold has reached the limit. By the fold alone, so that every refusal has an offset to
    /// show.
    Exceeded(Standing),
    /// The ledger has no room for another count.
    Full,
    /// Not known yet: the fold has not reached the limit, but it would with what is under way; or
    /// what is being given back may make room. That is known when it is read back.
    Wait,
    /// A place in the next record, of this period.
    Next(Period),
    /// The same, and it need not be waited for. How it then stands, and how many uses may be
    /// unconfirmed.
    Serve(Period, Standing, u64),
}

/// Decides for one that asks for a use of a bucket with this under way.
pub(super) fn judge<T>(
    ledger: &Ledger,
    bounds: Bounds,
    counted: BucketUse<'_>,
    desk: &Desk<T>,
    terms: &Terms,
    now: Now,
) -> Verdict {
    let at = moment(ledger, counted, now.wall).max(desk.floor());
    let mut standing = standing_of(ledger, counted, terms, at);
    if standing.used >= terms.limit {
        return if desk.gives_back() { Verdict::Wait } else { Verdict::Exceeded(standing) };
    }
    if ledger.entries() >= bounds.entries {
        return Verdict::Full;
    }
    let under_way = standing.used.saturating_add(desk.unconfirmed());
    if under_way >= terms.limit {
        return Verdict::Wait;
    }
    let period = terms.period(at, counted.len());
    match terms.unconfirmed.filter(|allowed| desk.served() < *allowed) {
        Some(allowed) => {
            standing.used = under_way.saturating_add(1);
            Verdict::Serve(period, standing, allowed)
        }
        None => Verdict::Next(period),
    }
}

/// Answers those that can be answered.
pub(super) fn decide<T: Waiter>(
    ledger: &Ledger,
    bounds: Bounds,
    bucket: &Bucket,
    desk: &mut Desk<T>,
    now: Now,
    effects: &mut Vec<Effect<T>>,
) {
    if desk.queue.is_empty() || desk.is_resetting() {
        return;
    }
    let counted = ledger.bucket(bucket);
    for ask in std::mem::take(&mut desk.queue) {
        let Ask { terms, waiter, .. } = &ask;
        match waiter.wants() {
            Wants::Nothing => continue,
            Wants::Count => {
                let at = moment(ledger, counted, now.wall).max(desk.floor());
                desk.lane(terms.period(at, counted.len()), counted.round()).next.serve();
                continue;
            }
            Wants::Answer => {}
        }
        let answer = match judge(ledger, bounds, counted, desk, terms, now) {
            Verdict::Exceeded(standing) => Answer::Exceeded(standing),
            Verdict::Full => Answer::Unavailable(Why::Full),
            Verdict::Wait => {
                desk.queue.push_back(ask);
                continue;
            }
            Verdict::Next(period) => {
                let lane = desk.lane(period, counted.round());
                lane.next.seats.push(Seat { terms: *terms, waiter: ask.waiter });
                continue;
            }
            Verdict::Serve(period, standing, allowed) => {
                let lane = desk.lane(period, counted.round());
                lane.next.serve_within(allowed);
                Answer::Admitted(lane.held(bucket), standing)
            }
        };
        effects.push(Effect::Answer(ask.waiter, answer));
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
    standing_of(ledger, ledger.bucket(bucket), terms, now)
}

fn standing_of(
    ledger: &Ledger,
    counted: BucketUse<'_>,
    terms: &Terms,
    now: UnixMillis,
) -> Standing {
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
