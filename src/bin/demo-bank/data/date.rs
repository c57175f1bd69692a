//! Calendar dates and months, without a clock: the bank's history ends on a fixed day, so that every run yields the same data.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A day of the Gregorian calendar, as days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(i64);

impl Date {
    /// The date of this year, month (1-12) and day, or `None` when the calendar has no such day.
    pub fn new(year: i64, month: i64, day: i64) -> Option<Self> {
        if !(1..=9999).contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        let date = Self::from_civil(year, month, day);
        (date.civil() == (year, month, day)).then_some(date)
    }

    /// This many days later.
    pub fn plus_days(self, days: i64) -> Self {
        Self(self.0 + days)
    }

    /// Howard Hinnant's `days_from_civil`: years that start in March put the leap day at the end.
    pub(super) const fn from_civil(year: i64, month: i64, day: i64) -> Self {
        let shifted_year = if month <= 2 { year - 1 } else { year };
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self(era * 146_097 + day_of_era - 719_468)
    }

    /// Year, month and day: the inverse of [`Date::from_civil`].
    fn civil(self) -> (i64, i64, i64) {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = (shifted_month + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not a date of the form `YYYY-MM-DD`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date of the form YYYY-MM-DD")]
pub struct NotADate;

impl FromStr for Date {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Self, NotADate> {
        let number = |part: Option<&str>, digits: usize| {
            part.filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|part| part.parse().ok())
                .ok_or(NotADate)
        };
        let mut parts = text.splitn(3, '-');
        let year = number(parts.next(), 4)?;
        let month = number(parts.next(), 2)?;
        let day = number(parts.next(), 2)?;
        Self::new(year, month, day).ok_or(NotADate)
    }
}

/// A calendar month, as months since year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(i64);

impl Month {
    /// The month of this year and number (1-12).
    pub const fn new(year: i64, month: i64) -> Self {
        Self(year * 12 + month - 1)
    }

    /// This many months later (or earlier, when negative).
    pub const fn plus(self, months: i64) -> Self {
        Self(self.0 + months)
    }

    /// The number of the month in its year: 1-12.
    pub fn number(self) -> i64 {
        self.0.rem_euclid(12) + 1
    }

    /// This day of the month; days that a short month lacks become its last day.
    pub fn day(self, day: i64) -> Date {
        self.first().plus_days(day - 1).min(self.last())
    }

    /// The last day of the month.
    pub fn last(self) -> Date {
        self.plus(1).first().plus_days(-1)
    }

    fn first(self) -> Date {
        Date::from_civil(self.0.div_euclid(12), self.number(), 1)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.div_euclid(12), self.number())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_epoch_is_day_zero() {
        assert_eq!(Date::new(1970, 1, 1), Some(Date(0)));
        assert_eq!(Date::new(2000, 3, 1), Some(Date(11_017)));
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["2023-02-29", "2023-13-01", "2023-00-10", "2023-1-01", "+023-01-01", ""] {
            assert_eq!(text.parse::<Date>(), Err(NotADate), "{text}");
        }
        assert_eq!("2024-02-29".parse::<Date>().map(|d| d.to_string()), Ok("2024-02-29".into()));
    }

    #[test]
    fn a_short_month_ends_early() {
        assert_eq!(Month::new(2023, 2).day(30).to_string(), "2023-02-28");
        assert_eq!(Month::new(2023, 12).plus(2).last().to_string(), "2024-02-29");
    }

    proptest! {
        #[test]
        fn every_day_reads_back_as_written(days in -700_000i64..2_900_000) {
            let date = Date(days);
            prop_assert_eq!(date.to_string().parse::<Date>(), Ok(date));
        }
    }
}
