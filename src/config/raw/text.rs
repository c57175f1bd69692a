use std::borrow::Cow;
use std::time::Duration as Time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

const DURATION_PATTERN: &str = "^[0-9]{1,9}(ms|s|m|h|d)$";
const BYTES_PATTERN: &str = "^[0-9]{1,12}(B|KiB|MiB|GiB|TiB)$";
const RATE_PATTERN: &str = "^[1-9][0-9]{0,8}/(s|m|h)$";

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A length of time: `250ms`, `10s`, `5m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub Time);

/// A number of bytes: `64KiB`, `1MiB`, `4GiB`, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A rate: `100/s`, `5/m`, `1000/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateText {
    /// Requests in the window.
    pub requests: u32,
    /// One second, minute or hour.
    pub window: Time,
}

/// So many seconds, as a default.
pub fn seconds<const N: u64>() -> Duration {
    Duration(Time::from_secs(N))
}

/// So many MiB, as a default.
pub fn mebibytes<const N: u64>() -> Bytes {
    Bytes(N << 20)
}

/// A number, as a default.
pub fn whole<const N: u32>() -> u32 {
    N
}

/// True, as a default.
pub fn yes() -> bool {
    true
}

/// Divides `10s` into 10 and the factor of its unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes a number with the largest unit that divides it.
fn in_units(number: u64, units: &[(&str, u64)], zero: &str) -> String {
    let fits = |factor: u64| number.is_multiple_of(factor) && number != 0;
    match units.iter().find(|(_, factor)| fits(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None => zero.to_owned(),
    }
}

impl Duration {
    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        with_unit(text, &TIME_UNITS).map(|millis| Self(Time::from_millis(millis)))
    }
}

impl Bytes {
    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        with_unit(text, &SIZE_UNITS).map(Self)
    }
}

impl RateText {
    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_once('/')?;
        let requests = number.parse().ok()?;
        let window = match unit {
            "s" => Time::from_secs(1),
            "m" => Time::from_secs(60),
            "h" => Time::from_secs(3600),
            _ => return None,
        };
        Some(Self { requests, window })
    }
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        f.write_str(&in_units(millis, &TIME_UNITS, "0s"))
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&in_units(self.0, &SIZE_UNITS, "0B"))
    }
}

impl std::fmt::Display for RateText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.window.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

/// Ties a text form to serde and to the schema.
macro_rules! written {
    ($type:ident, $name:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

written!(Duration, "Duration", {
    "title": "a duration", "type": "string", "pattern": DURATION_PATTERN,
    "examples": ["250ms", "10s", "5m", "24h", "7d"],
});
written!(Bytes, "Bytes", {
    "title": "a size", "type": ["string", "integer"], "pattern": BYTES_PATTERN, "minimum": 0,
    "examples": ["64KiB", "1MiB", "4GiB"],
});
written!(RateText, "RateText", {
    "title": "a rate", "type": "string", "pattern": RATE_PATTERN,
    "examples": ["100/s", "5/m", "1000/h"],
});

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a duration"))
    }
}

impl<'de> Deserialize<'de> for RateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a rate"))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => Self::parse(&text).ok_or_else(|| D::Error::custom("not a size")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        for (text, millis) in
            [("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("7d", 604_800_000)]
        {
            assert_eq!(Duration::parse(text), Some(Duration(Time::from_millis(millis))));
        }
        for (text, bytes) in [("64KiB", 65_536), ("1MiB", 1 << 20), ("3B", 3), ("0B", 0)] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)));
        }
        for text in ["", "s", "10", "10 s", "-1s", "1.5h", "1h30m", "99999999999999999999d"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        let hourly = RateText::parse("1000/h").unwrap();
        assert_eq!((hourly.requests, hourly.window), (1000, Time::from_secs(3600)));
        for text in ["100", "100/d", "/s", "1/ s", "-1/s"] {
            assert_eq!(RateText::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_the_same(number in 0_u64..1 << 50) {
            let duration = Duration(Time::from_millis(number));
            proptest::prop_assert_eq!(Duration::parse(&duration.to_string()), Some(duration));
            let bytes = Bytes(number);
            proptest::prop_assert_eq!(Bytes::parse(&bytes.to_string()), Some(bytes));
        }

        #[test]
        fn what_the_schema_lets_through_can_be_read(text in "[0-9]{1,9}(ms|s|m|h|d)") {
            proptest::prop_assert!(Duration::parse(&text).is_some());
        }
    }
}
