use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Table, bytes, guarded, slot};
use crate::request::UnixMillis;
use crate::vault::change::TableError;
use crate::vault::shelf::{
    Note, SLOTS, Shelf, full_bytes, shelf_bytes, shelf_number, slot_name, slot_options,
};

/// Stands in the notes in place of a shelf's note while the shelf is thrown away.
const GOING: &[u8] = b"";

/// The row of shelves: begun at one end, thrown away at the other.
impl Table {
    /// The shelves that stood when the table was closed.
    pub(super) fn open_shelves(&self) -> Result<(), TableError> {
        let mut written = self.written();
        let (mut shelves, mut going) = (Vec::new(), Vec::new());
        for found in self.notes.iter() {
            let (key, value) = found.into_inner()?;
            let Some(number) = shelf_number(&key) else { continue };
            let answers = self.database.keyspace(&slot_name(number), slot_options)?;
            let shelf = Shelf { number, answers };
            match Note::read(&value) {
                Some(note) => {
                    written.insert(number, note);
                    shelves.push(shelf);
                }
                None => going.push(shelf),
            }
        }
        for shelf in going {
            self.empty(&shelf)?;
        }
        self.shelves.store(Arc::new(shelves));
        if written.is_empty() {
            self.add_shelf(&mut written)?;
        }
        self.measure(&written);
        Ok(())
    }

    /// Throws away what is over, and the oldest shelves while there is more than the disk may
    /// hold. Returns how many answers went.
    pub(in crate::vault) fn make_room(
        &self,
        now: UnixMillis,
        disk: u64,
    ) -> Result<u64, TableError> {
        self.faults.check()?;
        guarded(|| self.make_room_unguarded(now, disk))
    }

    fn make_room_unguarded(&self, now: UnixMillis, disk: u64) -> Result<u64, TableError> {
        let mut written = self.written();
        let newest = written.last_key_value().map(|(_, note)| *note).unwrap_or_default();
        let mut evicted = 0;
        // While an older shelf stays, the newest can't go either, and is as well filled further.
        let all_over = newest.bytes > 0 && written.values().all(|note| note.is_over(now));
        if all_over || newest.bytes > shelf_bytes(disk) {
            evicted += self.add_shelf(&mut written)?;
        }
        evicted += self.remove_oldest(&mut written, |_, note, _| note.is_over(now))?;
        evicted += self.throw_away(&mut written, disk)?;
        self.measure(&written);
        Ok(evicted)
    }

    pub(super) fn throw_away(
        &self,
        written: &mut BTreeMap<u64, Note>,
        disk: u64,
    ) -> Result<u64, TableError> {
        self.remove_oldest(written, |_, _, written| bytes(written) > full_bytes(disk))
    }

    /// Removes the oldest shelf for as long as it must go, but not the last one. Returns how many
    /// answers went.
    fn remove_oldest(
        &self,
        written: &mut BTreeMap<u64, Note>,
        goes: impl Fn(u64, &Note, &BTreeMap<u64, Note>) -> bool,
    ) -> Result<u64, TableError> {
        let mut evicted = 0;
        while written.len() > 1
            && let Some((&number, note)) = written.first_key_value()
            && goes(number, note, written)
        {
            evicted += self.remove_shelf(written, number)?;
        }
        Ok(evicted)
    }

    pub(super) fn newest(&self) -> Option<Shelf> {
        self.shelves.load().last().cloned()
    }

    /// Begins a shelf; the one that stands in its slot goes. Returns how many answers went.
    pub(super) fn add_shelf(&self, written: &mut BTreeMap<u64, Note>) -> Result<u64, TableError> {
        let number = written.keys().next_back().map_or(0, |last| last + 1);
        let evicted = self.remove_oldest(written, |oldest, _, _| number - oldest >= SLOTS)?;
        let answers = self.database.keyspace(&slot_name(number), slot_options)?;
        self.notes.insert(number.to_be_bytes(), Note::default().bytes_form())?;
        written.insert(number, Note::default());
        let mut shelves = self.shelves.load().to_vec();
        shelves.push(Shelf { number, answers });
        self.shelves.store(Arc::new(shelves));
        Ok(evicted)
    }

    /// Returns how many answers went.
    pub(super) fn remove_shelf(
        &self,
        written: &mut BTreeMap<u64, Note>,
        number: u64,
    ) -> Result<u64, TableError> {
        let (gone, kept): (Vec<Shelf>, Vec<Shelf>) =
            self.shelves.load().iter().cloned().partition(|shelf| shelf.number == number);
        self.shelves.store(Arc::new(kept));
        // After a crash in between, the next start goes on with it.
        self.notes.insert(number.to_be_bytes(), GOING)?;
        for shelf in gone {
            self.empty(&shelf)?;
        }
        Ok(written.remove(&number).map_or(0, |note| note.entries))
    }

    fn empty(&self, going: &Shelf) -> Result<(), TableError> {
        slot::empty(&going.answers)?;
        Ok(self.notes.remove(going.number.to_be_bytes())?)
    }
}
