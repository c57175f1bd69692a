//! What can be wrong with a port, and the switch that makes it so.

mod strike;
mod switch;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use strike::strike;
pub use switch::FaultSwitch;

/// What is wrong with a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing.
    #[default]
    Ok,
    /// Answers come late; those that wait come at once when the switch is set again.
    Slow,
    /// 500 with a problem body; the request has no effect.
    #[serde(rename = "500")]
    InternalError,
    /// Bytes that are not HTTP, instead of the answer.
    Garbage,
    /// 200 with a JSON content type and a body that is no JSON.
    GarbageJson,
    /// The head and half of the body, then the connection closes.
    Cut,
    /// The whole body under a content-length that promises more, then the connection closes.
    WrongLength,
    /// The whole body under a content-length of half of it; the connection stays open.
    ShortLength,
    /// A right answer, followed on the same open connection by a second one that nobody asked for.
    Smuggle,
    /// A chunked JSON body that never ends.
    Endless,
    /// A valid JSON body of 64 MiB.
    Huge,
    /// Requests are met by a closed connection; `/healthz` says 503. Idle connections are closed.
    Down,
    /// The port is closed: connections are refused.
    Refuse,
}

/// A fault as it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What is wrong.
    pub fault: Fault,
    /// How much later answers come, in milliseconds. Only for `slow`; 10 s when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// Only the next so many requests are struck, then the fault is `ok` again. All, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// The setting contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// Only `slow` takes a time.
    #[error("`ms` belongs to the fault `slow` only, and is at most 3600000")]
    Time,
    /// These faults strike connections, which nobody counts.
    #[error("`times` is at least 1 and does not go with `ok`, `down` or `refuse`")]
    Times,
}

impl Setting {
    /// An hour: nobody waits longer on purpose.
    const LONGEST_MS: u64 = 3_600_000;

    /// The setting, if it makes sense.
    pub fn checked(self) -> Result<Self, BadSetting> {
        if self.ms.is_some_and(|ms| self.fault != Fault::Slow || ms > Self::LONGEST_MS) {
            return Err(BadSetting::Time);
        }
        let countable = !matches!(self.fault, Fault::Ok | Fault::Down | Fault::Refuse);
        if self.times.is_some_and(|times| times == 0 || !countable) {
            return Err(BadSetting::Times);
        }
        Ok(self)
    }

    /// How late a slow answer is.
    pub fn slowness(self) -> Duration {
        self.ms.map_or(Duration::from_secs(10), Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Setting, String> {
        let setting: Setting = serde_json::from_str(text).map_err(|error| error.to_string())?;
        setting.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn faults_are_named_as_documented() {
        for name in [
            "ok",
            "slow",
            "500",
            "garbage",
            "garbage-json",
            "cut",
            "wrong-length",
            "short-length",
            "smuggle",
            "endless",
            "huge",
            "down",
            "refuse",
        ] {
            let setting = read(&format!(r#"{{"fault":"{name}"}}"#)).unwrap();
            assert_eq!(serde_json::to_value(setting.fault).unwrap(), name);
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        assert!(read(r#"{"fault":"sloww"}"#).unwrap_err().contains("expected one of"));
        assert!(read(r#"{"fault":"cut","ms":5}"#).is_err());
        assert!(read(r#"{"fault":"slow","ms":3600001}"#).is_err());
        assert!(read(r#"{"fault":"cut","times":0}"#).is_err());
        assert!(read(r#"{"fault":"down","times":2}"#).is_err());
        assert!(read(r#"{"fault":"ok","speed":2}"#).is_err());
    }
}
