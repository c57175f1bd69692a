//! What was reserved for a request, until its end is known.

use std::sync::{Arc, PoisonError};

use super::charge::Charge;
use super::owner::{Answer, Event, Held, Place, Standing, Why};
use super::partition::Partition;
use super::reserve::{Lack, NotReserved};
use super::seat::Pending;
use crate::config::model::{Counts, QuotaRule, Unavailable};
use crate::observe::{Event as Happening, Metrics, QuotaOutcome};
use crate::request::{LimitState, QuotaRefusal, Refusal, UnixMillis};

/// Uses that were reserved for one request: counted already, and given back if they turn out to be
/// none.
///
/// Settle it when the answer is known, by [`settle`](Self::settle). Dropped without that (the
/// client went away, the request panicked) its uses stay counted: a use once admitted counts.
#[must_use = "a reservation that isn't settled counts"]
pub struct Reservation {
    holds: Vec<Hold>,
    states: Vec<LimitState>,
    unaccounted: bool,
    metrics: Arc<Metrics>,
    /// While the reserving is under way: a client that goes away then has used nothing.
    refund_on_drop: bool,
}

/// One use that can be given back.
struct Hold {
    rule: Arc<QuotaRule>,
    partition: Arc<Partition>,
    held: Held,
    book: Book,
    /// Where it leaves the caller.
    state: LimitState,
}

/// Where a use was written down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Book {
    Journal,
    Local,
}

/// How a request ended, as far as its uses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The backend answered it.
    Served,
    /// It was answered from the cache.
    Hit,
    /// The backend failed.
    Failed,
}

impl End {
    fn gives_back(self, rule: &QuotaRule) -> bool {
        match self {
            Self::Served => false,
            Self::Hit => !rule.count_hits,
            Self::Failed => rule.counts == Counts::Success,
        }
    }
}

impl Reservation {
    /// Of nothing: for a request that no rule counts.
    pub fn empty(metrics: Arc<Metrics>) -> Self {
        Self {
            holds: Vec::new(),
            states: Vec::new(),
            unaccounted: false,
            metrics,
            refund_on_drop: true,
        }
    }

    /// The reserving is done.
    pub(super) fn complete(&mut self) {
        self.refund_on_drop = false;
    }

    /// Takes in what an owner here has answered in time.
    pub(super) fn take_in(
        &mut self,
        partition: &Arc<Partition>,
        charge: &Charge,
        pending: Pending,
        answer: Option<Answer>,
        lack: Lack,
    ) -> Result<(), NotReserved> {
        match answer {
            Some(Answer::Unavailable(_))
                if lack == Lack::Report && matches!(partition.place_now(), Place::There { .. }) =>
            {
                Err(NotReserved::Elsewhere { partition: partition.number })
            }
            Some(answer) => self.take(partition, charge, answer),
            None => {
                let outcome = self.do_without(partition, charge, Missing::Pending(pending))?;
                count(&self.metrics, charge.rule(), outcome);
                Ok(())
            }
        }
    }

    pub(super) fn take(
        &mut self,
        partition: &Arc<Partition>,
        charge: &Charge,
        answer: Answer,
    ) -> Result<(), NotReserved> {
        let outcome = match answer {
            Answer::Admitted(held, standing) => {
                self.hold(partition, charge, held, Book::Journal, standing);
                QuotaOutcome::Admitted
            }
            Answer::Exceeded(standing) => {
                count(&self.metrics, charge.rule(), QuotaOutcome::Exceeded);
                return Err(exceeded(partition, charge, standing).into());
            }
            Answer::Unavailable(why) => {
                self.do_without(partition, charge, Missing::Answered(why))?
            }
            // The answer to an operator's call.
            Answer::Reset => QuotaOutcome::Unavailable,
        };
        count(&self.metrics, charge.rule(), outcome);
        Ok(())
    }

    /// The ledger can't be asked: the rule says what then.
    fn do_without(
        &mut self,
        partition: &Arc<Partition>,
        charge: &Charge,
        missing: Missing,
    ) -> Result<QuotaOutcome, Refusal> {
        let now = partition.wall();
        let fold = partition.owner().standing(charge.bucket(), charge.terms(), now);
        let rule = charge.rule();
        match rule.unavailable {
            Unavailable::Deny => {
                count(&self.metrics, rule, QuotaOutcome::Unavailable);
                Err(Refusal::QuotaUnavailable { rule: Arc::clone(&rule.name) })
            }
            Unavailable::Allow => {
                missing.count_later(partition, charge);
                self.unaccounted = true;
                self.states.push(limit_state(charge, fold, now));
                Ok(QuotaOutcome::Unavailable)
            }
            Unavailable::Local => {
                let mut local = partition.local.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = local.take(charge.bucket(), charge.terms(), fold, now);
                drop(local);
                let (held, standing) = taken.map_err(|standing| {
                    count(&self.metrics, rule, QuotaOutcome::Exceeded);
                    exceeded(partition, charge, standing)
                })?;
                self.hold(partition, charge, held, Book::Local, standing);
                // Given back, it still counts there: nobody could say whether it does already.
                missing.count_later(partition, charge);
                self.unaccounted = true;
                Ok(QuotaOutcome::Unavailable)
            }
        }
    }

    fn hold(
        &mut self,
        partition: &Arc<Partition>,
        charge: &Charge,
        held: Held,
        book: Book,
        standing: Standing,
    ) {
        let (rule, partition) = (Arc::clone(charge.rule()), Arc::clone(partition));
        let state = limit_state(charge, standing, partition.wall());
        self.states.push(state.clone());
        self.holds.push(Hold { rule, partition, held, book, state });
    }

    /// Where the caller stands after this use, for each charge in turn.
    pub fn states(&self) -> &[LimitState] {
        &self.states
    }

    /// One reservation of the uses of both.
    pub fn join(mut self, mut other: Self) -> Self {
        self.holds.append(&mut other.holds);
        self.states.append(&mut other.states);
        self.unaccounted |= other.unaccounted;
        self
    }

    /// Whether a use was admitted that the journal could not confirm (`unavailable: allow` or
    /// `local`).
    pub fn unaccounted(&self) -> bool {
        self.unaccounted
    }

    /// Where the caller stands, as [`states`](Self::states) has it, in the rules that will give
    /// their use back at such an end.
    pub fn given_back(&self, end: End) -> impl Iterator<Item = &LimitState> {
        self.holds.iter().filter(move |hold| end.gives_back(&hold.rule)).map(|hold| &hold.state)
    }

    /// The answer is known, from the backend: gives back the uses of rules that count successes
    /// only if it was none.
    pub fn settle(self, success: bool) {
        self.end(if success { End::Served } else { End::Failed });
    }

    /// The answer came from the cache: gives back the uses of rules that don't count those.
    pub fn settle_hit(self) {
        self.end(End::Hit);
    }

    /// Gives back what such an end does not use.
    pub fn end(mut self, end: End) {
        self.give_back(|rule| end.gives_back(rule));
    }

    /// Keeps all uses, as dropping does.
    pub fn commit(self) {}

    /// Gives all uses back, whatever their rules count: the request was refused after all.
    pub fn refund(mut self) {
        self.give_back(|_| true);
    }

    /// Each use leaves the list as it is given back, so that none is given back twice.
    fn give_back(&mut self, which: impl Fn(&QuotaRule) -> bool) {
        self.refund_on_drop = false;
        for hold in std::mem::take(&mut self.holds) {
            if !which(&hold.rule) {
                continue;
            }
            count(&self.metrics, &hold.rule, QuotaOutcome::Refunded);
            match hold.book {
                Book::Journal => {
                    hold.partition.step([Event::Refund(hold.held)]);
                    if hold.partition.is_given() {
                        // At once: whoever asks again must find room.
                        hold.partition.deliver_leftovers();
                    }
                }
                Book::Local => {
                    let local = &hold.partition.local;
                    local.lock().unwrap_or_else(PoisonError::into_inner).refund(&hold.held);
                }
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.refund_on_drop {
            self.give_back(|_| true);
        }
    }
}

/// What there is of an answer that doesn't say whether to admit.
enum Missing {
    Answered(Why),
    Pending(Pending),
}

impl Missing {
    /// The request is served: its use is counted as soon as that is possible, unless it may have
    /// been counted already.
    fn count_later(self, partition: &Arc<Partition>, charge: &Charge) {
        match self {
            Self::Pending(pending) => pending.count_later(),
            Self::Answered(Why::Unsure) => {}
            Self::Answered(Why::NotOwner | Why::NotWritten | Why::Full) => {
                partition.step([Event::Owe(charge.bucket().clone(), *charge.terms())]);
            }
        }
    }
}

pub(super) fn count(metrics: &Metrics, rule: &QuotaRule, outcome: QuotaOutcome) {
    metrics.record(Happening::Quota { rule: &rule.name, outcome });
}

pub(super) fn exceeded(partition: &Partition, charge: &Charge, standing: Standing) -> Refusal {
    Refusal::QuotaExceeded(QuotaRefusal {
        state: limit_state(charge, standing, partition.wall()),
        resets: standing.resets,
        used: standing.used,
        partition: partition.number,
        offset: standing.offset,
    })
}

/// As the RateLimit fields say it.
pub(super) fn limit_state(charge: &Charge, standing: Standing, now: UnixMillis) -> LimitState {
    let rule = charge.rule();
    LimitState {
        policy: Arc::clone(&rule.name),
        limit: rule.limit.get(),
        window: rule.window.length(),
        remaining: rule.limit.get().saturating_sub(standing.used),
        reset: standing.resets.since(now),
        account: charge.named().cloned(),
    }
}
