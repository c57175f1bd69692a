use std::collections::HashMap;

use crate::account::AccountKey;
use crate::vault::change::{Partition, Scope};
use crate::vault::key::Place;
use crate::vault::layout::{RouteTag, route_tag};

/// A topic that a table is fed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::vault) enum Source {
    /// Answers and purges.
    Answers,
    /// What backends say about accounts that changed.
    Changes,
}

impl Source {
    pub(in crate::vault) const ALL: [Self; 2] = [Self::Answers, Self::Changes];

    /// Stands in keys on disk.
    pub(in crate::vault) const fn number(self) -> u8 {
        match self {
            Self::Answers => 0,
            Self::Changes => 1,
        }
    }

    /// For metrics.
    pub(in crate::vault) const fn word(self) -> &'static str {
        match self {
            Self::Answers => "account-cache",
            Self::Changes => "account-changes",
        }
    }
}

/// Up to where a partition was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::vault) struct Checkpoint {
    /// The offset to read next.
    pub(in crate::vault) next: u64,
    /// The latest time that any record so far had, in milliseconds since 1970. A topic that was
    /// made again under the same name has records after this at offsets that were read before.
    pub(in crate::vault) newest: u64,
    /// One past the last purge: what was sent by a gateway that had followed the partition this
    /// far missed none of the purges before [`Self::next`].
    pub(in crate::vault) purged: u64,
}

impl Checkpoint {
    pub(in crate::vault) fn bytes_form(self) -> Vec<u8> {
        [self.next, self.newest, self.purged].map(u64::to_be_bytes).concat()
    }

    pub(in crate::vault) fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks() else { return None };
        let [next, newest, purged] = numbers else { return None };
        let [next, newest, purged] = [next, newest, purged].map(|n| u64::from_be_bytes(*n));
        Some(Self { next, newest, purged })
    }
}

/// What a purge names, as far as a sealed answer shows whether it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::vault) enum Target {
    Entry(Place),
    Account([u8; 16]),
    Route(RouteTag),
    All,
}

impl Target {
    /// `None` for what is no purge as it is asked for.
    pub(in crate::vault) fn of(scope: &Scope) -> Option<Self> {
        Some(match scope {
            Scope::Entry(place) => Self::Entry(*place),
            Scope::Account(account) => Self::Account(*account),
            Scope::Route(route) => Self::Route(route_tag(route)),
            Scope::All => Self::All,
            Scope::Part(..) | Scope::Changed(_) => return None,
        })
    }

    /// Every target that an answer is part of.
    pub(in crate::vault) fn all_of(place: &Place, route: Option<RouteTag>) -> Vec<Self> {
        let mut all = vec![Self::Entry(*place), Self::Account(place.account), Self::All];
        all.extend(route.map(Self::Route));
        all
    }
}

/// Purges of one partition that may still matter to answers to come: those sent by a gateway that
/// had not seen the purge yet.
#[derive(Debug, Default)]
pub(super) struct Purges {
    /// Of purges before this nothing is known.
    floor: u64,
    /// Where the latest of each target stood.
    latest: HashMap<Target, u64>,
}

/// Purges remembered for a partition. An answer travels for moments, so hardly any of them matters;
/// with more, all are forgotten and answers that began before are not taken over.
const MOST_PURGES: usize = 512;

impl Purges {
    /// Knows nothing of what stood before an offset.
    pub(super) fn after(floor: u64) -> Self {
        Self { floor, latest: HashMap::new() }
    }

    pub(super) fn add(&mut self, target: Target, offset: u64) {
        if self.latest.len() >= MOST_PURGES {
            *self = Self::after(offset);
        }
        self.latest.insert(target, offset);
    }

    /// Whether a purge that the sender of an answer did not know of removes it, or may: the answer
    /// was sent by a gateway that had followed the partition up to `base`.
    pub(super) fn hits(&self, targets: &[Target], base: u64) -> bool {
        let unknown =
            |target: &Target| self.latest.get(target).is_some_and(|offset| *offset >= base);
        base < self.floor || targets.iter().any(unknown)
    }
}

/// The partition of a scope's purges; `None`: all of them.
pub(super) fn partition_of(scope: &Scope, partitions: u32) -> Option<u32> {
    match scope {
        Scope::Entry(place) => Some(Partition::of_place(place, partitions).number),
        Scope::Account(account) => Some(AccountKey::from_bytes(*account).partition(partitions)),
        Scope::Route(_) | Scope::All | Scope::Part(..) | Scope::Changed(_) => None,
    }
}
