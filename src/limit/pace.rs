use crate::config::model::Rate;

/// The arithmetic of GCRA, the generic cell rate algorithm (ITU-T I.371): a count is one number,
/// the *theoretical arrival time* at which the bucket will be full again. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Time in which one more request becomes available.
    interval: u64,
    /// Requests that may come at once.
    burst: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub admitted: bool,
    /// The theoretical arrival time from here on.
    pub arrival: u64,
    /// Requests that could come at once now.
    pub remaining: u64,
    /// Time until one more than `remaining` could.
    pub until_more: u64,
}

impl Pace {
    pub fn of(rate: &Rate) -> Self {
        let window = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            interval: (window / u64::from(rate.requests.get())).max(1),
            burst: u64::from(rate.burst.get()),
        }
    }

    /// Takes one request at `now` from a bucket that would be full at `arrival`.
    pub fn take(self, arrival: u64, now: u64) -> Verdict {
        let empty = now.saturating_add(self.burst.saturating_mul(self.interval));
        // Never later than an empty bucket: else a clock that is set back would shut a caller out
        // for as long as it was set back.
        let before = arrival.clamp(now, empty);
        let after = before.saturating_add(self.interval);
        let admitted = after <= empty;
        let arrival = if admitted { after } else { before };
        let remaining = (empty - arrival) / self.interval;
        let until_more = remaining
            .saturating_add(1)
            .saturating_mul(self.interval)
            .saturating_add(arrival)
            .saturating_sub(empty);
        Verdict { admitted, arrival, remaining, until_more }
    }

    /// Undoes one [`Pace::take`].
    pub fn give_back(self, arrival: u64) -> u64 {
        arrival.saturating_sub(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn pace(requests: u32, window: Duration, burst: u32) -> Pace {
        Pace::of(&Rate {
            name: "r".into(),
            per: Vec::new(),
            requests: NonZeroU32::new(requests).unwrap(),
            window,
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    /// How many of `tries` requests at one time pass, and the arrival time after them.
    fn at_once(pace: Pace, arrival: u64, now: u64, tries: u64) -> (u64, u64) {
        (0..tries).fold((0, arrival), |(passed, arrival), _| {
            let verdict = pace.take(arrival, now);
            (passed + u64::from(verdict.admitted), verdict.arrival)
        })
    }

    #[test]
    fn a_full_bucket_lets_a_burst_pass_and_then_one_each_interval() {
        let pace = pace(10, Duration::from_secs(1), 5);
        let now = 1_000 * SECOND;
        let (passed, arrival) = at_once(pace, 0, now, 100);
        assert_eq!(passed, 5);
        let refused = pace.take(arrival, now);
        assert_eq!(
            (refused.admitted, refused.remaining, refused.until_more),
            (false, 0, SECOND / 10)
        );
        assert!(!pace.take(arrival, now + SECOND / 10 - 1).admitted);
        assert!(pace.take(arrival, now + SECOND / 10).admitted);
        assert_eq!(at_once(pace, arrival, now + SECOND, 100).0, 5);
    }

    #[test]
    fn remaining_counts_down_and_says_when_more_come() {
        let pace = pace(60, Duration::from_secs(60), 3);
        let first = pace.take(0, SECOND);
        assert_eq!((first.remaining, first.until_more), (2, SECOND));
        let second = pace.take(first.arrival, SECOND + SECOND / 2);
        assert_eq!((second.remaining, second.until_more), (1, SECOND / 2));
    }

    #[test]
    fn a_clock_set_back_shuts_nobody_out_for_longer_than_an_empty_bucket_takes() {
        let pace = pace(1, Duration::from_secs(1), 4);
        let (_, arrival) = at_once(pace, 0, 1_000_000 * SECOND, 4);
        let earlier = 10 * SECOND;
        assert_eq!(pace.take(arrival, earlier).until_more, SECOND);
    }

    #[test]
    fn more_requests_than_nanoseconds_do_not_divide_by_zero() {
        let pace = pace(u32::MAX, Duration::from_nanos(1), u32::MAX);
        assert!(pace.take(0, u64::MAX - 1).admitted);
        assert!(pace.take(u64::MAX, u64::MAX).remaining <= u64::from(u32::MAX));
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_lets_more_pass_than_burst_and_rate_allow(
            requests in 1u32..50,
            burst in 1u32..20,
            gaps in prop::collection::vec(0u64..SECOND / 5, 1..200),
        ) {
            let pace = pace(requests, Duration::from_secs(1), burst);
            let (mut now, mut arrival, mut passed) = (5 * SECOND, 0, Vec::new());
            for gap in gaps {
                now += gap;
                let verdict = pace.take(arrival, now);
                arrival = verdict.arrival;
                if verdict.admitted {
                    passed.push(now);
                }
            }
            for (index, from) in passed.iter().enumerate() {
                for (count, to) in passed[index..].iter().enumerate() {
                    let allowed = u64::from(burst) + (to - from) / pace.interval;
                    prop_assert!((count as u64) < allowed);
                }
            }
        }

        #[test]
        fn what_it_says_comes_true(
            burst in 1u32..20,
            used in 0u64..30,
            later in 0u64..SECOND,
        ) {
            let pace = pace(10, Duration::from_secs(1), burst);
            let start = 5 * SECOND;
            let (_, arrival) = at_once(pace, 0, start, used);
            let now = start + later;
            let verdict = pace.take(arrival, now);
            prop_assert_eq!(at_once(pace, verdict.arrival, now, 100).0, verdict.remaining);
            let more = verdict.until_more;
            prop_assert_eq!(at_once(pace, verdict.arrival, now + more - 1, 100).0, verdict.remaining);
            if verdict.remaining < u64::from(burst) {
                let after = at_once(pace, verdict.arrival, now + more, 100).0;
                prop_assert_eq!(after, verdict.remaining + 1);
            }
        }

        #[test]
        fn giving_back_undoes_taking(burst in 1u32..20, used in 0u64..19) {
            prop_assume!(used < u64::from(burst));
            let pace = pace(10, Duration::from_secs(1), burst);
            let (_, arrival) = at_once(pace, 0, SECOND, used + 1);
            let left = at_once(pace, pace.give_back(arrival), SECOND, 100).0;
            prop_assert_eq!(left, u64::from(burst) - used);
        }
    }
}
