use std::sync::Arc;

use crate::request::UnixMillis;

/// A place in a partition.
pub type Offset = u64;

/// What stands for an account in a record: a keyed hash, never its number.
pub type AccountBytes = [u8; 16];

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// A gateway takes the partition.
    Claim(Claim),
    /// What one epoch counted in one period of one bucket.
    Use(Use),
    /// Some periods are over for good.
    Horizon(Horizon),
}

/// A gateway takes a partition. The offset at which this record stands is the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Name or address of the gateway.
    pub owner: Arc<str>,
    /// Tells this claim from any other: a random number. It also keeps compaction from removing a
    /// claim that somebody may not have read yet.
    pub nonce: u128,
}

/// What one epoch counted in one period of one bucket. The numbers are absolute and never fall,
/// so that of several such records the largest numbers hold: repeats, replays and compaction
/// change nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Use {
    /// The counter.
    pub bucket: Bucket,
    /// The time that these uses belong to.
    pub period: Period,
    /// How often an operator has reset the bucket. Records of earlier rounds no longer count.
    pub round: u32,
    /// Offset of the claim under which the writer counted.
    pub epoch: Offset,
    /// Uses in this epoch.
    pub admitted: u64,
    /// Uses given back in this epoch. May exceed `admitted`: a use of an earlier epoch may be
    /// given back in a later one.
    pub refunded: u64,
}

/// Periods that ended by a time are over for good: nobody counts in them again, whatever a clock
/// says, and their records may be removed. The latest time of all such records holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Horizon {
    /// Offset of the claim under which it was written. Times of one epoch only rise, so that
    /// compaction keeps the latest.
    pub epoch: Offset,
    /// The time.
    pub ended: UnixMillis,
}

/// One concrete counter: an account, and which rule with which other values counts it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket {
    /// The account.
    pub account: AccountBytes,
    /// All else that tells the bucket from others; shared between accounts.
    pub label: Arc<Label>,
}

/// What a bucket is called apart from its account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// Values of the rule's key other than the account, as in `client=budget-app`.
    pub dimensions: Box<str>,
}

/// A span of time that is counted as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    /// First moment at which its uses were made.
    pub start: UnixMillis,
    /// First moment at which they no longer count.
    pub ends: UnixMillis,
}

/// The journal keeps at least the last record of each key. Keys sort by the time at which their
/// records are over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey(Vec<u8>);

impl RecordKey {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From bytes that an earlier [`RecordKey::as_bytes`] gave.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// For a record that doesn't end, its kind.
    pub(super) fn lasting_kind(&self) -> Option<u8> {
        let (ends, rest) = self.0.split_first_chunk()?;
        (*ends == u64::MAX.to_be_bytes()).then_some(*rest.first()?)
    }
}

/// Kinds of record, as they stand in bytes.
pub(super) mod kind {
    pub const CLAIM: u8 = 1;
    pub const USE: u8 = 2;
    pub const HORIZON: u8 = 3;
}

impl Record {
    /// When the record is over and may be removed; `None` for records that stay.
    pub fn ends(&self) -> Option<UnixMillis> {
        match self {
            Self::Use(used) => Some(used.period.ends),
            Self::Claim(_) | Self::Horizon(_) => None,
        }
    }

    /// What tells apart records of which all must be kept. A key carries period, round and epoch,
    /// so that compaction only ever drops smaller numbers of the same count.
    pub fn key(&self) -> RecordKey {
        let mut key = Vec::with_capacity(96);
        key.extend(self.ends().map_or(u64::MAX, |ends| ends.0).to_be_bytes());
        match self {
            Self::Claim(claim) => {
                key.push(kind::CLAIM);
                key.extend(claim.nonce.to_be_bytes());
            }
            Self::Horizon(horizon) => {
                key.push(kind::HORIZON);
                key.extend(horizon.epoch.to_be_bytes());
            }
            Self::Use(used) => {
                key.push(kind::USE);
                key.extend(used.bucket.account);
                key.extend(used.period.start.0.to_be_bytes());
                key.extend(used.round.to_be_bytes());
                key.extend(used.epoch.to_be_bytes());
                key.extend(used.bucket.label.rule.as_bytes());
                // No text has this byte in UTF-8, so that no two labels give one key.
                key.push(0xff);
                key.extend(used.bucket.label.dimensions.as_bytes());
            }
        }
        RecordKey(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(rule: &str, dimensions: &str) -> Use {
        Use {
            bucket: Bucket {
                account: [7; 16],
                label: Arc::new(Label { rule: rule.into(), dimensions: dimensions.into() }),
            },
            period: Period { start: UnixMillis(10), ends: UnixMillis(20) },
            round: 0,
            epoch: 3,
            admitted: 1,
            refunded: 0,
        }
    }

    #[test]
    fn counts_of_one_period_and_epoch_share_a_key() {
        let first = used("daily", "");
        let second = Use { admitted: 2, refunded: 1, ..first.clone() };
        assert_eq!(Record::Use(first).key(), Record::Use(second).key());
    }

    #[test]
    fn another_period_round_epoch_or_bucket_is_another_key() {
        let one = used("daily", "client=a");
        let later = Period { start: UnixMillis(20), ends: UnixMillis(30) };
        let others = [
            Use { period: later, ..one.clone() },
            Use { round: 1, ..one.clone() },
            Use { epoch: 4, ..one.clone() },
            used("daily", "client=b"),
            used("dailyclient=a", ""),
        ];
        let mut keys: Vec<_> = others.into_iter().map(|other| Record::Use(other).key()).collect();
        keys.push(Record::Use(one).key());
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 6);
    }

    #[test]
    fn no_claim_replaces_another() {
        let claim = |nonce| Record::Claim(Claim { owner: "a".into(), nonce });
        assert_ne!(claim(1).key(), claim(2).key());
    }

    #[test]
    fn keys_sort_by_the_end_of_the_period() {
        let early = Record::Use(used("z", ""));
        let late_period = Period { start: UnixMillis(0), ends: UnixMillis(300) };
        let late = Record::Use(Use { period: late_period, ..used("a", "") });
        assert!(early.key() < late.key());
        let horizon = Record::Horizon(Horizon { epoch: 0, ended: UnixMillis(1) });
        assert!(late.key() < horizon.key());
    }
}
