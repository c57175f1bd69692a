use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};

use crate::request::UnixMillis;
use crate::vault::change::TableError;

/// An account and what of it changed.
pub(in crate::vault) type ChangedKey = [u8; 32];

const NAME: &str = "changes-";

/// When accounts changed last.
///
/// Kept in generations that are thrown away whole, so that letting go of millions of them costs
/// nothing: a generation is begun when the newest is as old as a change must be kept, and goes
/// when its successor is.
pub(super) struct Generations(Mutex<Vec<Generation>>);

struct Generation {
    start: UnixMillis,
    changes: Keyspace,
}

impl Generations {
    pub(super) fn open(database: &Database) -> Result<Self, TableError> {
        let mut generations = Vec::new();
        for name in database.list_keyspace_names() {
            let Some(start) = name.strip_prefix(NAME).and_then(|start| start.parse().ok()) else {
                continue;
            };
            let changes = database.keyspace(&name, KeyspaceCreateOptions::default)?;
            generations.push(Generation { start: UnixMillis(start), changes });
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
        now: UnixMillis,
        kept: Duration,
    ) -> Result<(), TableError> {
        let mut all = self.all();
        if all.last().is_none_or(|newest| newest.start.plus(kept) <= now) {
            let name = format!("{NAME}{}", now.0);
            let changes = database.keyspace(&name, KeyspaceCreateOptions::default)?;
            all.push(Generation { start: now, changes });
        }
        while let [_, successor, ..] = all.as_slice()
            && successor.start.plus(kept) <= now
        {
            database.delete_keyspace(all.remove(0).changes)?;
        }
        Ok(())
    }

    pub(super) fn clear(&self) -> Result<(), TableError> {
        for generation in self.all().iter() {
            generation.changes.clear()?;
        }
        Ok(())
    }
}

fn read(generation: &Generation, key: &ChangedKey) -> Result<Option<UnixMillis>, TableError> {
    let found = generation.changes.get(key)?;
    let at = found.and_then(|bytes| bytes.as_ref().try_into().ok());
    Ok(at.map(u64::from_be_bytes).map(UnixMillis))
}
