use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Slice,
};

use super::change::{Applied, Change, Put, Scope, TableError};
use super::key::Place;
use super::layout::{
    ANSWER, ROUTE, answer_key, place_of, prefix, route_key, route_tag, routed_place,
};
use super::shelf::{
    Note, Shelf, full_bytes, shelf_bytes, shelf_name, shelf_number, shelf_options,
};
use crate::request::UnixMillis;

/// Sealed answers on disk, in a row of *shelves* that are filled one after the other.
///
/// A shelf is a keyspace of its own. When there is no more room, the oldest shelf is thrown away
/// whole: that costs the same however much stands on it, gives the disk space back at once and
/// leaves no deletion marks behind. An answer is looked for from the newest shelf to the oldest,
/// so a newer version hides an older one, and since only the oldest shelf is ever thrown away, a
/// hidden version never comes to light again.
///
/// On a shelf, answers are ordered by account, so one scan finds those of an account; a second
/// key for each, by route, finds those of a route.
pub(super) struct Table {
    database: Database,
    /// What stands on each shelf, and in time the position in a feed: written in one batch with
    /// the answers.
    notes: Keyspace,
    shelves: ArcSwap<Vec<Shelf>>,
    /// Held for a change: one writer at a time.
    written: Mutex<BTreeMap<u64, Note>>,
    faults: Faults,
}

/// Removals written together; a purge of millions must not be one write.
const REMOVALS_TOGETHER: usize = 1000;
const BLOCK_CACHE_BYTES: u64 = 8 << 20;
/// The least that the store allows: how much of its write-ahead log may wait to be moved.
const LOG_BYTES: u64 = 64 << 20;
const NOTES: &str = "notes";

impl Table {
    pub(super) fn open(path: &Path, disk: u64, faults: Faults) -> Result<Self, TableError> {
        faults.check()?;
        // The store asserts what it expects of its files; a damaged one must not end the process.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_unguarded(path, disk, faults)));
        opened.unwrap_or(Err(TableError::Damaged))
    }

    fn open_unguarded(path: &Path, disk: u64, faults: Faults) -> Result<Self, TableError> {
        let database = Database::builder(path)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(LOG_BYTES)
            // What is sealed can't be made smaller.
            .journal_compression(CompressionType::None)
            .worker_threads(2)
            .open()?;
        let notes = database.keyspace(NOTES, KeyspaceCreateOptions::default)?;
        let mut shelves = Vec::new();
        let mut written = BTreeMap::new();
        for name in database.list_keyspace_names() {
            let Some(number) = shelf_number(&name) else { continue };
            let answers = database.keyspace(&name, || shelf_options(disk))?;
            let note = notes.get(number.to_be_bytes())?.and_then(|note| Note::read(&note));
            shelves.push(Shelf { number, answers });
            written.insert(number, note.unwrap_or_default());
        }
        shelves.sort_unstable_by_key(|shelf| shelf.number);
        let table = Self {
            database,
            notes,
            shelves: ArcSwap::from_pointee(shelves),
            written: Mutex::new(written),
            faults,
        };
        if table.shelves.load().is_empty() {
            table.add_shelf(&mut table.written(), disk)?;
        }
        Ok(table)
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

    /// The newest records of an account, at most `limit`.
    pub(super) fn of_account(
        &self,
        account: &[u8; 16],
        limit: usize,
    ) -> Result<Vec<(Place, Slice)>, TableError> {
        self.faults.check()?;
        let mut seen = HashSet::new();
        let mut records = Vec::new();
        for shelf in self.shelves.load().iter().rev() {
            for found in shelf.answers.prefix(prefix(ANSWER, account)) {
                let (key, record) = found.into_inner()?;
                let Some(place) = place_of(&key) else { continue };
                if seen.insert(place) {
                    records.push((place, record));
                }
                if records.len() >= limit {
                    return Ok(records);
                }
            }
        }
        Ok(records)
    }

    /// The one way in: everything that changes the table comes through here, in order, be it from
    /// this gateway's own answers and purges or from a feed of others'. What it did stands after
    /// a crash of the process; after one of the machine too, once [`Table::sync`] has returned.
    pub(super) fn apply(&self, changes: Vec<Change>, disk: u64) -> Result<Applied, TableError> {
        self.faults.check()?;
        let mut written = self.written();
        let mut applied = Applied::default();
        let mut puts = Vec::new();
        for change in changes {
            match change {
                Change::Put(put) => puts.push(put),
                Change::Remove(scope) => {
                    self.put(&mut written, std::mem::take(&mut puts), disk, &mut applied)?;
                    applied.removed += self.remove(&mut written, &scope, disk)?;
                }
            }
        }
        self.put(&mut written, puts, disk, &mut applied)?;
        Ok(applied)
    }

    fn put(
        &self,
        written: &mut BTreeMap<u64, Note>,
        puts: Vec<Put>,
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
                !places.contains(&put.place) && (note.fits(put, disk) || put.bytes() > shelf_bytes(disk))
            }) {
                if put.bytes() > shelf_bytes(disk) {
                    applied.too_large += 1;
                    continue;
                }
                note.add(&put);
                places.insert(put.place);
                batch.insert(&shelf.answers, route_key(&put.route, &put.place), Vec::new());
                batch.insert(&shelf.answers, answer_key(&put.place), put.record);
            }
            if !places.is_empty() {
                batch.insert(&self.notes, shelf.number.to_be_bytes(), note.bytes_form());
                batch.commit()?;
                written.insert(shelf.number, note);
            }
            if puts.peek().is_some_and(|put| !note.fits(put, disk)) {
                self.add_shelf(written, disk)?;
                applied.evicted += self.throw_away(written, disk)?;
            }
        }
        Ok(())
    }

    fn remove(
        &self,
        written: &mut BTreeMap<u64, Note>,
        scope: &Scope,
        disk: u64,
    ) -> Result<u64, TableError> {
        match scope {
            Scope::All => self.remove_all(written, disk),
            Scope::Entry(place) => self.remove_found(|shelf| {
                let key = answer_key(place);
                let there = shelf.answers.contains_key(key)?;
                Ok(Box::new(there.then_some(Ok(*place)).into_iter()))
            }),
            Scope::Account(account) => self.remove_found(|shelf| {
                let found = shelf.answers.prefix(prefix(ANSWER, account)).map(Guard::key);
                Ok(Box::new(found.filter_map(|key| key.map(|key| place_of(&key)).transpose())))
            }),
            Scope::Route(route) => self.remove_found(|shelf| {
                let found = shelf.answers.prefix(prefix(ROUTE, &route_tag(route))).map(Guard::key);
                Ok(Box::new(found.filter_map(|key| key.map(|key| routed_place(&key)).transpose())))
            }),
        }
    }

    /// Removes, on every shelf, what `find` finds there. Returns how many places were emptied.
    fn remove_found(&self, find: impl Fn(&Shelf) -> Found) -> Result<u64, TableError> {
        let shelves = self.shelves.load_full();
        let mut removed = 0;
        // From the oldest: a place counts on the newest shelf that has it.
        for (at, shelf) in shelves.iter().enumerate() {
            let mut batch = self.database.batch();
            for place in find(shelf)? {
                let key = answer_key(&place?);
                if !shelf.answers.contains_key(key)? {
                    continue;
                }
                let newer = shelves.iter().skip(at + 1);
                let hidden = newer.map(|shelf| shelf.answers.contains_key(key));
                if !any(hidden)? {
                    removed += 1;
                }
                batch.remove(&shelf.answers, key);
                if batch.len() >= REMOVALS_TOGETHER {
                    std::mem::replace(&mut batch, self.database.batch()).commit()?;
                }
            }
            batch.commit()?;
        }
        Ok(removed)
    }

    fn remove_all(
        &self,
        written: &mut BTreeMap<u64, Note>,
        disk: u64,
    ) -> Result<u64, TableError> {
        let old: Vec<u64> = written.keys().copied().collect();
        self.add_shelf(written, disk)?;
        let mut removed = 0;
        for number in old {
            removed += self.remove_shelf(written, number)?;
        }
        Ok(removed)
    }

    /// Throws away what is over, and the oldest shelves while there is more than the disk may
    /// hold. Returns how many answers went.
    pub(super) fn make_room(&self, now: UnixMillis, disk: u64) -> Result<u64, TableError> {
        self.faults.check()?;
        let mut written = self.written();
        let over = |note: &Note| note.entries > 0 && note.expires <= now;
        if written.last_key_value().is_some_and(|(_, note)| over(note)) {
            self.add_shelf(&mut written, disk)?;
        }
        let mut evicted = 0;
        while written.len() > 1
            && let Some((number, note)) = written.first_key_value()
            && over(note)
        {
            let number = *number;
            evicted += self.remove_shelf(&mut written, number)?;
        }
        Ok(evicted + self.throw_away(&mut written, disk)?)
    }

    fn throw_away(
        &self,
        written: &mut BTreeMap<u64, Note>,
        disk: u64,
    ) -> Result<u64, TableError> {
        let mut evicted = 0;
        while written.len() > 1
            && bytes(written) > full_bytes(disk)
            && let Some(number) = written.keys().next().copied()
        {
            evicted += self.remove_shelf(written, number)?;
        }
        Ok(evicted)
    }

    fn newest(&self) -> Option<Shelf> {
        self.shelves.load().last().cloned()
    }

    fn add_shelf(
        &self,
        written: &mut BTreeMap<u64, Note>,
        disk: u64,
    ) -> Result<(), TableError> {
        let number = written.keys().next_back().map_or(0, |last| last + 1);
        let answers = self.database.keyspace(&shelf_name(number), || shelf_options(disk))?;
        written.insert(number, Note::default());
        let mut shelves = self.shelves.load().to_vec();
        shelves.push(Shelf { number, answers });
        self.shelves.store(Arc::new(shelves));
        Ok(())
    }

    /// Durable when it returns: the store writes its list of keyspaces through.
    fn remove_shelf(
        &self,
        written: &mut BTreeMap<u64, Note>,
        number: u64,
    ) -> Result<u64, TableError> {
        let (gone, kept): (Vec<Shelf>, Vec<Shelf>) =
            self.shelves.load().iter().cloned().partition(|shelf| shelf.number == number);
        self.shelves.store(Arc::new(kept));
        for shelf in gone {
            self.database.delete_keyspace(shelf.answers)?;
        }
        self.notes.remove(number.to_be_bytes())?;
        Ok(written.remove(&number).map_or(0, |note| note.entries))
    }

    /// Returns when everything applied so far survives a crash of the machine.
    pub(super) fn sync(&self) -> Result<(), TableError> {
        self.faults.check()?;
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    /// Whether the store is behind with moving data. It would make a writer wait, and wait for
    /// ever if its own threads have died of a disk fault; so the writer asks first.
    pub(super) fn is_behind(&self) -> bool {
        self.newest().is_some_and(|shelf| {
            shelf.answers.sealed_memtable_count() >= 2 || shelf.answers.l0_table_count() >= 16
        })
    }

    /// Bytes and answers written and not thrown away. An answer written twice counts twice.
    pub(super) fn size(&self) -> (u64, u64) {
        let written = self.written();
        (bytes(&written), written.values().map(|note| note.entries).sum())
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

fn bytes(written: &BTreeMap<u64, Note>) -> u64 {
    written.values().map(|note| note.bytes).sum()
}

/// Where tests make the disk fail; nothing in the product.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    #[cfg(test)]
    pub(super) on: Arc<std::sync::atomic::AtomicBool>,
}

impl Faults {
    fn check(&self) -> Result<(), TableError> {
        #[cfg(test)]
        if self.on.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(fjall::Error::Io(std::io::ErrorKind::StorageFull.into()).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
