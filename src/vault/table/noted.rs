use std::collections::BTreeMap;

use fjall::OwnedWriteBatch;

use super::Table;
use super::changed::ChangedKey;
use crate::request::UnixMillis;
use crate::vault::change::TableError;
use crate::vault::feed::{Checkpoint, Noted, Source};

// Beside the notes of shelves, whose keys have eight bytes: none of the others may.
const IDENTITY: &[u8] = b"feed.identity";
const POSITION: &[u8] = b"feed.position";
pub(super) const OWED: &[u8] = b"feed.owed.";

fn position_key(source: Source, partition: u32) -> Vec<u8> {
    [POSITION, &[source.number()], &partition.to_be_bytes()].concat()
}

fn owed_key(purge: &[u8]) -> Vec<u8> {
    [OWED, purge].concat()
}

/// What the table remembers of the feed that fills it.
impl Table {
    pub(super) fn note(
        &self,
        batch: &mut OwnedWriteBatch,
        notes: Vec<Noted>,
    ) -> Result<(), TableError> {
        let mut changed = BTreeMap::<ChangedKey, UnixMillis>::new();
        for noted in notes {
            match noted {
                Noted::Position { source, partition, checkpoint } => {
                    let key = position_key(source, partition);
                    batch.insert(&self.notes, key, checkpoint.bytes_form());
                }
                Noted::Owed(purge) => batch.insert(&self.notes, owed_key(&purge), Vec::new()),
                Noted::Paid(purge) => batch.remove(&self.notes, owed_key(&purge)),
                Noted::Changed { key, at } => {
                    // A batch has one time stamp: a key may stand in it only once.
                    let latest = changed.entry(key).or_default();
                    *latest = at.max(*latest);
                }
            }
        }
        self.changed.note(batch, changed)
    }

    /// What the topics were called, and in which cluster, from which it was filled.
    pub(in crate::vault) fn identity(&self) -> Result<Option<String>, TableError> {
        self.faults.check()?;
        let text = self.notes.get(IDENTITY)?;
        Ok(text.and_then(|text| String::from_utf8(text.to_vec()).ok()))
    }

    /// Up to where it has taken over each partition.
    pub(in crate::vault) fn positions(
        &self,
        source: Source,
    ) -> Result<BTreeMap<u32, Checkpoint>, TableError> {
        self.faults.check()?;
        let mut positions = BTreeMap::new();
        let prefix = [POSITION, &[source.number()]].concat();
        for found in self.notes.prefix(&prefix) {
            let (key, value) = found.into_inner()?;
            let partition = key.get(prefix.len()..).and_then(|bytes| bytes.try_into().ok());
            let partition = partition.map(u32::from_be_bytes);
            if let (Some(partition), Some(checkpoint)) = (partition, Checkpoint::read(&value)) {
                positions.insert(partition, checkpoint);
            }
        }
        Ok(positions)
    }

    /// Purges that the topic is owed.
    pub(in crate::vault) fn owed(&self) -> Result<Vec<Vec<u8>>, TableError> {
        self.faults.check()?;
        let mut owed = Vec::new();
        for found in self.notes.prefix(OWED) {
            let key = found.key()?;
            owed.push(key.get(OWED.len()..).unwrap_or_default().to_vec());
        }
        Ok(owed)
    }

    /// Forgets what it has of a feed, and every answer with it, to be filled anew. Durable when it
    /// returns. Positions go first: with answers but without a position the feed starts over again,
    /// the other way round it would go on as if nothing were missing.
    pub(in crate::vault) fn start_over(&self, identity: &str) -> Result<(), TableError> {
        self.faults.check()?;
        super::guarded(|| {
            let mut batch = self.database.batch();
            for prefix in [IDENTITY, POSITION] {
                for found in self.notes.prefix(prefix) {
                    batch.remove(&self.notes, found.key()?);
                }
            }
            batch.commit()?;
            self.database.persist(fjall::PersistMode::SyncAll)?;
            let mut written = self.written();
            self.remove_all(&mut written)?;
            self.measure(&written);
            drop(written);
            self.changed.clear()?;
            self.notes.insert(IDENTITY, identity.as_bytes())?;
            Ok(self.database.persist(fjall::PersistMode::SyncAll)?)
        })
    }

    /// The latest change noted under any of these keys.
    pub(in crate::vault) fn changed(
        &self,
        keys: &[ChangedKey],
    ) -> Result<Option<UnixMillis>, TableError> {
        self.faults.check()?;
        self.changed.latest(keys)
    }

    /// Forgets changes from so long ago that no answer from before them can still arrive.
    pub(in crate::vault) fn forget_changes(
        &self,
        now: UnixMillis,
        kept: std::time::Duration,
    ) -> Result<(), TableError> {
        self.faults.check()?;
        super::guarded(|| self.changed.turn(&self.database, &self.notes, now, kept))
    }
}
