//! Records in fjall: the embedded journal itself, and what a gateway keeps of a journal on Kafka.
//!
//! Keyspace `log` has every kept record under (partition, offset). Keyspace `keys` has, under
//! (partition, record key), the offset of the newest record with that key, so that an older one
//! can be removed as it is replaced: compaction by key happens as records are written. Since
//! record keys sort by the end of their period, ended records stand at the front of a partition.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::record::kind;
use super::{Claim, JournalError, Offset, Record, RecordKey};
use crate::request::UnixMillis;

/// Memory for blocks read from disk. Records are read once, at start.
const BLOCK_CACHE: u64 = 16 << 20;
/// A keyspace's records in memory before they are sorted out to disk.
const MEMTABLE: u64 = 16 << 20;
/// fjall's own write-ahead log at most: bounds the time to start.
const WRITE_AHEAD: u64 = 192 << 20;
/// Below `MEMTABLE` and fjall's 16-bit key length by far; no name in a configuration is so long.
const LONGEST_KEY: usize = 8192;

/// Partition number under which the store keeps facts of its own.
const OWN: u32 = u32::MAX;
const COMMIT: &[u8] = b"commit";
const PARTITIONS: &[u8] = b"partitions";
const NEXT: &[u8] = b"next";

/// The open fjall database.
pub(super) struct Store {
    database: Database,
    log: Keyspace,
    keys: Keyspace,
}

/// Writes that become durable together or not at all.
pub(super) struct Group<'s> {
    store: &'s Store,
    batch: OwnedWriteBatch,
}

impl Store {
    /// Opens or makes the database. fjall panics on some kinds of damage; that is an error like any
    /// other.
    pub fn open(path: &Path) -> Result<Self, fjall::Error> {
        Self::open_with(path, WRITE_AHEAD)
    }

    /// [`Store::open`] with another bound of fjall's write-ahead log, in bytes.
    pub fn open_with(path: &Path, write_ahead: u64) -> Result<Self, fjall::Error> {
        catch_unwind(AssertUnwindSafe(|| Self::open_or_panic(path, write_ahead)))
            .unwrap_or(Err(fjall::Error::Unrecoverable))
    }

    fn open_or_panic(path: &Path, write_ahead: u64) -> Result<Self, fjall::Error> {
        let database = Database::builder(path)
            .cache_size(BLOCK_CACHE)
            .max_journaling_size(write_ahead)
            .worker_threads(2)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let log = database.keyspace("log", options)?;
        let keys = database.keyspace("keys", options)?;
        Ok(Self { database, log, keys })
    }

    /// Number of the last commit.
    pub fn commit_number(&self) -> Result<u64, fjall::Error> {
        Ok(self.number(OWN, COMMIT)?.unwrap_or(0))
    }

    /// The number of partitions it was made with; `None` in a new one.
    pub fn partitions(&self) -> Result<Option<u64>, fjall::Error> {
        self.number(OWN, PARTITIONS)
    }

    /// The offset that a partition's next record gets.
    pub fn next_offset(&self, partition: u32) -> Result<Offset, fjall::Error> {
        Ok(self.number(OWN, &[NEXT, &partition.to_be_bytes()].concat())?.unwrap_or(0))
    }

    /// Where the newest record with a key stands.
    pub fn find(&self, partition: u32, key: &RecordKey) -> Result<Option<Offset>, fjall::Error> {
        self.number(partition, key.as_bytes())
    }

    /// A text that the store's user noted.
    pub fn note(&self, name: &str) -> Result<Option<String>, fjall::Error> {
        let value = self.keys.get(place(OWN, name.as_bytes()))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn number(&self, partition: u32, key: &[u8]) -> Result<Option<u64>, fjall::Error> {
        let value = self.keys.get(place(partition, key))?;
        Ok(value.as_deref().and_then(big_endian))
    }

    /// Kept records of a partition from an offset on, at most `limit`.
    pub fn read(
        &self,
        partition: u32,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<(Offset, Record)>, JournalError> {
        let (first, last) = (log_key(partition, from), log_key(partition, Offset::MAX));
        self.log
            .range(first..=last)
            .take(limit)
            .map(|entry| {
                let (key, value) =
                    entry.into_inner().map_err(|error| cannot_read(partition, &error))?;
                let offset = key.get(4..).and_then(big_endian).unwrap_or(from);
                let record = Record::decode(&value).map_err(|reason| JournalError::Corrupt {
                    partition,
                    offset,
                    reason,
                })?;
                Ok((offset, record))
            })
            .collect()
    }

    /// Keys of records whose period ended after `after` and no later than `ended`, at most `limit`.
    pub fn ended(
        &self,
        partition: u32,
        after: UnixMillis,
        ended: UnixMillis,
        limit: usize,
    ) -> Result<Vec<StoredKey>, fjall::Error> {
        let first = place(partition, &after.0.to_be_bytes());
        let past = place(partition, &ended.0.saturating_add(1).to_be_bytes());
        let entries = self.keys.range(first..past).take(limit);
        entries.map(|entry| stored_key(entry.into_inner()?)).collect()
    }

    /// The newest claim of a partition and where it stands.
    pub fn newest_claim(&self, partition: u32) -> Result<Option<(Offset, Claim)>, JournalError> {
        let lasting = self.lasting(partition).map_err(|error| cannot_read(partition, &error))?;
        let claims = lasting.iter().filter(|stored| stored.key.lasting_kind() == Some(kind::CLAIM));
        let Some(offset) = claims.map(|stored| stored.offset).max() else { return Ok(None) };
        let found = self.read(partition, offset, 1)?;
        Ok(found.into_iter().find_map(|(at, record)| match record {
            Record::Claim(claim) if at == offset => Some((at, claim)),
            Record::Claim(_) | Record::Use(_) | Record::Horizon(_) => None,
        }))
    }

    /// Some keys of a partition, whatever they are.
    pub fn some(&self, partition: u32, limit: usize) -> Result<Vec<StoredKey>, fjall::Error> {
        let entries = self.keys.prefix(partition.to_be_bytes()).take(limit);
        entries.map(|entry| stored_key(entry.into_inner()?)).collect()
    }

    /// Keys of the records that don't end: claims and horizons.
    fn lasting(&self, partition: u32) -> Result<Vec<StoredKey>, fjall::Error> {
        let entries = self.keys.prefix(place(partition, &u64::MAX.to_be_bytes()));
        entries.map(|entry| stored_key(entry.into_inner()?)).collect()
    }

    /// Starts a group of writes that are durable once they are committed.
    pub fn group(&self) -> Group<'_> {
        self.group_with(PersistMode::SyncAll)
    }

    /// Starts a group of writes that survive this process, and of which a crash of the machine may
    /// lose the last ones.
    pub fn loose_group(&self) -> Group<'_> {
        self.group_with(PersistMode::Buffer)
    }

    fn group_with(&self, mode: PersistMode) -> Group<'_> {
        Group { store: self, batch: self.database.batch().durability(Some(mode)) }
    }
}

/// A key in the `keys` keyspace.
#[derive(Clone, Debug)]
pub(super) struct StoredKey {
    /// The record's key.
    pub key: RecordKey,
    /// Where the newest record with that key stood when it was looked up.
    pub offset: Offset,
}

fn stored_key((key, value): fjall::KvPair) -> Result<StoredKey, fjall::Error> {
    let key = RecordKey::from_bytes(key.get(4..).unwrap_or_default());
    Ok(StoredKey { key, offset: big_endian(&value).unwrap_or(Offset::MAX) })
}

impl Group<'_> {
    /// Adds a record, and takes away the one that it replaces. A group must have one record for
    /// each key at most.
    pub fn put(
        &mut self,
        partition: u32,
        key: &RecordKey,
        offset: Offset,
        record: &[u8],
    ) -> Result<(), fjall::Error> {
        let replaced = self.store.find(partition, key)?;
        self.batch.insert(&self.store.log, log_key(partition, offset), record);
        self.batch.insert(&self.store.keys, place(partition, key.as_bytes()), offset.to_be_bytes());
        if let Some(old) = replaced {
            self.batch.remove(&self.store.log, log_key(partition, old));
        }
        Ok(())
    }

    /// Takes a key and its record, which stands at `offset`, away.
    pub fn remove(&mut self, partition: u32, key: &RecordKey, offset: Offset) {
        self.batch.remove(&self.store.log, log_key(partition, offset));
        self.batch.remove(&self.store.keys, place(partition, key.as_bytes()));
    }

    /// Takes claims and horizons away that newer ones replaced. Only while nobody reads the
    /// partition: a reader may not have seen the older ones yet.
    pub fn remove_replaced(&mut self, partition: u32) -> Result<(), fjall::Error> {
        let mut lasting = self.store.lasting(partition)?;
        lasting.sort_by_key(|stored| (stored.key.lasting_kind(), stored.offset));
        for pair in lasting.windows(2) {
            if let [older, newer] = pair
                && older.key.lasting_kind() == newer.key.lasting_kind()
            {
                self.remove(partition, &older.key, older.offset);
            }
        }
        Ok(())
    }

    /// Notes a text.
    pub fn set_note(&mut self, name: &str, text: &str) {
        self.batch.insert(&self.store.keys, place(OWN, name.as_bytes()), text.as_bytes());
    }

    /// Notes the offset that a partition's next record gets.
    pub fn set_next(&mut self, partition: u32, next: Offset) {
        self.set(&[NEXT, &partition.to_be_bytes()].concat(), next);
    }

    /// Notes the number of partitions.
    pub fn set_partitions(&mut self, partitions: u32) {
        self.set(PARTITIONS, u64::from(partitions));
    }

    fn set(&mut self, name: &[u8], number: u64) {
        self.batch.insert(&self.store.keys, place(OWN, name), number.to_be_bytes());
    }

    /// Writes all of it, under a number. Readers see it only after that.
    pub fn commit(mut self, number: u64) -> Result<(), fjall::Error> {
        self.set(COMMIT, number);
        self.write()
    }

    /// Writes all of it. Readers see it only after that.
    pub fn write(self) -> Result<(), fjall::Error> {
        self.batch.commit()
    }
}

/// Whether a record may be stored under this key.
pub(super) fn fits(key: &RecordKey) -> bool {
    key.as_bytes().len() <= LONGEST_KEY
}

pub(super) fn cannot_read(partition: u32, error: &fjall::Error) -> JournalError {
    JournalError::CannotRead { partition, reason: error.to_string() }
}

fn log_key(partition: u32, offset: Offset) -> Vec<u8> {
    place(partition, &offset.to_be_bytes())
}

fn place(partition: u32, key: &[u8]) -> Vec<u8> {
    [&partition.to_be_bytes(), key].concat()
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
