use std::sync::Arc;

use super::entry::Entry;
use super::feed::Noted;
use super::key::{Place, account_bytes};
use super::layout::{ANSWER_KEY_BYTES, ROUTE_KEY_BYTES, RouteTag, route_tag};
use super::record;
use crate::account::AccountKey;
use crate::request::{RouteId, UnixMillis};

/// Something done to the table.
pub(super) enum Change {
    /// Keep a sealed answer.
    Put(Put),
    /// Remove answers.
    Remove(Scope),
    /// Remember something about the feed, in one batch with the last answers of the changes.
    Note(Noted),
}

/// A sealed answer on its way to a shelf.
pub(super) struct Put {
    pub(super) place: Place,
    pub(super) route: RouteTag,
    pub(super) expires: UnixMillis,
    pub(super) record: Vec<u8>,
}

/// What the store needs beside an answer's record and keys, at most: it writes the answer's key a
/// second time and a third when the answer is removed; with headings, places and filters.
const BESIDE: usize = 160;

impl Put {
    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        (self.record.len() + ANSWER_KEY_BYTES + ROUTE_KEY_BYTES + BESIDE) as u64
    }
}

/// Which answers are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// One.
    Entry(Place),
    /// An account's, by the bytes of its key.
    Account([u8; 16]),
    /// A route's.
    Route(RouteId),
    /// All.
    All,
    /// A route's, or all, in one partition of a feed.
    Part(Option<RouteId>, Partition),
    /// An account's that a change has made untrue.
    Changed(Changed),
}

/// One of so many partitions of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Partition {
    pub(super) number: u32,
    pub(super) of: u32,
}

impl Partition {
    /// The account's partition, as in the quota journal; without an account, one by the hash.
    pub(super) fn of_place(place: &Place, of: u32) -> Self {
        let by = if place.account == [0; 16] { place.hash } else { place.account };
        Self { number: AccountKey::from_bytes(by).partition(of), of }
    }

    pub(super) fn holds(self, place: &Place) -> bool {
        Self::of_place(place, self.of) == self
    }
}

/// A change of an account, as far as answers are concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Changed {
    /// By the bytes of its key.
    pub(super) account: [u8; 16],
    /// When. What was asked for later shows it already.
    pub(super) at: UnixMillis,
    /// Routes whose answers don't show what changed.
    pub(super) spared: Arc<[RouteTag]>,
}

impl Changed {
    fn hits(&self, asked: UnixMillis, route: Option<&RouteTag>) -> bool {
        asked <= self.at && route.is_none_or(|route| !self.spared.contains(route))
    }

    /// Whether it makes a record at a place of the account untrue. One that can't be read is of
    /// no use anyway.
    pub(super) fn hits_record(&self, record: &[u8]) -> bool {
        record::label(record).map_or(true, |label| self.hits(label.asked, label.route.as_ref()))
    }
}

impl Scope {
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        match self {
            Self::Entry(place) => entry.place == *place,
            Self::Account(account) => account_bytes(entry.name.account.as_ref()) == *account,
            Self::Route(route) => entry.name.route == *route,
            Self::All => true,
            Self::Part(route, partition) => {
                let routed = route.as_ref().is_none_or(|route| entry.name.route == *route);
                routed && partition.holds(&entry.place)
            }
            Self::Changed(changed) => {
                entry.place.account == changed.account
                    && changed.hits(entry.asked, Some(&route_tag(&entry.name.route)))
            }
        }
    }
}

/// What a change did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) removed: u64,
    pub(super) evicted: u64,
    /// Answers larger than a shelf.
    pub(super) too_large: u64,
}

/// Why the table can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("another process uses it")]
    Locked,
    #[error("{0}")]
    Io(std::io::Error),
    #[error("{0}")]
    Fault(fjall::Error),
    #[error("it is damaged")]
    Damaged,
}

impl From<fjall::Error> for TableError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked,
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                Self::Io(error)
            }
            error => Self::Fault(error),
        }
    }
}

/// Where tests make the disk fail; nothing in the product.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    #[cfg(test)]
    pub(super) on: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Faults {
    pub(super) fn check(&self) -> Result<(), TableError> {
        #[cfg(test)]
        if self.on.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(fjall::Error::Io(std::io::ErrorKind::StorageFull.into()).into());
        }
        Ok(())
    }
}
