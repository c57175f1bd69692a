//! Short-window rates and concurrency, in memory.
//!
//! Counts live in [`Limits`], outside the configuration snapshot, so that they survive a reload.
//! They are this process's own: a fleet of n gateways admits up to n times a rate. Limits that
//! must hold for the whole fleet are quota rules.

mod buckets;
mod concurrency;
mod key;
mod pace;
mod rate;
mod registry;

use std::fmt;
use std::sync::Arc;

use crate::config::model::{Concurrency, Rate};
use crate::request::{Clock, Facts, LimitState, Refusal};

pub use concurrency::Permit;

use concurrency::InProgress;
use key::KeyHasher;
use rate::RateCounts;
use registry::Registry;

/// All counts of rates and of requests in progress.
///
/// A count is found by the limit's name. It is kept over a reload as long as the limit's
/// parameters stay the same; a limit with other parameters starts anew.
pub struct Limits {
    clock: Arc<dyn Clock>,
    hasher: KeyHasher,
    rates: Registry<Rate, RateCounts>,
    in_progress: Registry<Concurrency, Arc<InProgress>>,
}

/// A request that every limit let pass.
#[derive(Debug)]
pub struct Admitted {
    /// Where it leaves each rate, in the order of the rates.
    pub states: Vec<LimitState>,
    /// Its places in the bounds on concurrency: keep them until the answer has ended.
    pub permits: Vec<Permit>,
}

impl Limits {
    /// No counts yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            hasher: KeyHasher::default(),
            rates: Registry::default(),
            in_progress: Registry::default(),
        }
    }

    /// Passes a request by several rates and bounds: all or none.
    ///
    /// A refusal by one rate gives back what earlier rates had counted, so that a client that is
    /// over its own rate can't use up one that it shares with others. A refusal by a bound on
    /// concurrency leaves the rates counted: the request did come.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] or [`Refusal::TooManyInProgress`].
    pub fn admit(
        &self,
        rates: &[Arc<Rate>],
        bounds: &[Arc<Concurrency>],
        facts: &Facts<'_>,
    ) -> Result<Admitted, Refusal> {
        let mut states = Vec::with_capacity(rates.len());
        for (position, rate) in rates.iter().enumerate() {
            match self.check_rate(rate, facts) {
                Ok(state) => states.push(state),
                Err(refusal) => {
                    rates.iter().take(position).for_each(|counted| self.give_back(counted, facts));
                    return Err(refusal);
                }
            }
        }
        let permits =
            bounds.iter().map(|bound| self.enter(bound, facts)).collect::<Result<_, _>>()?;
        Ok(Admitted { states, permits })
    }

    /// Counts a request against one rate.
    ///
    /// A value of the rate's key that the request lacks counts as one value of its own: requests
    /// without a client share one count.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`]; its `reset` says when the next request passes.
    pub fn check_rate(&self, rate: &Arc<Rate>, facts: &Facts<'_>) -> Result<LimitState, Refusal> {
        let key = self.hasher.key(&rate.per, facts);
        self.rates
            .with(&rate.name, rate, RateCounts::new, |counts| counts.take(key, self.clock.now()))
    }

    fn give_back(&self, rate: &Arc<Rate>, facts: &Facts<'_>) {
        let key = self.hasher.key(&rate.per, facts);
        self.rates.with(&rate.name, rate, RateCounts::new, |counts| counts.give_back(key));
    }

    /// Takes a place among the requests in progress, held until the permit is dropped.
    ///
    /// # Errors
    /// [`Refusal::TooManyInProgress`].
    pub fn enter(&self, bound: &Arc<Concurrency>, facts: &Facts<'_>) -> Result<Permit, Refusal> {
        let key = self.hasher.key(&bound.per, facts);
        let make = |bound: &Concurrency| Arc::new(InProgress::new(bound));
        self.in_progress.with(&bound.name, bound, make, |places| places.enter(key))
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
