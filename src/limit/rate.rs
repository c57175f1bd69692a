use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::buckets::Buckets;
use super::key::Key;
use super::pace::{Pace, Verdict};
use crate::config::model::Rate;
use crate::request::{LimitState, Refusal, UnixMillis};

/// The counts of one rate.
pub(super) struct RateCounts {
    policy: Arc<str>,
    /// What may come at once and the time in which that much comes back, or the rate itself if
    /// that is more: a caller never has more left than the limit he is told.
    limit: u64,
    window: Duration,
    pace: Pace,
    counts: Counts,
}

enum Counts {
    /// One count for all requests: an atomic, since every thread wants it at once.
    One(AtomicU64),
    /// One for each key.
    ByKey(Buckets),
}

impl RateCounts {
    pub fn new(rate: &Rate) -> Self {
        let (requests, limit) = (u64::from(rate.requests.get()), rate.requests.max(rate.burst));
        let limit = u64::from(limit.get());
        // In whole seconds, as it is told, and rather a moment too long.
        let seconds = rate.window.as_secs().saturating_mul(limit).div_ceil(requests);
        Self {
            policy: rate.name.clone(),
            limit,
            window: Duration::from_secs(seconds),
            pace: Pace::of(rate),
            counts: match rate.per.is_empty() {
                true => Counts::One(AtomicU64::new(0)),
                false => Counts::ByKey(Buckets::new()),
            },
        }
    }

    /// Counts a request.
    pub fn take(&self, key: Option<Key>, now: UnixMillis) -> Result<LimitState, Refusal> {
        let now = now.0.saturating_mul(1_000_000);
        let verdict = self.update(key, |arrival| {
            let verdict = self.pace.take(arrival, now);
            (verdict.arrival, verdict)
        });
        let Some(verdict) = verdict else { return Err(Refusal::Internal) };
        let state = self.state(verdict);
        if verdict.admitted { Ok(state) } else { Err(Refusal::RateLimited(state)) }
    }

    /// Undoes the counting of a request.
    pub fn give_back(&self, key: Option<Key>) {
        self.update(key, |arrival| (self.pace.give_back(arrival), ()));
    }

    fn update<R>(&self, key: Option<Key>, turn: impl Fn(u64) -> (u64, R)) -> Option<R> {
        match (&self.counts, key) {
            (Counts::ByKey(buckets), Some(key)) => buckets.update(key, turn),
            (Counts::ByKey(_), None) => None,
            (Counts::One(count), _) => {
                let mut arrival = count.load(Ordering::Relaxed);
                loop {
                    let (next, outcome) = turn(arrival);
                    let swapped = count.compare_exchange_weak(
                        arrival,
                        next,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    match swapped {
                        Ok(_) => return Some(outcome),
                        Err(other) => arrival = other,
                    }
                }
            }
        }
    }

    fn state(&self, verdict: Verdict) -> LimitState {
        LimitState {
            policy: self.policy.clone(),
            limit: self.limit,
            window: self.window,
            remaining: verdict.remaining,
            reset: Duration::from_nanos(verdict.until_more),
            account: None,
        }
    }
}
