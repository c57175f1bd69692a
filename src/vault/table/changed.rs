use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fjall::{Database, Keyspace, OwnedWriteBatch, Slice};

use super::folder::notes_options;
use super::slot;
use crate::request::UnixMillis;
use crate::vault::change::TableError;

/// An account and what of it changed.
pub(in crate::vault) type ChangedKey = [u8; 32];

/// Generations stand in these keyspaces in turn: the store's list of those that there ever were
/// only grows. When one began stands under its name in the notes.
const SLOTS: [&str; 2] = ["changes-0", "changes-1"];

/// When accounts changed last.
///
/// Kept in two generations that are emptied whole, so that letting go of millions of them costs
/// nothing: when the newest is as old as a change must be kept, the other begins anew.
pub(super) struct Generations(Mutex<Vec<Generation>>);

struct Generation {
    start: UnixMillis,
    changes: Keyspace,
}

impl Generations {
    pub(super) fn open(database: &Database, notes: &Keyspace) -> Result<Self, TableError> {
        let mut generations = Vec::new();
        for name in SLOTS {
            let Some(start) = time(notes.get(name)?) else { continue };
            let changes = database.keyspace(name, notes_options)?;
            generations.push(Generation { start, changes });
        }
        generations.sort_unstable_by_key(|generation| generation.start);
        Ok(Self(Mutex::new(generations)))
    }

    fn all(&self) -> MutexGuard<'_, Vec<Generation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of one account's changes of one kind only the latest counts.
    pub(super) fn note(
        &self,
        batch: &mut OwnedWriteBatch,
        changed: BTreeMap<ChangedKey, UnixMillis>,
    ) -> Result<(), TableError> {
        let all = self.all();
        let Some(newest) = all.last() else { return Ok(()) };
        for (key, at) in changed {
            if read(newest, &key)?.is_none_or(|there| there < at) {
                batch.insert(&newest.changes, key, at.0.to_be_bytes());
            }
        }
        Ok(())
    }

    pub(super) fn latest(&self, keys: &[ChangedKey]) -> Result<Option<UnixMillis>, TableError> {
        let mut latest = None;
        for generation in self.all().iter() {
            for key in keys {
                latest = latest.max(read(generation, key)?);
            }
        }
        Ok(latest)
    }

    pub(super) fn turn(
        &self,
        database: &Database,
        notes: &Keyspace,
        now: UnixMillis,
        kept: Duration,
    ) -> Result<(), TableError> {
        let mut all = self.all();
        if all.last().is_some_and(|newest| newest.start.plus(kept) > now) {
            return Ok(());
        }
        let is_free = |name: &&str| all.iter().all(|used| &**used.changes.name() != *name);
        let changes = match SLOTS.into_iter().find(is_free) {
            Some(name) => database.keyspace(name, notes_options)?,
            None => all.remove(0).changes,
        };
        slot::empty(&changes)?;
        notes.insert(&**changes.name(), now.0.to_be_bytes())?;
        all.push(Generation { start: now, changes });
        Ok(())
    }

    pub(super) fn clear(&self) -> Result<(), TableError> {
        self.all().iter().try_for_each(|generation| slot::empty(&generation.changes))
    }

    /// Has what stands in memory moved to files.
    pub(super) fn move_to_files(&self) -> Result<(), TableError> {
        self.all().iter().try_for_each(|generation| slot::move_to_file(&generation.changes))
    }
}

fn read(generation: &Generation, key: &ChangedKey) -> Result<Option<UnixMillis>, TableError> {
    Ok(time(generation.changes.get(key)?))
}

fn time(bytes: Option<Slice>) -> Option<UnixMillis> {
    let at = bytes.and_then(|bytes| bytes.as_ref().try_into().ok());
    at.map(u64::from_be_bytes).map(UnixMillis)
}
