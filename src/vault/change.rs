use super::entry::Entry;
use super::key::{Place, account_bytes};
use super::layout::{ANSWER_KEY_BYTES, ROUTE_KEY_BYTES, RouteTag};
use crate::request::{RouteId, UnixMillis};

/// Something done to the table.
pub(super) enum Change {
    /// Keep a sealed answer.
    Put(Put),
    /// Remove answers.
    Remove(Scope),
}

/// A sealed answer on its way to a shelf.
pub(super) struct Put {
    pub(super) place: Place,
    pub(super) route: RouteTag,
    pub(super) expires: UnixMillis,
    pub(super) record: Vec<u8>,
}

impl Put {
    /// Bytes on disk, about.
    pub(super) fn bytes(&self) -> u64 {
        (self.record.len() + ANSWER_KEY_BYTES + ROUTE_KEY_BYTES) as u64
    }
}

/// Which answers are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// One.
    Entry(Place),
    /// An account's, by the bytes of its key.
    Account([u8; 16]),
    /// A route's.
    Route(RouteId),
    /// All.
    All,
}

impl Scope {
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        match self {
            Self::Entry(place) => entry.place == *place,
            Self::Account(account) => account_bytes(entry.name.account.as_ref()) == *account,
            Self::Route(route) => entry.name.route == *route,
            Self::All => true,
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
