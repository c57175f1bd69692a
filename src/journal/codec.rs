//! Records as bytes. All numbers are big-endian.
//!
//! ```text
//! version 1 | kind 1 | nonce 16 | owner: length 4, UTF-8                              claim
//! version 1 | kind 2 | account 16 | start 8 | ends 8 | round 4 | epoch 8
//!           | admitted 8 | refunded 8 | rule: length 4, UTF-8 | dimensions: length 4, UTF-8   use
//! version 1 | kind 3 | epoch 8 | ended 8                                              horizon
//! ```
//! There is no checksum here: fjall's blocks and batches (xxh3) and Kafka's batches (CRC-32C) have
//! one. Lengths must add up to the last byte. A field is only ever added together with a new
//! version; a reader that does not know a version says so and stops.

use std::sync::Arc;

use super::record::{Bucket, Claim, Horizon, Label, Period, Record, Use, kind};
use crate::request::UnixMillis;

const VERSION: u8 = 1;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a version of the program that knows more than this one.
    #[error("it is of version {0} and this program knows version 1: upgrade this gateway")]
    UnknownVersion(u8),
    /// A kind that version 1 does not have.
    #[error("it is of kind {0}, which does not exist: it is damaged")]
    UnknownKind(u8),
    /// Fewer bytes than the lengths say.
    #[error("it is cut short: it is damaged")]
    CutShort,
    /// More bytes than the lengths say.
    #[error("it has {0} bytes too many: it is damaged")]
    TooLong(usize),
    /// A text is not UTF-8.
    #[error("a text in it is not UTF-8: it is damaged")]
    NotText,
    /// A period that ends before it starts.
    #[error("its period ends before it starts: it is damaged")]
    BackwardPeriod,
}

impl Record {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.push(VERSION);
        match self {
            Self::Claim(claim) => {
                bytes.push(kind::CLAIM);
                bytes.extend(claim.nonce.to_be_bytes());
                put_text(&mut bytes, &claim.owner);
            }
            Self::Use(used) => {
                bytes.push(kind::USE);
                bytes.extend(used.bucket.account);
                bytes.extend(used.period.start.0.to_be_bytes());
                bytes.extend(used.period.ends.0.to_be_bytes());
                bytes.extend(used.round.to_be_bytes());
                bytes.extend(used.epoch.to_be_bytes());
                bytes.extend(used.admitted.to_be_bytes());
                bytes.extend(used.refunded.to_be_bytes());
                put_text(&mut bytes, &used.bucket.label.rule);
                put_text(&mut bytes, &used.bucket.label.dimensions);
            }
            Self::Horizon(horizon) => {
                bytes.push(kind::HORIZON);
                bytes.extend(horizon.epoch.to_be_bytes());
                bytes.extend(horizon.ended.0.to_be_bytes());
            }
        }
        bytes
    }

    /// From bytes; any bytes at all give a record or an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(RecordError::UnknownVersion(version));
        }
        let record = match reader.u8()? {
            kind::CLAIM => Self::Claim(reader.claim()?),
            kind::USE => Self::Use(reader.used()?),
            kind::HORIZON => Self::Horizon(Horizon { epoch: reader.u64()?, ended: reader.time()? }),
            other => return Err(RecordError::UnknownKind(other)),
        };
        match reader.0.len() {
            0 => Ok(record),
            rest => Err(RecordError::TooLong(rest)),
        }
    }
}

/// Names of rules and dimensions are bounded far below what 32 bits hold.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(RecordError::CutShort)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Result<UnixMillis, RecordError> {
        self.u64().map(UnixMillis)
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = usize::try_from(self.u32()?).map_err(|_| RecordError::CutShort)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(RecordError::CutShort)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| RecordError::NotText)
    }

    fn claim(&mut self) -> Result<Claim, RecordError> {
        let nonce = self.array().map(u128::from_be_bytes)?;
        Ok(Claim { owner: self.text()?.into(), nonce })
    }

    fn period(&mut self) -> Result<Period, RecordError> {
        let period = Period { start: self.time()?, ends: self.time()? };
        if period.ends < period.start {
            return Err(RecordError::BackwardPeriod);
        }
        Ok(period)
    }

    fn used(&mut self) -> Result<Use, RecordError> {
        let account = self.array()?;
        let period = self.period()?;
        let (round, epoch) = (self.u32()?, self.u64()?);
        let (admitted, refunded) = (self.u64()?, self.u64()?);
        let (rule, dimensions) = (self.text()?.into(), self.text()?.into());
        let bucket = Bucket { account, label: Arc::new(Label { rule, dimensions }) };
        Ok(Use { bucket, period, round, epoch, admitted, refunded })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_use() -> Use {
        Use {
            bucket: Bucket {
                account: *b"0123456789abcdef",
                label: Arc::new(Label { rule: "daily".into(), dimensions: "client=é".into() }),
            },
            period: Period { start: UnixMillis(0x0102), ends: UnixMillis(0x0304) },
            round: 5,
            epoch: 6,
            admitted: 7,
            refunded: 8,
        }
    }

    #[test]
    fn the_bytes_of_version_1_are_these_for_ever() {
        assert_eq!(
            hex::encode(Record::Claim(Claim { owner: "gw-1".into(), nonce: 0x0a }).encode()),
            "01010000000000000000000000000000000a0000000467772d31"
        );
        assert_eq!(
            hex::encode(Record::Use(some_use()).encode()),
            "0102303132333435363738396162636465660000000000000102000000000000030400000005\
             000000000000000600000000000000070000000000000008000000056461696c790000000963\
             6c69656e743dc3a9"
        );
        assert_eq!(
            hex::encode(Record::Horizon(Horizon { epoch: 3, ended: UnixMillis(0x1122) }).encode()),
            "010300000000000000030000000000001122"
        );
    }

    #[test]
    fn damage_and_unknown_versions_are_told_apart() {
        let good = Record::Use(some_use()).encode();
        let newer: Vec<u8> = [&[2], &good[1..]].concat();
        assert_eq!(Record::decode(&newer), Err(RecordError::UnknownVersion(2)));
        assert_eq!(Record::decode(&[1, 9]), Err(RecordError::UnknownKind(9)));
        assert_eq!(Record::decode(&good[..good.len() - 1]), Err(RecordError::CutShort));
        assert_eq!(Record::decode(&[&good[..], &[0]].concat()), Err(RecordError::TooLong(1)));
        let mut not_text = good.clone();
        *not_text.last_mut().unwrap() = 0xff;
        assert_eq!(Record::decode(&not_text), Err(RecordError::NotText));
        let mut backward = good;
        backward[18] = 0xff;
        assert_eq!(Record::decode(&backward), Err(RecordError::BackwardPeriod));
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let claim = (".{0,40}", any::<u128>())
            .prop_map(|(owner, nonce)| Record::Claim(Claim { owner: owner.into(), nonce }));
        let labels = (".{0,20}", ".{0,40}").prop_map(|(rule, dimensions): (String, String)| {
            Arc::new(Label { rule: rule.into(), dimensions: dimensions.into() })
        });
        let used = (any::<[u8; 16]>(), labels, any::<(u32, u32, u32, u64, u64, u64)>()).prop_map(
            |(account, label, (start, span, round, epoch, admitted, refunded))| {
                let start = u64::from(start);
                let period =
                    Period { start: UnixMillis(start), ends: UnixMillis(start + u64::from(span)) };
                let bucket = Bucket { account, label };
                Record::Use(Use { bucket, period, round, epoch, admitted, refunded })
            },
        );
        let horizon = any::<(u64, u64)>().prop_map(|(epoch, ended)| {
            Record::Horizon(Horizon { epoch, ended: UnixMillis(ended) })
        });
        prop_oneof![claim, used, horizon]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in any_record()) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&bytes);
        }

        #[test]
        fn a_cut_record_is_never_taken_for_a_whole_one(record in any_record(), cut in 1..400usize) {
            let bytes = record.encode();
            let cut = cut.min(bytes.len());
            prop_assert!(Record::decode(&bytes[..bytes.len() - cut]).is_err());
        }

        #[test]
        fn damaged_bytes_give_a_record_or_an_error(
            record in any_record(), at in any::<prop::sample::Index>(), flip in 1..=255u8,
        ) {
            let mut bytes = record.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let _ = Record::decode(&bytes);
        }
    }
}
