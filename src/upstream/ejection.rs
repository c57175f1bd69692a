use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::model::Ejection;
use crate::request::UnixMillis;

/// The longest time out, in periods.
const MOST_PERIODS: u32 = 10;

/// What requests know of an endpoint: failures in a row and the time it is out for them.
#[derive(Debug, Default)]
pub(super) struct EjectionState {
    failures: AtomicU32,
    /// Ejections that followed each other.
    times: AtomicU32,
    /// Milliseconds since 1970; zero is never.
    until: AtomicU64,
}

impl EjectionState {
    /// Until when it is out, if it is.
    pub fn out_until(&self, now: UnixMillis, policy: &Ejection) -> Option<UnixMillis> {
        let until = UnixMillis(self.until.load(Ordering::Relaxed));
        // A wall clock set back by an hour must not keep it out for an hour more.
        let longest = policy.period.saturating_mul(MOST_PERIODS);
        (until > now && until.since(now) <= longest).then_some(until)
    }

    /// A request succeeded.
    pub fn succeeded(&self) {
        // Most of the time there is nothing to forget, and a load doesn't fight for the line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed. Whether there were enough in a row.
    pub fn failed(&self, policy: &Ejection) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures >= policy.consecutive_failures
    }

    /// Takes it out. The caller holds the cluster's ejection lock. Returns for how long.
    pub fn eject(&self, now: UnixMillis, policy: &Ejection) -> Duration {
        let longest = policy.period.saturating_mul(MOST_PERIODS);
        let last = UnixMillis(self.until.load(Ordering::Relaxed));
        // It served well for longer than it could have been out: the past is forgiven.
        let times = match now.since(last) > longest {
            true => 0,
            false => self.times.load(Ordering::Relaxed),
        };
        let period = policy.period.saturating_mul(1 << times.min(5)).min(longest);
        self.times.store(times.saturating_add(1), Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.until.store(now.plus(period).0, Ordering::Relaxed);
        period
    }
}

/// How many of a cluster's endpoints may be out at once: its percentage, but one if it has two.
pub(super) fn most_out(endpoints: usize, policy: &Ejection) -> usize {
    let share = endpoints.saturating_mul(usize::from(policy.max_percent.min(100))) / 100;
    share.max(usize::from(endpoints >= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(max_percent: u8) -> Ejection {
        Ejection { consecutive_failures: 3, period: Duration::from_secs(30), max_percent }
    }

    #[test]
    fn the_time_out_doubles_up_to_ten_times_the_period_and_is_forgiven_after_that_long() {
        let state = EjectionState::default();
        let mut now = UnixMillis(1_000_000_000);
        let mut periods = Vec::new();
        for _ in 0..6 {
            let period = state.eject(now, &policy(100));
            assert_eq!(state.out_until(now, &policy(100)), Some(now.plus(period)));
            now = now.plus(period);
            assert_eq!(state.out_until(now, &policy(100)), None);
            periods.push(period.as_secs());
        }
        assert_eq!(periods, [30, 60, 120, 240, 300, 300]);
        now = now.plus(Duration::from_secs(301));
        assert_eq!(state.eject(now, &policy(100)).as_secs(), 30);
    }

    #[test]
    fn only_failures_in_a_row_count() {
        let state = EjectionState::default();
        let seen: Vec<bool> = (0..2).map(|_| state.failed(&policy(100))).collect();
        assert_eq!(seen, [false, false]);
        state.succeeded();
        let seen: Vec<bool> = (0..3).map(|_| state.failed(&policy(100))).collect();
        assert_eq!(seen, [false, false, true]);
    }

    #[test]
    fn a_clock_set_back_does_not_keep_an_endpoint_out() {
        let state = EjectionState::default();
        let now = UnixMillis(1_000_000_000);
        state.eject(now, &policy(100));
        assert_eq!(state.out_until(now.minus(Duration::from_secs(3600)), &policy(100)), None);
    }

    #[test]
    fn one_of_two_may_be_out_and_the_percentage_counts_above() {
        assert_eq!(most_out(1, &policy(50)), 0);
        assert_eq!(most_out(1, &policy(100)), 1);
        assert_eq!(most_out(2, &policy(10)), 1);
        assert_eq!(most_out(10, &policy(35)), 3);
        assert_eq!(most_out(10, &policy(0)), 1);
    }
}
