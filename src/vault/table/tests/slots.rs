//! Shelves that stand, one after the other, in the same few slots.

use std::time::{Duration, Instant};

use fjall::AbstractTree;

use super::*;
use crate::testing::files::killed;
use crate::vault::shelf::SLOTS;
use crate::vault::testing::HOUR;

/// Every slot is used again.
const TURNS: u64 = SLOTS + 7;
const OVER: UnixMillis = UnixMillis(NOW.0 + 1000);

fn account(number: u64) -> Change {
    Change::Remove(Scope::Account(place(number).account))
}

impl Table {
    /// Answers in all slots, whether somebody could see them or not.
    fn standing(&self) -> usize {
        let names = self.database.list_keyspace_names();
        let slots = names.iter().filter(|name| name.starts_with("slot-"));
        let slots = slots.map(|name| self.database.keyspace(name, Default::default).unwrap());
        slots.map(|slot| slot.prefix([ANSWER]).count()).sum()
    }

    /// Waits until the store moves nothing: then its files can be copied.
    fn settle(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        let is_moving = || {
            let shelves = self.shelves.load();
            let waiting = shelves.iter().any(|shelf| shelf.answers.sealed_memtable_count() > 0);
            waiting || self.notes.sealed_memtable_count() > 0
        };
        while is_moving() || self.database.active_compactions() > 0 {
            assert!(Instant::now() < until, "the store is still moving data");
            std::thread::yield_now();
        }
    }
}

/// The table as it is, as a kill leaves it, and as a stop leaves it.
fn in_every_life(directory: &Path, table: Table, check: impl Fn(&Table)) {
    check(&table);
    table.settle();
    let image = killed(directory);
    check(&open(image.path()));
    drop(table);
    check(&open(directory));
}

#[test]
fn hundreds_of_shelves_leave_the_folder_within_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    for turn in 0..150 {
        let puts = (0..10).map(|number| put(turn * 10 + number, 10_000));
        let again = [put(turn * 10, 5_000), account(turn * 10 + 1), put(turn * 10 + 2, 100)];
        table.apply(puts.chain(again).collect(), DISK).unwrap();
        assert_eq!(table.make_room(OVER, DISK).unwrap(), 9);
        if turn % 20 == 19 {
            assert_bounded(directory.path());
        }
    }
    drop(table);
    let table = open(directory.path());
    assert_eq!(table.standing(), 0);
    let answers = bytes_on_disk(&directory.path().join("keyspaces"));
    assert!(answers <= 2 << 20, "nothing is kept: {answers}");
}

#[test]
fn a_slot_that_is_used_again_shows_nothing_of_the_shelf_before() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    for turn in 0..TURNS {
        table.apply(vec![put(turn, 2_000)], DISK).unwrap();
        assert_eq!(table.make_room(OVER, DISK).unwrap(), 1);
    }
    table.apply(vec![put(1_000, 2_000)], DISK).unwrap();
    in_every_life(directory.path(), table, |table| {
        assert!(table.get(&place(1_000)).unwrap().is_some());
        for turn in 0..TURNS {
            assert!(table.get(&place(turn)).unwrap().is_none(), "{turn}");
            table.of_account(&place(turn).account, 10, |_, _| panic!("{turn}")).unwrap();
        }
        assert_eq!(table.standing(), 1);
        assert_eq!(table.size().1, 1);
    });
}

#[test]
fn what_was_purged_stays_purged_where_slots_were_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    for _ in 0..TURNS {
        table.apply(vec![put(1, 3_000), put(2, 3_000)], DISK).unwrap();
        let removed = table.apply(vec![Change::Remove(Scope::All)], DISK).unwrap().removed;
        assert_eq!(removed, 2);
    }
    table.apply(vec![put(1, 3_000), put(2, 4_000), account(1)], DISK).unwrap();
    table.sync().unwrap();
    in_every_life(directory.path(), table, |table| {
        assert!(table.get(&place(1)).unwrap().is_none());
        assert_eq!(table.get(&place(2)).unwrap().unwrap().len(), 4_000);
        assert_eq!(table.size().1, 1);
    });
}

#[test]
fn a_shelf_that_was_being_thrown_away_is_gone_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    table.apply(vec![put(1, 3_000), put(2, 3_000)], DISK).unwrap();
    let shelf = table.newest().unwrap();
    shelf.answers.rotate_memtable_and_wait().unwrap();
    table.apply(vec![put(3, 3_000)], DISK).unwrap();
    table.notes.insert(shelf.number.to_be_bytes(), b"").unwrap();
    table.settle();
    let full = killed(directory.path());
    shelf.answers.tree.drop_range::<&[u8], _>(..).unwrap();
    shelf.answers.tree.clear().unwrap();
    let half_empty = killed(directory.path());
    for image in [full, half_empty] {
        let table = open(image.path());
        assert_eq!((table.size(), table.standing()), ((0, 0), 0));
        table.apply(vec![put(4, 10)], DISK).unwrap();
        drop(table);
        let table = open(image.path());
        assert_eq!((table.size().1, table.standing()), (1, 1));
        assert!(table.get(&place(4)).unwrap().is_some());
    }
}

#[test]
fn a_newest_shelf_that_is_over_is_filled_further_while_an_older_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    let Change::Put(mut lasting) = put(1, 600_000) else { panic!() };
    lasting.expires = NOW.plus(HOUR);
    table.apply(vec![Change::Put(lasting), put(2, 600_000)], DISK).unwrap();
    for _ in 0..3 {
        assert_eq!(table.make_room(OVER, DISK).unwrap(), 0);
        assert_eq!(table.shelves.load().len(), 2);
    }
    assert!(table.get(&place(1)).unwrap().is_some());
    assert_eq!(table.make_room(NOW.plus(HOUR), DISK).unwrap(), 2);
}

#[test]
fn small_shelves_of_a_smaller_bound_make_way_when_the_slots_are_used_up() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    table.apply((0..13).map(|number| put(number, 60_000)).collect(), 1 << 20).unwrap();
    assert_eq!(table.shelves.load().len(), 13);
    table.apply((20..33).map(|number| put(number, 600_000)).collect(), DISK).unwrap();
    assert_eq!(table.shelves.load().len() as u64, SLOTS);
    assert!((20..33).all(|number| table.get(&place(number)).unwrap().is_some()));
    // The last small one had room for one more.
    assert_eq!(table.size().1, SLOTS + 1);
}

#[test]
fn changes_are_noted_in_two_keyspaces_however_long() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    let day = HOUR * 24;
    let time = |turn: u8| NOW.plus(day * u32::from(turn));
    for turn in 0..20 {
        table.forget_changes(time(turn), day).unwrap();
        let changed = Noted::Changed { key: [turn; 32], at: time(turn) };
        table.apply(vec![Change::Note(changed)], DISK).unwrap();
    }
    in_every_life(directory.path(), table, |table| {
        let noted: Vec<_> =
            (0..20).filter_map(|turn| table.changed(&[[turn; 32]]).unwrap()).collect();
        assert_eq!(noted, [time(18), time(19)]);
        assert_eq!(table.database.keyspace_count(), 4, "with the notes and a slot");
    });
}

/// As releases before left it: each shelf a keyspace of its own.
fn former_release(path: &Path) {
    let database = Database::builder(path).open().unwrap();
    let notes = database.keyspace("notes", Default::default).unwrap();
    let shelf = database.keyspace("shelf-0", Default::default).unwrap();
    shelf.insert(answer_key(&place(1)), b"kept").unwrap();
    let note = Note { bytes: 100, entries: 1, expires: OVER };
    notes.insert(0u64.to_be_bytes(), note.bytes_form()).unwrap();
    notes.insert("feed.identity", "topics").unwrap();
    notes.insert("feed.owed.a purge", "").unwrap();
}

#[test]
fn a_folder_of_the_layout_before_starts_empty_and_still_owes_its_purges() {
    // Also when a crash cut that short.
    for found in ["cache", "cache.former"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        former_release(&directory.path().join(found));
        let table = open(&path);
        assert_eq!((table.size(), table.standing()), ((0, 0), 0));
        assert!(table.get(&place(1)).unwrap().is_none());
        assert_eq!(table.identity().unwrap(), None, "the feed starts over");
        assert_eq!(table.owed().unwrap(), [b"a purge"]);
        table.apply(vec![put(1, 10)], DISK).unwrap();
        drop(table);
        let table = open(&path);
        assert!(table.get(&place(1)).unwrap().is_some(), "that happens once");
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
