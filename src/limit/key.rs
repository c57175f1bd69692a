use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

use crate::request::{Facts, ValueSource};

/// A keyed 128-bit hash of the values that a count is kept for. Nobody outside the process can
/// find two requests with the same one, or aim at a place in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(pub u64, pub u64);

/// Two SipHash functions, keyed at random when the process starts.
#[derive(Default)]
pub(super) struct KeyHasher {
    first: RandomState,
    second: RandomState,
}

impl KeyHasher {
    /// The key of a request; `None` for a limit that has one count for all.
    pub fn key(&self, per: &[ValueSource], facts: &Facts<'_>) -> Option<Key> {
        if per.is_empty() {
            return None;
        }
        let mut hashers = (self.first.build_hasher(), self.second.build_hasher());
        for source in per {
            match source {
                ValueSource::Address => add(&mut hashers, Some(&network(facts.head.address))),
                other => add(&mut hashers, other.resolve(facts).as_deref().map(str::as_bytes)),
            }
        }
        Some(Key(hashers.0.finish(), hashers.1.finish()))
    }
}

/// Each value with its length, so that ("ab", "c") isn't ("a", "bc"), and an absent one apart from
/// an empty one.
fn add<H: Hasher>(hashers: &mut (H, H), value: Option<&[u8]>) {
    for hasher in [&mut hashers.0, &mut hashers.1] {
        hasher.write_u64(value.map_or(u64::MAX, |value| value.len() as u64));
        hasher.write(value.unwrap_or_default());
    }
}

/// One customer of an IPv6 network has 2^64 addresses and more, so all of a /64 share a count.
fn network(address: IpAddr) -> [u8; 8] {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, ..] = address.octets();
            [a, b, c, d, e, f, g, h]
        }
    }
}
