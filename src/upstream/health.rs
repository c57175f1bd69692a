use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use crate::config::model::HealthCheck;

// Zero, as an atomic starts, is "never checked".
const HEALTHY: u8 = 1;
const UNHEALTHY: u8 = 2;

/// What active checks know of an endpoint. An endpoint that was never checked is usable: a new
/// one must not wait for a round, and without checks nobody would ever declare it healthy.
///
/// One task writes it at a time; requests only read.
#[derive(Debug, Default)]
pub(super) struct HealthState {
    status: AtomicU8,
    /// Results in a row that contradict the status.
    streak: AtomicU32,
    /// The next result decides alone.
    undecided: AtomicBool,
}

/// What active checks found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Nothing yet.
    Unchecked,
    /// It answers as it should.
    Healthy,
    /// It does not.
    Unhealthy,
}

impl HealthState {
    /// What was found.
    pub fn status(&self) -> Status {
        match self.status.load(Ordering::Relaxed) {
            HEALTHY => Status::Healthy,
            UNHEALTHY => Status::Unhealthy,
            _ => Status::Unchecked,
        }
    }

    /// Lets the next result decide alone: what was known came from another kind of check.
    pub fn ask_anew(&self) {
        self.undecided.store(true, Ordering::Relaxed);
    }

    /// Takes a check's result in. Returns the new status if it changed.
    pub fn observe(&self, passed: bool, check: &HealthCheck) -> Option<Status> {
        let before = self.status();
        let agrees = match before {
            Status::Unchecked => false,
            Status::Healthy => passed,
            Status::Unhealthy => !passed,
        };
        let decides = self.undecided.swap(false, Ordering::Relaxed) || before == Status::Unchecked;
        if agrees {
            self.streak.store(0, Ordering::Relaxed);
            return None;
        }
        let streak = self.streak.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let enough = if passed { check.healthy_after } else { check.unhealthy_after };
        if !decides && streak < enough {
            return None;
        }
        self.streak.store(0, Ordering::Relaxed);
        self.status.store(if passed { HEALTHY } else { UNHEALTHY }, Ordering::Relaxed);
        Some(self.status())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::HealthProbe;

    fn check() -> HealthCheck {
        HealthCheck {
            probe: HealthProbe::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }

    fn after(results: &[bool]) -> Status {
        let state = HealthState::default();
        for passed in results {
            state.observe(*passed, &check());
        }
        state.status()
    }

    #[test]
    fn the_first_result_decides_alone() {
        assert_eq!(after(&[]), Status::Unchecked);
        assert_eq!(after(&[true]), Status::Healthy);
        assert_eq!(after(&[false]), Status::Unhealthy);
    }

    #[test]
    fn three_failures_in_a_row_make_it_unhealthy_and_two_do_not() {
        assert_eq!(after(&[true, false, false]), Status::Healthy);
        assert_eq!(after(&[true, false, false, true, false, false]), Status::Healthy);
        assert_eq!(after(&[true, false, false, false]), Status::Unhealthy);
    }

    #[test]
    fn two_successes_in_a_row_make_it_healthy_and_one_does_not() {
        assert_eq!(after(&[false, true]), Status::Unhealthy);
        assert_eq!(after(&[false, true, false, true]), Status::Unhealthy);
        assert_eq!(after(&[false, true, true]), Status::Healthy);
    }

    #[test]
    fn after_a_new_kind_of_check_one_result_decides() {
        let state = HealthState::default();
        state.observe(false, &check());
        state.ask_anew();
        assert_eq!(state.observe(true, &check()), Some(Status::Healthy));
        assert_eq!(state.observe(false, &check()), None);
    }
}
