//! What backends say about accounts that changed: the topic `account-changes`.
//!
//! The form of an event is published as `docs/account-changes.schema.json`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use crate::account::{AccountHasher, AccountKey};
use crate::request::{AccountId, UnixMillis};

/// Largest event, in bytes. A good one has less than three hundred.
const MOST_BYTES: usize = 4096;
/// Longest name of a class of data, in bytes. `config::check` holds routes to the same.
const MOST_CLASS_BYTES: usize = 64;

/// What stands for a class of data in keys: the first half of its name's SHA-256.
pub(in crate::vault) type ClassTag = [u8; 16];

pub(in crate::vault) fn class_tag(class: &str) -> ClassTag {
    let mut tag = [0; 16];
    let hash = digest(&SHA256, class.as_bytes());
    tag.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    tag
}

/// An account changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vault) struct ChangeEvent {
    pub(in crate::vault) account: AccountKey,
    /// Which of its data; `None`: any.
    pub(in crate::vault) class: Option<ClassTag>,
    pub(in crate::vault) at: UnixMillis,
}

/// Why an event can't be used. None of these texts has a part of the event in it: an account
/// number must not get into a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::vault) enum EventError {
    #[error("it is empty")]
    Empty,
    #[error("it is larger than {MOST_BYTES} bytes")]
    TooLarge,
    #[error("it is not JSON")]
    NotJson,
    #[error("it is not an object with the keys account, data_class and time, each a text")]
    Form,
    #[error("its account can't be one")]
    Account,
    #[error("its data_class is not 1 to {MOST_CLASS_BYTES} printable characters")]
    Class,
    #[error("its time is not one of RFC 3339")]
    Time,
}

impl EventError {
    /// For metrics.
    pub(in crate::vault) const fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::Form => "form",
            Self::Account => "account",
            Self::Class => "data_class",
            Self::Time => "time",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    account: String,
    data_class: Option<String>,
    time: String,
}

impl ChangeEvent {
    /// Reads an event. One from the future counts as of now: a wrong clock must not keep an
    /// account out of the cache until its time has come.
    pub(in crate::vault) fn read(
        bytes: Option<&[u8]>,
        accounts: &AccountHasher,
        now: UnixMillis,
    ) -> Result<Self, EventError> {
        let bytes = bytes.filter(|bytes| !bytes.is_empty()).ok_or(EventError::Empty)?;
        if bytes.len() > MOST_BYTES {
            return Err(EventError::TooLarge);
        }
        // A list of the three values would pass for the object otherwise.
        let is_list = bytes.trim_ascii_start().starts_with(b"[");
        let written: Written =
            serde_json::from_slice(bytes).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => EventError::Form,
                _ => EventError::NotJson,
            })?;
        if is_list {
            return Err(EventError::Form);
        }
        let account = AccountId::parse(&written.account).map_err(|_| EventError::Account)?;
        let class = match &written.data_class {
            Some(class) if !is_class(class) => return Err(EventError::Class),
            class => class.as_deref().map(class_tag),
        };
        let at = rfc3339(&written.time).ok_or(EventError::Time)?.min(now);
        Ok(Self { account: accounts.key(&account), class, at })
    }
}

/// Whether a text can name a class of data.
fn is_class(text: &str) -> bool {
    (1..=MOST_CLASS_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A time before 1970 counts as 1970: nothing is older.
fn rfc3339(text: &str) -> Option<UnixMillis> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    let since = SystemTime::from(time).duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::vault::testing::NOW;

    fn hasher() -> AccountHasher {
        AccountHasher::new(b"test")
    }

    fn read(event: &Value) -> Result<ChangeEvent, EventError> {
        ChangeEvent::read(Some(event.to_string().as_bytes()), &hasher(), NOW)
    }

    fn schema() -> jsonschema::Validator {
        let schema: Value =
            serde_json::from_str(include_str!("../../../docs/account-changes.schema.json"))
                .unwrap();
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    }

    #[test]
    fn the_published_schema_and_the_reader_agree() {
        let schema = schema();
        let time = "2027-01-15T08:00:00Z";
        let good = [
            json!({"account": "4711", "data_class": "balances", "time": time}),
            json!({"account": "4711", "time": time}),
            json!({"account": "4711", "data_class": null, "time": time}),
            json!({"account": "4711", "time": "2027-01-15T09:00:00.123+01:00"}),
        ];
        for event in good {
            assert!(schema.is_valid(&event) && read(&event).is_ok(), "{event}");
        }
        let bad = [
            (json!({"account": "", "time": time}), EventError::Account),
            (json!({"account": "4 711", "time": time}), EventError::Account),
            (json!({"account": "x".repeat(129), "time": time}), EventError::Account),
            (json!({"account": 4711, "time": time}), EventError::Form),
            (json!({"time": time}), EventError::Form),
            (json!({"account": "4711"}), EventError::Form),
            (json!({"account": "4711", "time": time, "more": 1}), EventError::Form),
            (json!(["4711", "balances", time]), EventError::Form),
            (json!({"account": "4711", "data_class": "", "time": time}), EventError::Class),
            (
                json!({"account": "4711", "data_class": "x".repeat(65), "time": time}),
                EventError::Class,
            ),
            (json!({"account": "4711", "time": "yesterday"}), EventError::Time),
            (json!({"account": "4711", "time": "2027-01-15"}), EventError::Time),
        ];
        for (event, why) in bad {
            assert!(!schema.is_valid(&event), "{event}");
            assert_eq!(read(&event), Err(why), "{event}");
        }
    }

    #[test]
    fn what_is_no_event_is_told_apart_without_a_word_of_it() {
        let read = |bytes: Option<&[u8]>| ChangeEvent::read(bytes, &hasher(), NOW).unwrap_err();
        assert_eq!(read(None), EventError::Empty);
        assert_eq!(read(Some(b"")), EventError::Empty);
        assert_eq!(read(Some(b"{\"account\": \"4711\"")), EventError::NotJson);
        assert_eq!(read(Some(b"\xff")), EventError::NotJson);
        assert_eq!(read(Some(&vec![b' '; MOST_BYTES + 1])), EventError::TooLarge);
        assert!(!read(Some(b"{\"account\": 4711}")).to_string().contains("4711"));
    }

    #[test]
    fn an_event_names_the_account_by_its_key_and_is_never_from_the_future() {
        let event =
            json!({"account": "4711", "data_class": "cards", "time": "2999-01-01T00:00:00Z"});
        let read = read(&event).unwrap();
        assert_eq!(read.account, hasher().key(&AccountId::parse("4711").unwrap()));
        assert_eq!(read.class, Some(class_tag("cards")));
        assert_eq!(read.at, NOW);
    }
}
