use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::charge::Charge;
use super::owner::{Answer, Event, Held, Standing, Why};
use super::partition::Partition;
use super::seat::Pending;
use super::service::Quotas;
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
    place: Place,
}

/// Who counts a use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Journal,
    Local,
}

impl Quotas {
    /// Reserves one use for each charge, all or none.
    ///
    /// Charges of one partition (so all rules on one account) are asked for at once; partitions
    /// one after the other in the order of their numbers. If one refuses, what the others gave is
    /// given back. In between, other requests see those uses: near its limit a bucket may refuse
    /// one of two requests that would both have gone through had they come one after the other.
    /// It never admits one too many.
    ///
    /// # Errors
    /// [`Refusal::QuotaExceeded`], or [`Refusal::QuotaUnavailable`] where a rule says
    /// `unavailable: deny`.
    pub async fn reserve(&self, charges: Vec<Charge>) -> Result<Reservation, Refusal> {
        let mut reservation = Reservation::empty(Arc::clone(&self.metrics));
        let mut groups: BTreeMap<u32, (&Arc<Partition>, Vec<&Charge>)> = BTreeMap::new();
        for charge in &charges {
            let Some(partition) = self.partition_of(&charge.account()) else { continue };
            let (_, group) = groups.entry(partition.number).or_insert((partition, Vec::new()));
            group.push(charge);
        }
        if charges.len() > 1 {
            // Spares buckets that have room a use and a refund when another has none.
            for (partition, group) in groups.values() {
                refuse_exceeded(partition, group, &self.metrics)?;
            }
        }
        let deadline = Instant::now() + self.patience.answer;
        for (partition, group) in groups.into_values() {
            let mut refusal = None;
            for (charge, pending) in group.iter().zip(partition.ask(&group)) {
                let outcome = reservation.take(partition, charge, pending, deadline).await;
                refusal = refusal.or(outcome.err());
            }
            if let Some(refusal) = refusal {
                reservation.refund();
                return Err(refusal);
            }
        }
        reservation.refund_on_drop = false;
        Ok(reservation)
    }
}

fn refuse_exceeded(
    partition: &Arc<Partition>,
    charges: &[&Charge],
    metrics: &Metrics,
) -> Result<(), Refusal> {
    let now = partition.wall();
    let owner = partition.owner();
    for charge in charges {
        let standing = owner.standing(charge.bucket(), charge.terms(), now);
        // What is being given back may make room: asked, the owner waits for that.
        if standing.used >= charge.terms().limit && !owner.gives_back(charge.bucket()) {
            count(metrics, charge.rule(), QuotaOutcome::Exceeded);
            return Err(exceeded(partition, charge, standing));
        }
    }
    Ok(())
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

    async fn take(
        &mut self,
        partition: &Arc<Partition>,
        charge: &Charge,
        mut pending: Pending,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let outcome = match pending.answer(deadline).await {
            Some(Answer::Admitted(held, standing)) => {
                self.hold(partition, charge, held, Place::Journal, standing);
                QuotaOutcome::Admitted
            }
            Some(Answer::Exceeded(standing)) => {
                count(&self.metrics, charge.rule(), QuotaOutcome::Exceeded);
                return Err(exceeded(partition, charge, standing));
            }
            Some(Answer::Unavailable(why)) => {
                self.do_without(partition, charge, Missing::Answered(why))?
            }
            None => self.do_without(partition, charge, Missing::Pending(pending))?,
            // The answer to an operator's call.
            Some(Answer::Reset) => QuotaOutcome::Unavailable,
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
                self.states.push(limit_state(rule, fold, now));
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
                self.hold(partition, charge, held, Place::Local, standing);
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
        place: Place,
        standing: Standing,
    ) {
        let (rule, partition) = (Arc::clone(charge.rule()), Arc::clone(partition));
        self.states.push(limit_state(&rule, standing, partition.wall()));
        self.holds.push(Hold { rule, partition, held, place });
    }

    /// Where the caller stands after this use, for each charge in turn.
    pub fn states(&self) -> &[LimitState] {
        &self.states
    }

    /// Whether a use was admitted that the journal could not confirm (`unavailable: allow` or
    /// `local`).
    pub fn unaccounted(&self) -> bool {
        self.unaccounted
    }

    /// The answer is known, from the backend: gives back the uses of rules that count successes
    /// only if it was none.
    pub fn settle(mut self, success: bool) {
        self.give_back(|rule| match rule.counts {
            Counts::Success => !success,
            Counts::All => false,
        });
    }

    /// The answer came from the cache: gives back the uses of rules that don't count those.
    pub fn settle_hit(mut self) {
        self.give_back(|rule| !rule.count_hits);
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
            match hold.place {
                Place::Journal => hold.partition.step([Event::Refund(hold.held)]),
                Place::Local => {
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

fn count(metrics: &Metrics, rule: &QuotaRule, outcome: QuotaOutcome) {
    metrics.record(Happening::Quota { rule: &rule.name, outcome });
}

fn exceeded(partition: &Partition, charge: &Charge, standing: Standing) -> Refusal {
    Refusal::QuotaExceeded(QuotaRefusal {
        state: limit_state(charge.rule(), standing, partition.wall()),
        used: standing.used,
        partition: partition.number,
        offset: standing.offset,
    })
}

/// As the RateLimit fields say it.
pub(super) fn limit_state(rule: &QuotaRule, standing: Standing, now: UnixMillis) -> LimitState {
    LimitState {
        policy: Arc::clone(&rule.name),
        limit: rule.limit.get(),
        window: rule.window.length(),
        remaining: rule.limit.get().saturating_sub(standing.used),
        reset: standing.resets.since(now),
    }
}
