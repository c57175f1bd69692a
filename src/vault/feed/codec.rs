//! What stands on the topic of answers.
//!
//! | record | key | value |
//! |---|---|---|
//! | an answer | `a`, account, hash | version, base, the sealed record |
//! | a purge of one answer | `e`, account, hash | version, its number |
//! | a purge of an account | `c`, account | version, its number |
//! | a purge of a route | `r`, its name | version, its number |
//! | a purge of everything | `*` | version, its number |
//!
//! The key of an answer is its place, so that a newer version compacts the older one. A purge has a
//! key of its own, never an answer's: a version that comes after it must not compact it away, since
//! a gateway that was away still needs it for the version that it has. Of several purges of one
//! scope the latest is enough, for it removes what the earlier ones would have removed as well.
//!
//! What a purge means stands in its key alone, and is the same in every version. The number, of 16
//! random bytes, is the same in all records of one purge; without it each is taken for one alone. A release that
//! adds another kind of purge has to write one of these beside it as long as there are gateways of
//! an older release. Numbers are big-endian.

use pingora_cache::key::HashBinary;

use crate::request::RouteId;
use crate::vault::change::Scope;
use crate::vault::key::Place;

const VERSION: u8 = 1;
const ANSWER: u8 = b'a';
const ENTRY: u8 = b'e';
const ACCOUNT: u8 = b'c';
const ROUTE: u8 = b'r';
const ALL: u8 = b'*';

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::vault) enum Message {
    /// An answer, sealed.
    Answer {
        place: Place,
        /// Up to where the gateway that filled it had followed the partition when it sent it: of
        /// purges from there on it knew nothing.
        base: u64,
        record: Vec<u8>,
    },
    /// Remove what stands before this in the partition.
    Purge(Scope, Option<PurgeNumber>),
}

/// Tells which records are of one purge.
pub(in crate::vault) type PurgeNumber = [u8; 16];

/// Why bytes are no record of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::vault) enum CodecError {
    #[error("unknown version {0}")]
    Version(u8),
    #[error("no key that a gateway writes")]
    Key,
    #[error("cut short")]
    Cut,
}

/// Bytes that an answer takes on the topic besides its record.
pub(super) const AROUND_ANSWER: usize = 33 + 9;

pub(super) fn answer_key(place: &Place) -> Vec<u8> {
    [&[ANSWER], &place.account[..], &place.hash].concat()
}

pub(super) fn answer_value(base: u64, record: &[u8]) -> Vec<u8> {
    [&[VERSION], &base.to_be_bytes()[..], record].concat()
}

/// `None` for what is no purge of a gateway's: changes of an account have a topic of their own.
pub(super) fn purge_key(scope: &Scope) -> Option<Vec<u8>> {
    Some(match scope {
        Scope::Entry(place) => [&[ENTRY], &place.account[..], &place.hash].concat(),
        Scope::Account(account) => [&[ACCOUNT], &account[..]].concat(),
        Scope::Route(route) => [&[ROUTE], route.as_str().as_bytes()].concat(),
        Scope::All => vec![ALL],
        Scope::Part(..) | Scope::Changed(_) => return None,
    })
}

pub(super) fn purge_value(number: &PurgeNumber) -> Vec<u8> {
    [&[VERSION], &number[..]].concat()
}

/// The scope of a purge's key.
pub(super) fn purge_of(key: &[u8]) -> Result<Scope, CodecError> {
    let (kind, rest) = key.split_first().ok_or(CodecError::Key)?;
    match *kind {
        ENTRY => place(rest).map(Scope::Entry),
        ACCOUNT => rest.try_into().ok().map(Scope::Account),
        ROUTE => std::str::from_utf8(rest).ok().map(|route| Scope::Route(RouteId::new(route))),
        ALL if rest.is_empty() => Some(Scope::All),
        _ => None,
    }
    .ok_or(CodecError::Key)
}

/// Reads a record of the topic. An answer's key without a value, which no gateway writes but an
/// operator's tool may, is a purge of it.
pub(in crate::vault) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Message, CodecError> {
    let Some(place_bytes) = key.strip_prefix(&[ANSWER]) else {
        let number = value.and_then(|value| value.get(1..17)?.try_into().ok());
        return purge_of(key).map(|scope| Message::Purge(scope, number));
    };
    let place = place(place_bytes).ok_or(CodecError::Key)?;
    let Some(value) = value else { return Ok(Message::Purge(Scope::Entry(place), None)) };
    let (version, rest) = value.split_first().ok_or(CodecError::Cut)?;
    if *version != VERSION {
        return Err(CodecError::Version(*version));
    }
    let (base, record) = rest.split_first_chunk().ok_or(CodecError::Cut)?;
    Ok(Message::Answer { place, base: u64::from_be_bytes(*base), record: record.to_vec() })
}

fn place(bytes: &[u8]) -> Option<Place> {
    let (account, hash) = bytes.split_first_chunk::<16>()?;
    let hash: HashBinary = hash.try_into().ok()?;
    Some(Place { account: *account, hash })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::testing::place;

    /// Gateways of several releases share the topic: these bytes never change.
    #[test]
    fn the_layout_of_version_1_never_changes() {
        let place = Place { account: [1; 16], hash: [2; 16] };
        let (ones, twos) = ("01".repeat(16), "02".repeat(16));
        assert_eq!(hex::encode(answer_key(&place)), format!("61{ones}{twos}"));
        assert_eq!(hex::encode(answer_value(258, b"xy")), "0100000000000001027879");
        let keys = [
            (Scope::Entry(place), format!("65{ones}{twos}")),
            (Scope::Account([1; 16]), format!("63{ones}")),
            (Scope::Route(RouteId::new("cards")), "726361726473".to_owned()),
            (Scope::All, "2a".to_owned()),
        ];
        for (scope, bytes) in keys {
            let key = purge_key(&scope).unwrap();
            assert_eq!(hex::encode(&key), bytes);
            let purge = |number| Ok(Message::Purge(scope.clone(), number));
            assert_eq!(decode(&key, Some(&purge_value(&[3; 16]))), purge(Some([3; 16])));
            assert_eq!(decode(&key, Some(&[7, 7])), purge(None));
        }
        assert_eq!(hex::encode(purge_value(&[3; 16])), format!("01{}", "03".repeat(16)));
    }

    #[test]
    fn an_answer_comes_back_and_a_later_version_is_named() {
        let (key, value) = (answer_key(&place(1)), answer_value(7, b"sealed"));
        let answer = Message::Answer { place: place(1), base: 7, record: b"sealed".to_vec() };
        assert_eq!(decode(&key, Some(&value)), Ok(answer));
        assert_eq!(decode(&key, None), Ok(Message::Purge(Scope::Entry(place(1)), None)));
        assert_eq!(decode(&key, Some(&[2, 0])), Err(CodecError::Version(2)));
        assert_eq!(decode(&key, Some(&value[..8])), Err(CodecError::Cut));
        assert_eq!(decode(&key[..20], Some(&value)), Err(CodecError::Key));
        assert_eq!(decode(b"", Some(&value)), Err(CodecError::Key));
        assert_eq!(decode(b"*x", None), Err(CodecError::Key));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(
            key in proptest::collection::vec(any::<u8>(), 0..60),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
        ) {
            let _ = decode(&key, value.as_deref());
        }
    }
}
