mod changed;
mod folder;
mod noted;
mod remove;
mod row;
mod slot;

pub(super) use changed::ChangedKey;
pub(super) use folder::set_aside;

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Slice};

use super::change::{Applied, Change, Faults, Put, TableError};
use super::feed::Noted;
use super::key::Place;
use super::layout::{ANSWER, answer_key, place_of, prefix, route_key};
use super::shelf::{Note, Shelf, shelf_bytes};

/// Sealed answers on disk, in a row of *shelves* that are filled one after the other.
///
/// A shelf has a keyspace to itself: its *slot*, of which there are a few, used in turn. When there
/// is no more room, the oldest shelf is thrown away whole: that costs the same however much stands
/// on it, gives the disk space back at once and leaves no deletion marks behind. An answer is
/// looked for from the newest shelf to the oldest, so a newer version hides an older one, and since
/// only the oldest shelf is ever thrown away, a hidden version never comes to light again.
///
/// On a shelf, answers are ordered by account, so one scan finds those of an account; a second
/// key for each, by route, finds those of a route.
pub(super) struct Table {
    database: Database,
    /// What stands on each shelf, and what is to be remembered of a feed: written in one batch
    /// with the answers.
    notes: Keyspace,
    changed: changed::Generations,
    shelves: ArcSwap<Vec<Shelf>>,
    /// Held for a change: one writer at a time.
    written: Mutex<BTreeMap<u64, Note>>,
    /// Bytes and answers on all shelves; apart, because a view must not wait for the disk.
    size: (AtomicU64, AtomicU64),
    faults: Faults,
}

/// The store fills 64 MiB of its write-ahead log while it moves as much. Where it is longer than
/// this, it is shortened before more is written: it never gets longer by more than a batch.
const LONGEST_LOG: u64 = 160 << 20;

impl Table {
    pub(super) fn open(path: &Path, faults: Faults) -> Result<Self, TableError> {
        faults.check()?;
        guarded(|| {
            let (database, notes) = folder::open(path)?;
            let changed = changed::Generations::open(&database, &notes)?;
            let table = Self {
                database,
                notes,
                changed,
                shelves: ArcSwap::default(),
                written: Mutex::default(),
                size: Default::default(),
                faults,
            };
            table.open_shelves()?;
            Ok(table)
        })
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<u64, Note>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest record at a place.
    pub(super) fn get(&self, place: &Place) -> Result<Option<Slice>, TableError> {
        self.faults.check()?;
        let key = answer_key(place);
        for shelf in self.shelves.load().iter().rev() {
            if let Some(record) = shelf.answers.get(key)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Shows the newest records of an account, at most `limit`, one after the other: together they
    /// could be more than memory has room for.
    pub(super) fn of_account(
        &self,
        account: &[u8; 16],
        limit: usize,
        mut show: impl FnMut(Place, &[u8]),
    ) -> Result<(), TableError> {
        self.faults.check()?;
        let mut seen = HashSet::new();
        for shelf in self.shelves.load().iter().rev() {
            for found in shelf.answers.prefix(prefix(ANSWER, account)) {
                let (key, record) = found.into_inner()?;
                let Some(place) = place_of(&key) else { continue };
                if seen.len() >= limit {
                    return Ok(());
                }
                if seen.insert(place) {
                    show(place, &record);
                }
            }
        }
        Ok(())
    }

    /// The one way in: everything that changes the table comes through here, in order, be it from
    /// this gateway's own answers and purges or from a feed of others'. What it did stands after
    /// a crash of the process; after one of the machine too, once [`Table::sync`] has returned.
    pub(super) fn apply(&self, changes: Vec<Change>, disk: u64) -> Result<Applied, TableError> {
        self.faults.check()?;
        guarded(|| self.apply_unguarded(changes, disk))
    }

    fn apply_unguarded(&self, changes: Vec<Change>, disk: u64) -> Result<Applied, TableError> {
        let mut written = self.written();
        let mut applied = Applied::default();
        let (mut puts, mut notes) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Put(put) => puts.push(put),
                Change::Remove(scope) => {
                    let before = std::mem::take(&mut puts);
                    self.put(&mut written, before, Vec::new(), disk, &mut applied)?;
                    applied.removed += self.remove(&mut written, &scope)?;
                }
                Change::Note(noted) => notes.push(noted),
            }
        }
        self.put(&mut written, puts, notes, disk, &mut applied)?;
        self.measure(&written);
        self.shorten_log()?;
        Ok(applied)
    }

    fn put(
        &self,
        written: &mut BTreeMap<u64, Note>,
        puts: Vec<Put>,
        mut notes: Vec<Noted>,
        disk: u64,
        applied: &mut Applied,
    ) -> Result<(), TableError> {
        let mut puts = puts.into_iter().peekable();
        while puts.peek().is_some() {
            let Some(shelf) = self.newest() else { return Err(TableError::Damaged) };
            let mut note = written.get(&shelf.number).copied().unwrap_or_default();
            let mut batch = self.database.batch();
            // One batch has one time stamp: a place may stand in it only once.
            let mut places = HashSet::new();
            while let Some(put) = puts.next_if(|put| {
                !places.contains(&put.place)
                    && (note.fits(put, disk) || put.bytes() > shelf_bytes(disk))
            }) {
                if put.bytes() > shelf_bytes(disk) {
                    applied.too_large += 1;
                    continue;
                }
                let key = answer_key(&put.place);
                note.add(&put, shelf.answers.contains_key(key)?);
                places.insert(put.place);
                batch.insert(&shelf.answers, route_key(&put.route, &put.place), Vec::new());
                batch.insert(&shelf.answers, key, put.record);
            }
            if puts.peek().is_none() {
                self.note(&mut batch, std::mem::take(&mut notes))?;
            }
            if !batch.is_empty() {
                self.commit(batch, shelf.number, note, written)?;
            }
            if puts.peek().is_some_and(|put| !note.fits(put, disk)) {
                // It is full: neither memory nor the log need wait for more.
                shelf.answers.rotate_memtable()?;
                applied.evicted += self.add_shelf(written)?;
                applied.evicted += self.throw_away(written, disk)?;
            }
        }
        if !notes.is_empty() {
            let mut batch = self.database.batch();
            self.note(&mut batch, notes)?;
            batch.commit()?;
        }
        Ok(())
    }

    /// Writes a batch together with what then stands on the shelf.
    fn commit(
        &self,
        mut batch: OwnedWriteBatch,
        shelf: u64,
        note: Note,
        written: &mut BTreeMap<u64, Note>,
    ) -> Result<(), TableError> {
        batch.insert(&self.notes, shelf.to_be_bytes(), note.bytes_form());
        batch.commit()?;
        written.insert(shelf, note);
        Ok(())
    }

    /// Returns when everything applied so far survives a crash of the machine.
    pub(super) fn sync(&self) -> Result<(), TableError> {
        self.faults.check()?;
        guarded(|| Ok(self.database.persist(PersistMode::SyncAll)?))
    }

    /// Whether the store still takes writes.
    pub(super) fn probe(&self) -> Result<(), TableError> {
        self.faults.check()?;
        guarded(|| Ok(self.database.persist(PersistMode::Buffer)?))
    }

    /// Whether the store is behind with moving data. It would make a writer wait, and wait for
    /// ever if its own threads have died of a disk fault; so the writer asks first.
    pub(super) fn is_behind(&self) -> bool {
        self.is_log_long()
            || self.newest().is_some_and(|shelf| {
                shelf.answers.sealed_memtable_count() >= 2 || shelf.answers.l0_table_count() >= 16
            })
    }

    fn is_log_long(&self) -> bool {
        let bytes = guarded(|| Ok(self.database.journal_disk_space()?));
        bytes.is_ok_and(|bytes| bytes > LONGEST_LOG)
    }

    /// Has everything moved that a log longer than it may be can wait for. The store itself begins
    /// a new part of the log only when it moves something, and lets go of the oldest first.
    pub(super) fn shorten_log(&self) -> Result<(), TableError> {
        if !self.is_log_long() {
            return Ok(());
        }
        guarded(|| {
            for shelf in self.shelves.load().iter() {
                slot::move_to_file(&shelf.answers)?;
            }
            slot::move_to_file(&self.notes)?;
            self.changed.move_to_files()
        })
    }

    /// Bytes written and not thrown away, and answers. An answer that was refreshed may stand on
    /// two shelves and counts on both.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.size.0.load(Ordering::Relaxed), self.size.1.load(Ordering::Relaxed))
    }

    fn measure(&self, written: &BTreeMap<u64, Note>) {
        self.size.0.store(bytes(written), Ordering::Relaxed);
        let entries = written.values().map(|note| note.entries).sum();
        self.size.1.store(entries, Ordering::Relaxed);
    }
}

/// The store asserts what it expects of its files and locks. That must end neither the process
/// nor the thread that writes.
fn guarded<T>(work: impl FnOnce() -> Result<T, TableError>) -> Result<T, TableError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(TableError::Damaged))
}

fn bytes(written: &BTreeMap<u64, Note>) -> u64 {
    written.values().map(|note| note.bytes).sum()
}

#[cfg(test)]
mod tests;
