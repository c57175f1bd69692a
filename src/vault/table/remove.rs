use std::collections::BTreeMap;

use fjall::Guard;

use super::Table;
use crate::vault::change::{Scope, TableError};
use crate::vault::key::Place;
use crate::vault::layout::{ANSWER, ROUTE, answer_key, place_of, prefix, route_tag, routed_place};
use crate::vault::shelf::{Note, Shelf};

/// Removals written together; a purge of millions must not be one write.
const REMOVALS_TOGETHER: usize = 1000;

impl Table {
    pub(super) fn remove(
        &self,
        written: &mut BTreeMap<u64, Note>,
        scope: &Scope,
    ) -> Result<u64, TableError> {
        match scope {
            Scope::All => self.remove_all(written),
            Scope::Entry(place) => self.remove_found(written, |shelf| {
                let key = answer_key(place);
                let there = shelf.answers.contains_key(key)?;
                Ok(Box::new(there.then_some(Ok(*place)).into_iter()))
            }),
            Scope::Account(account) => self.remove_found(written, |shelf| {
                let found = shelf.answers.prefix(prefix(ANSWER, account)).map(Guard::key);
                Ok(Box::new(found.filter_map(|key| key.map(|key| place_of(&key)).transpose())))
            }),
            Scope::Part(route, partition) => self.remove_found(written, |shelf| {
                let partition = *partition;
                let found: Box<dyn Iterator<Item = fjall::Result<Option<Place>>>> = match route {
                    Some(route) => {
                        let keys = shelf.answers.prefix(prefix(ROUTE, &route_tag(route)));
                        Box::new(keys.map(|key| key.key().map(|key| routed_place(&key))))
                    }
                    None => {
                        let keys = shelf.answers.prefix([ANSWER]);
                        Box::new(keys.map(|key| key.key().map(|key| place_of(&key))))
                    }
                };
                let within = move |place: &Place| partition.holds(place);
                Ok(Box::new(found.filter_map(move |p| p.map(|p| p.filter(within)).transpose())))
            }),
            Scope::Changed(changed) => self.remove_found(written, |shelf| {
                let changed = changed.clone();
                let found = shelf.answers.prefix(prefix(ANSWER, &changed.account));
                let hit = found.map(Guard::into_inner).filter_map(move |answer| match answer {
                    Ok((key, record)) => {
                        changed.hits_record(&record).then(|| place_of(&key)).flatten().map(Ok)
                    }
                    Err(error) => Some(Err(error)),
                });
                Ok(Box::new(hit))
            }),
            Scope::Route(route) => self.remove_found(written, |shelf| {
                let found = shelf.answers.prefix(prefix(ROUTE, &route_tag(route))).map(Guard::key);
                Ok(Box::new(found.filter_map(|key| key.map(|key| routed_place(&key)).transpose())))
            }),
        }
    }

    /// Removes, on every shelf, what `find` finds there. Returns how many places were emptied.
    fn remove_found(
        &self,
        written: &mut BTreeMap<u64, Note>,
        find: impl Fn(&Shelf) -> Found,
    ) -> Result<u64, TableError> {
        let shelves = self.shelves.load_full();
        let mut removed = 0;
        // From the oldest: a place counts on the newest shelf that has it.
        for (at, shelf) in shelves.iter().enumerate() {
            let mut note = written.get(&shelf.number).copied().unwrap_or_default();
            let mut batch = self.database.batch();
            for place in find(shelf)? {
                let key = answer_key(&place?);
                if !shelf.answers.contains_key(key)? {
                    continue;
                }
                let newer = shelves.iter().skip(at + 1);
                if !any(newer.map(|shelf| shelf.answers.contains_key(key)))? {
                    removed += 1;
                }
                batch.remove(&shelf.answers, key);
                note.entries = note.entries.saturating_sub(1);
                if batch.len() >= REMOVALS_TOGETHER {
                    let full = std::mem::replace(&mut batch, self.database.batch());
                    self.commit(full, shelf.number, note, written)?;
                }
            }
            if !batch.is_empty() {
                self.commit(batch, shelf.number, note, written)?;
            }
        }
        Ok(removed)
    }

    pub(super) fn remove_all(&self, written: &mut BTreeMap<u64, Note>) -> Result<u64, TableError> {
        // The purge of everything comes from every partition of a feed.
        if written.values().all(|note| note.bytes == 0) {
            return Ok(0);
        }
        let old: Vec<u64> = written.keys().copied().collect();
        let mut removed = self.add_shelf(written)?;
        for number in old {
            removed += self.remove_shelf(written, number)?;
        }
        Ok(removed)
    }
}

type Found = Result<Box<dyn Iterator<Item = fjall::Result<Place>>>, TableError>;

fn any(found: impl Iterator<Item = fjall::Result<bool>>) -> Result<bool, TableError> {
    for there in found {
        if there? {
            return Ok(true);
        }
    }
    Ok(false)
}
