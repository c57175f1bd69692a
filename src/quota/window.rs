//! Windows: which period a use belongs to, and which periods count.
//!
//! A *fixed* window has one period at a time. A *rolling* window has many short ones, each of
//! which counts until its last moment is a whole window ago. While a limit is small, a period is
//! one millisecond, which makes the window exact. Above that, and in a bucket with unusually many
//! periods, a period is one of [`SUB_WINDOWS`] parts of the window: a use may then count for up to
//! that part longer than the window, never shorter. So a rolling window never admits more than its
//! limit in any span of its length.
//!
//! A period's start and end stand in the journal's record and in its key. So each period's count
//! is absolute and only grows, the fold stays a maximum, and no reader computes a period again.

use crate::config::model::{QuotaRule, Window};
use crate::journal::Period;
use crate::request::UnixMillis;

/// Largest limit of a rolling window whose uses are kept to the millisecond.
pub const EXACT_LIMIT: u64 = 64;
/// Parts of a rolling window whose uses are not.
pub const SUB_WINDOWS: u64 = 60;
/// Periods of one bucket from which on uses are kept by sub-window even if the limit is small.
/// Uses that were given back keep their period until it ends, so that a backend that fails all
/// day would otherwise fill memory.
pub const EXACT_PERIODS: usize = 128;

/// How a window moves, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// See [`Window::Fixed`].
    Fixed {
        /// Length.
        length: u64,
        /// Shift of the start.
        offset: u64,
    },
    /// See [`Window::Rolling`].
    Rolling {
        /// Length.
        length: u64,
    },
}

/// What a rule demands of a bucket. Comes with each charge, so that a reload changes limits at
/// once; the ledger stores use only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The window.
    pub frame: Frame,
    /// Uses in a window.
    pub limit: u64,
    /// Unconfirmed uses allowed; `None` for a strict rule.
    pub unconfirmed: Option<u64>,
}

impl Terms {
    /// Of a rule in the configuration.
    pub fn of(rule: &QuotaRule) -> Self {
        use crate::config::model::Accuracy;
        let unconfirmed = match rule.accuracy {
            Accuracy::Strict => None,
            Accuracy::Fast { unconfirmed } => Some(unconfirmed.get()),
        };
        Self { frame: Frame::of(rule.window), limit: rule.limit.get(), unconfirmed }
    }

    /// The period that a use made now belongs to. `periods`: how many the bucket has already.
    pub fn period(&self, now: UnixMillis, periods: usize) -> Period {
        match self.frame {
            Frame::Fixed { length, offset } => fixed(now, length, offset),
            Frame::Rolling { length } => {
                let exact = self.limit <= EXACT_LIMIT && periods < EXACT_PERIODS;
                rolling(now, length, if exact { 1 } else { length.div_ceil(SUB_WINDOWS) })
            }
        }
    }

    /// Whether a period's uses count now.
    fn counts(&self, period: Period, now: UnixMillis) -> bool {
        match self.frame {
            Frame::Fixed { length, offset } => period == fixed(now, length, offset),
            Frame::Rolling { .. } => period.ends > now,
        }
    }

    /// Uses that count now, out of a bucket's periods with their uses.
    pub fn used(&self, periods: impl Iterator<Item = (Period, u64)>, now: UnixMillis) -> u64 {
        periods
            .filter(|(period, _)| self.counts(*period, now))
            .fold(0, |sum, (_, uses)| sum.saturating_add(uses))
    }

    /// When more uses become available than are now: at a limit that is reached, when the first
    /// use can be made again; below it, when the first of the uses ends. With no use to end, when
    /// a use made now would.
    pub fn resets(
        &self,
        periods: impl Iterator<Item = (Period, u64)>,
        now: UnixMillis,
    ) -> UnixMillis {
        if let Frame::Fixed { length, offset } = self.frame {
            return fixed(now, length, offset).ends;
        }
        let mut ends: Vec<(UnixMillis, u64)> = periods
            .filter(|(period, uses)| *uses > 0 && self.counts(*period, now))
            .map(|(period, uses)| (period.ends, uses))
            .collect();
        ends.sort_unstable();
        let mut left = ends.iter().fold(0u64, |sum, (_, uses)| sum.saturating_add(*uses));
        let enough = left.min(self.limit);
        for (end, uses) in ends {
            left = left.saturating_sub(uses);
            if left < enough {
                return end;
            }
        }
        self.period(now, 0).ends
    }
}

impl Frame {
    fn of(window: Window) -> Self {
        let millis =
            |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let length = millis(window.length()).max(1);
        match window {
            Window::Fixed { offset, .. } => Self::Fixed { length, offset: millis(offset) },
            Window::Rolling { .. } => Self::Rolling { length },
        }
    }
}

fn fixed(now: UnixMillis, length: u64, offset: u64) -> Period {
    let shift = offset % length;
    let Some(since) = now.0.checked_sub(shift) else {
        return Period { start: UnixMillis(0), ends: UnixMillis(shift) };
    };
    let start = since - since % length + shift;
    Period { start: UnixMillis(start), ends: UnixMillis(start.saturating_add(length)) }
}

/// The last use of a slot is made at `start + width - 1`, and it counts for `length` from then.
fn rolling(now: UnixMillis, length: u64, width: u64) -> Period {
    let start = now.0 - now.0 % width;
    let ends = start.saturating_add(width - 1).saturating_add(length);
    Period { start: UnixMillis(start), ends: UnixMillis(ends) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn terms(frame: Frame, limit: u64) -> Terms {
        Terms { frame, limit, unconfirmed: None }
    }

    fn at(start: u64, ends: u64) -> Period {
        Period { start: UnixMillis(start), ends: UnixMillis(ends) }
    }

    #[test]
    fn a_fixed_day_starts_at_midnight_utc_or_at_the_hour_that_the_offset_says() {
        let utc = terms(Frame::Fixed { length: DAY, offset: 0 }, 4);
        assert_eq!(utc.period(UnixMillis(DAY * 3 + 5), 0), at(DAY * 3, DAY * 4));
        assert_eq!(utc.period(UnixMillis(DAY * 3), 0), at(DAY * 3, DAY * 4));
        assert_eq!(utc.period(UnixMillis(DAY * 3 - 1), 0), at(DAY * 2, DAY * 3));
        let six = 6 * 3_600_000;
        let morning = terms(Frame::Fixed { length: DAY, offset: six }, 4);
        assert_eq!(morning.period(UnixMillis(DAY * 3), 0), at(DAY * 2 + six, DAY * 3 + six));
        assert_eq!(morning.period(UnixMillis(DAY * 3 + six), 0), at(DAY * 3 + six, DAY * 4 + six));
        assert_eq!(morning.period(UnixMillis(5), 0), at(0, six));
    }

    #[test]
    fn only_the_current_fixed_period_counts() {
        let terms = terms(Frame::Fixed { length: 100, offset: 0 }, 4);
        let periods = [(at(0, 100), 3), (at(100, 200), 2)];
        assert_eq!(terms.used(periods.into_iter(), UnixMillis(99)), 3);
        assert_eq!(terms.used(periods.into_iter(), UnixMillis(100)), 2);
        assert_eq!(terms.used(periods.into_iter(), UnixMillis(200)), 0);
        assert_eq!(terms.resets(periods.into_iter(), UnixMillis(150)), UnixMillis(200));
        assert_eq!(terms.resets(periods.into_iter(), UnixMillis(250)), UnixMillis(300));
    }

    #[test]
    fn a_small_rolling_window_is_exact_to_the_millisecond() {
        let terms = terms(Frame::Rolling { length: DAY }, 4);
        let use_at_7 = [(terms.period(UnixMillis(7), 0), 1)];
        assert_eq!(terms.used(use_at_7.into_iter(), UnixMillis(7 + DAY - 1)), 1);
        assert_eq!(terms.used(use_at_7.into_iter(), UnixMillis(7 + DAY)), 0);
    }

    #[test]
    fn a_large_rolling_window_counts_by_sub_windows_and_never_too_short() {
        let terms = terms(Frame::Rolling { length: 6000 }, 65);
        assert_eq!(terms.period(UnixMillis(250), 0), at(200, 299 + 6000));
        let exact = Terms { limit: 64, ..terms };
        assert_eq!(exact.period(UnixMillis(250), 0), at(250, 250 + 6000));
        assert_eq!(exact.period(UnixMillis(250), EXACT_PERIODS), at(200, 299 + 6000));
    }

    #[test]
    fn a_spent_rolling_window_resets_when_a_use_can_be_made_again() {
        let terms = terms(Frame::Rolling { length: 100 }, 3);
        let periods = [(at(1, 101), 1), (at(5, 105), 0), (at(9, 109), 2)];
        assert_eq!(terms.resets(periods.into_iter(), UnixMillis(50)), UnixMillis(101));
        let lowered = Terms { limit: 2, ..terms };
        assert_eq!(lowered.resets(periods.into_iter(), UnixMillis(50)), UnixMillis(109));
        assert_eq!(terms.resets([].into_iter(), UnixMillis(50)), UnixMillis(150));
    }

    #[test]
    fn times_at_the_end_of_the_number_range_do_not_overflow() {
        for frame in [Frame::Fixed { length: DAY, offset: 7 }, Frame::Rolling { length: u64::MAX }]
        {
            for limit in [1, 1000] {
                let period = terms(frame, limit).period(UnixMillis(u64::MAX), 0);
                assert!(period.ends >= period.start);
            }
        }
    }

    /// A bucket as the ledger keeps it, without a journal.
    #[derive(Default)]
    struct Counts(std::collections::BTreeMap<Period, u64>);

    impl Counts {
        fn admit(&mut self, terms: &Terms, now: UnixMillis) -> bool {
            let periods = || self.0.iter().map(|(period, uses)| (*period, *uses));
            let admitted = terms.used(periods(), now) < terms.limit;
            if admitted {
                *self.0.entry(terms.period(now, self.0.len())).or_default() += 1;
            } else {
                let again = terms.resets(periods(), now);
                assert!(again > now && terms.used(periods(), again) < terms.limit);
                assert!(terms.used(periods(), UnixMillis(again.0 - 1)) >= terms.limit);
            }
            admitted
        }
    }

    fn times() -> impl Strategy<Value = Vec<UnixMillis>> {
        proptest::collection::vec(0..90u64, 1..400).prop_map(|gaps| {
            let sums = gaps.into_iter().scan(0, |time, gap| {
                *time += gap;
                Some(UnixMillis(*time))
            });
            sums.collect()
        })
    }

    proptest! {
        /// The reference keeps every admitted use to the millisecond.
        #[test]
        fn a_rolling_window_is_never_exceeded_and_hardly_stricter_than_it_says(
            length in 1..3000u64, limit in prop_oneof![1..8u64, 64..68u64], times in times(),
        ) {
            let terms = terms(Frame::Rolling { length }, limit);
            let exact = limit <= EXACT_LIMIT;
            let (mut counts, mut admitted) = (Counts::default(), Vec::new());
            for now in times {
                let within = |span: u64| {
                    admitted.iter().filter(|at: &&UnixMillis| at.0 + span > now.0).count() as u64
                };
                let slack = if exact && counts.0.len() < EXACT_PERIODS { 0 } else { length.div_ceil(SUB_WINDOWS) };
                let (in_window, at_most) = (within(length), within(length + slack));
                let is_admitted = counts.admit(&terms, now);
                prop_assert!(!is_admitted || in_window < limit, "one too many at {now:?}");
                if counts.0.len() < EXACT_PERIODS || !exact {
                    prop_assert!(is_admitted || at_most >= limit, "refused too soon at {now:?}");
                }
                if is_admitted {
                    admitted.push(now);
                }
            }
        }

        #[test]
        fn a_fixed_window_admits_exactly_its_limit_in_each_period(
            length in 1..3000u64, offset in 0..5000u64, limit in 1..8u64, times in times(),
        ) {
            let terms = terms(Frame::Fixed { length, offset }, limit);
            let (mut counts, mut by_period) = (Counts::default(), std::collections::BTreeMap::new());
            for now in times {
                let number = (now.0 + length * 5000 - offset) / length;
                let uses: &mut u64 = by_period.entry(number).or_default();
                let is_admitted = counts.admit(&terms, now);
                prop_assert_eq!(is_admitted, *uses < limit);
                *uses += u64::from(is_admitted);
            }
        }
    }
}
