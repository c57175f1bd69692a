//! The ledger: the pure fold of one journal partition. No I/O, no clock; the same records give
//! the same ledger whatever their order, however often they come, and however much compaction has
//! removed.

mod entries;
mod labels;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use self::entries::{Entries, Entry};
use self::labels::Labels;
use crate::journal::{AccountBytes, Bucket, Claim, Label, Offset, Period, Record, Use};
use crate::request::UnixMillis;

/// What is used, by bucket, and who owns the partition.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    accounts: HashMap<AccountBytes, Entries, BuildHasherDefault<AccountHash>>,
    labels: Labels,
    entries: usize,
    claim: Option<(Offset, Claim)>,
    horizon: UnixMillis,
    next: Offset,
}

/// The periods of one bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketUse<'l>(&'l [Entry]);

impl Ledger {
    /// Takes a record in.
    pub fn apply(&mut self, offset: Offset, record: &Record) {
        match record {
            Record::Claim(claim) => {
                if self.claim.as_ref().is_none_or(|(newest, _)| *newest <= offset) {
                    self.claim = Some((offset, claim.clone()));
                }
            }
            // Void uses (those of an epoch that a newer claim had ended) count like any other.
            // Their writer didn't admit them, so counting them can only admit too few. Leaving
            // them out could admit too many: compaction removes the earlier, valid record of the
            // same key, whose uses the void one includes.
            Record::Use(used) => self.count(used),
            Record::Horizon(horizon) => self.end(horizon.ended),
        }
        self.next = self.next.max(offset.saturating_add(1));
    }

    fn count(&mut self, used: &Use) {
        if used.period.ends <= self.horizon {
            return;
        }
        let label = self.labels.enter(&used.bucket.label);
        let entry = Entry {
            label,
            round: used.round,
            period: used.period,
            epoch: used.epoch,
            admitted: used.admitted,
            refunded: used.refunded,
        };
        let grew = match self.accounts.entry(used.bucket.account) {
            Slot::Occupied(mut slot) => slot.get_mut().take(entry),
            Slot::Vacant(slot) => {
                slot.insert(Entries::One(entry));
                1
            }
        };
        self.labels.grew(label, grew);
        self.entries = self.entries.saturating_add_signed(grew);
    }

    /// Removes what is over. Nothing of it is ever counted again, so that a clock that steps back
    /// can't open a period anew.
    fn end(&mut self, ended: UnixMillis) {
        if ended <= self.horizon {
            return;
        }
        self.horizon = ended;
        let (labels, entries) = (&mut self.labels, &mut self.entries);
        self.accounts.retain(|_, account| {
            account.keep(
                |entry| entry.period.ends > ended,
                |dropped| {
                    labels.grew(dropped.label, -1);
                    *entries = entries.saturating_sub(1);
                },
            )
        });
    }

    /// The periods of a bucket.
    pub fn bucket(&self, bucket: &Bucket) -> BucketUse<'_> {
        let found = self.labels.find(&bucket.label).and_then(|label| {
            let account = self.accounts.get(&bucket.account)?;
            Some(BucketUse(account.of(label)))
        });
        found.unwrap_or_default()
    }

    /// All buckets of an account.
    pub fn account(&self, account: &AccountBytes) -> Vec<(Arc<Label>, BucketUse<'_>)> {
        let entries = self.accounts.get(account).map(Entries::as_slice).unwrap_or_default();
        entries
            .chunk_by(|one, next| one.label == next.label)
            .filter_map(|bucket| {
                let label = self.labels.name(bucket.first()?.label)?;
                Some((Arc::clone(label), BucketUse(bucket)))
            })
            .collect()
    }

    /// Whether any period ended by then is still here.
    pub fn has_ended(&self, ended: UnixMillis) -> bool {
        self.accounts
            .values()
            .any(|account| account.as_slice().iter().any(|entry| entry.period.ends <= ended))
    }

    /// The newest claim: its offset is the epoch.
    pub fn claim(&self) -> Option<(Offset, &Claim)> {
        self.claim.as_ref().map(|(epoch, claim)| (*epoch, claim))
    }

    /// Periods that ended by then are over for good.
    pub fn horizon(&self) -> UnixMillis {
        self.horizon
    }

    /// First offset not taken in.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Accounts with use.
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Counts kept: one for each bucket, period and epoch.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Everything counted, as records in a fixed order: what two ledgers are compared by.
    pub fn uses(&self) -> Vec<Use> {
        let mut uses: Vec<Use> = self
            .accounts
            .iter()
            .flat_map(|(account, entries)| {
                entries.as_slice().iter().map(|entry| (*account, *entry))
            })
            .filter_map(|(account, entry)| {
                let label: Arc<Label> = Arc::clone(self.labels.name(entry.label)?);
                Some(Use {
                    bucket: Bucket { account, label },
                    period: entry.period,
                    round: entry.round,
                    epoch: entry.epoch,
                    admitted: entry.admitted,
                    refunded: entry.refunded,
                })
            })
            .collect();
        uses.sort_by(|a, b| (&a.bucket, a.period, a.epoch).cmp(&(&b.bucket, b.period, b.epoch)));
        uses
    }
}

impl BucketUse<'_> {
    /// Each period with its uses: the sum over epochs of what was admitted less what was given
    /// back. The difference is taken of the sums, since a use of one epoch may be given back in
    /// another.
    pub fn periods(&self) -> impl Iterator<Item = (Period, u64)> {
        self.0.chunk_by(|one, next| one.period == next.period).filter_map(|epochs| {
            let sum = |part: fn(&Entry) -> u64| {
                epochs.iter().fold(0u64, |sum, entry| sum.saturating_add(part(entry)))
            };
            let uses = sum(|entry| entry.admitted).saturating_sub(sum(|entry| entry.refunded));
            Some((epochs.first()?.period, uses))
        })
    }

    /// How many counts it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often an operator has reset it.
    pub fn round(&self) -> u32 {
        self.0.first().map_or(0, |entry| entry.round)
    }

    /// Start of its latest period. Uses are never again counted in an earlier one.
    pub fn floor(&self) -> UnixMillis {
        self.0.last().map(|entry| entry.period.start).unwrap_or_default()
    }

    /// When its last period ends.
    pub fn ends(&self) -> UnixMillis {
        self.0.iter().map(|entry| entry.period.ends).max().unwrap_or_default()
    }

    /// What one epoch counted in one period: admitted, refunded.
    pub fn counted(&self, period: Period, epoch: Offset) -> (u64, u64) {
        let found = self.0.iter().find(|entry| entry.period == period && entry.epoch == epoch);
        found.map_or((0, 0), |entry| (entry.admitted, entry.refunded))
    }
}

impl PartialEq for Ledger {
    fn eq(&self, other: &Self) -> bool {
        self.claim == other.claim
            && self.horizon == other.horizon
            && self.next == other.next
            && self.uses() == other.uses()
    }
}

impl Eq for Ledger {}

impl Hash for Ledger {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.claim.hash(state);
        self.horizon.hash(state);
        self.next.hash(state);
        self.uses().hash(state);
    }
}

/// An account's bytes come from a keyed hash: nobody can choose them to collide, and any eight of
/// them are as good a hash as any. The partition was chosen by the first four, so the last eight.
#[derive(Clone, Copy, Debug, Default)]
struct AccountHash(u64);

impl Hasher for AccountHash {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_be_bytes(*last);
        }
    }

    fn write_usize(&mut self, _length: usize) {
        // All keys have one length.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
