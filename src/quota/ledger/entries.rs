use std::num::NonZeroU32;
use std::ops::Range;

use crate::journal::{Offset, Period};

/// Stands for a bucket's label in one ledger.
pub(super) type LabelId = NonZeroU32;

/// What one epoch counted in one period of one bucket of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub label: LabelId,
    pub round: u32,
    pub period: Period,
    pub epoch: Offset,
    pub admitted: u64,
    pub refunded: u64,
}

/// All entries of an account, sorted by label, period and epoch; at least one.
///
/// The usual account has one bucket with one period counted in one epoch. That one stands in the
/// hash table itself: 64 bytes with its key.
#[derive(Clone, Debug)]
pub(super) enum Entries {
    One(Entry),
    Many(Vec<Entry>),
}

impl Entry {
    fn place(&self) -> (LabelId, Period, Offset) {
        (self.label, self.period, self.epoch)
    }
}

impl Entries {
    pub fn as_slice(&self) -> &[Entry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }

    /// The entries of one bucket.
    pub fn of(&self, label: LabelId) -> &[Entry] {
        self.as_slice().get(self.range(label)).unwrap_or_default()
    }

    fn range(&self, label: LabelId) -> Range<usize> {
        let entries = self.as_slice();
        let start = entries.partition_point(|entry| entry.label < label);
        let end = entries.partition_point(|entry| entry.label <= label);
        start..end
    }

    /// Takes an entry in: the largest numbers hold, and of several rounds only the last counts.
    /// Says by how many entries the bucket grew.
    pub fn take(&mut self, new: Entry) -> isize {
        let bucket = self.of(new.label);
        let round = bucket.first().map_or(new.round, |entry| entry.round);
        if new.round < round {
            return 0;
        }
        if new.round > round {
            let dropped = bucket.len();
            self.change(|entries| {
                entries.retain(|entry| entry.label != new.label);
                let at = entries.partition_point(|entry| entry.place() < new.place());
                entries.insert(at, new);
            });
            return 1 - isize::try_from(dropped).unwrap_or(isize::MAX);
        }
        match self.as_slice().binary_search_by_key(&new.place(), Entry::place) {
            Ok(at) => {
                if let Some(entry) = self.get_mut(at) {
                    entry.admitted = entry.admitted.max(new.admitted);
                    entry.refunded = entry.refunded.max(new.refunded);
                }
                0
            }
            Err(at) => {
                self.change(|entries| entries.insert(at, new));
                1
            }
        }
    }

    /// Keeps the entries that a test accepts; hands the others to `dropped`. Says whether any is
    /// left; if none is, the account must be removed.
    pub fn keep(&mut self, keep: impl Fn(&Entry) -> bool, mut dropped: impl FnMut(&Entry)) -> bool {
        let entries = self.as_slice();
        entries.iter().filter(|entry| !keep(entry)).for_each(&mut dropped);
        match entries.iter().filter(|entry| keep(entry)).count() {
            0 => return false,
            count if count == entries.len() => {}
            _ => self.change(|entries| entries.retain(&keep)),
        }
        true
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Entry> {
        match self {
            Self::One(entry) => (at == 0).then_some(entry),
            Self::Many(entries) => entries.get_mut(at),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<Entry>)) {
        let mut entries = match self {
            Self::One(entry) => vec![*entry],
            Self::Many(entries) => std::mem::take(entries),
        };
        if entries.len() == entries.capacity() {
            // Room for a quarter more instead of twice as much: there are millions of these.
            entries.reserve_exact(1 + entries.len() / 4);
        }
        change(&mut entries);
        *self = match entries.as_slice() {
            [one] => Self::One(*one),
            _ => Self::Many(entries),
        };
    }
}
