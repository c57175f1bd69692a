//! Amounts in integers of minor units (cents): never floats.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// An amount in minor units of the bank's only currency, [`CURRENCY`]. Shown as a decimal string: `"-12.34"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(i64);

/// ISO 4217 code of every amount.
pub const CURRENCY: &str = "USD";

/// No single amount from outside exceeds this: sums of them stay far from the ends of an `i64`.
const LARGEST_INPUT: i64 = 100_000_000_000;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// This many minor units.
    pub const fn cents(cents: i64) -> Self {
        Self(cents)
    }

    /// This many minor units, when given from outside: none but positive amounts of up to a thousand million.
    pub fn from_outside(cents: i64) -> Option<Self> {
        (1..=LARGEST_INPUT).contains(&cents).then_some(Self(cents))
    }

    /// The amount in minor units.
    pub const fn in_cents(self) -> i64 {
        self.0
    }

    /// This many hundredths of a percent of the amount, rounded towards zero.
    pub const fn share(self, basis_points: i64) -> Self {
        Self(self.0 * basis_points / 10_000)
    }

    /// One month's interest at this yearly rate, rounded half up.
    pub const fn monthly_interest(self, yearly_basis_points: i64) -> Self {
        Self((self.0 * yearly_basis_points + 60_000).div_euclid(120_000))
    }

    /// Rounded down to a multiple of `step` minor units.
    pub const fn down_to(self, step: i64) -> Self {
        Self(self.0 - self.0.rem_euclid(step))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not a positive amount with at most two decimals.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a positive amount with at most two decimals, such as \"25.00\"")]
pub struct NotAnAmount;

impl FromStr for Money {
    type Err = NotAnAmount;

    /// Reads a positive amount from outside: `25`, `25.5` or `25.00`.
    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "00"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 12 || decimals.len() > 2 {
            return Err(NotAnAmount);
        }
        let cents = format!("{whole}{decimals:0<2}").parse().map_err(|_| NotAnAmount)?;
        Self::from_outside(cents).ok_or(NotAnAmount)
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Money {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_shown_with_two_decimals() {
        assert_eq!(Money::cents(-5).to_string(), "-0.05");
        assert_eq!(Money::cents(123_456).to_string(), "1234.56");
    }

    #[test]
    fn odd_amounts_are_refused() {
        for text in
            ["", "0", "0.00", "-1", "+1", "1.", ".5", "1.234", "1e3", "1,00", "9999999999999"]
        {
            assert_eq!(text.parse::<Money>(), Err(NotAnAmount), "{text}");
        }
        assert_eq!("25.5".parse(), Ok(Money::cents(2_550)));
    }

    #[test]
    fn interest_rounds_half_up() {
        assert_eq!(Money::cents(120_000).monthly_interest(1_200), Money::cents(1_200));
        assert_eq!(Money::cents(60_000).monthly_interest(1), Money::cents(1));
        assert_eq!(Money::cents(59_999).monthly_interest(1), Money::ZERO);
    }

    proptest! {
        #[test]
        fn a_shown_amount_reads_back(cents in 1..LARGEST_INPUT) {
            prop_assert_eq!(Money::cents(cents).to_string().parse(), Ok(Money::cents(cents)));
        }
    }
}
