mod slots;

use super::*;
use crate::request::{RouteId, UnixMillis};
use crate::vault::change::Scope;
use crate::vault::layout::route_tag;
use crate::vault::testing::{NOW, place};

const DISK: u64 = 10 << 20;

fn open(path: &Path) -> Table {
    Table::open(path, Faults::default()).unwrap()
}

fn put(number: u64, size: usize) -> Change {
    put_on("summary", number, size)
}

fn put_on(route: &str, number: u64, size: usize) -> Change {
    let record = vec![u8::try_from(number % 251).unwrap(); size];
    let route = route_tag(&RouteId::new(route));
    let expires = UnixMillis(NOW.0 + 1000);
    Change::Put(Put { place: place(number), route, expires, record })
}

/// What the store removes meanwhile takes no room.
fn bytes_on_disk(path: &Path) -> u64 {
    let mut total = 0;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    for entry in entries {
        let entry = entry.unwrap();
        let Ok(file) = entry.metadata() else { continue };
        // Blocks, not length: the log is allotted ahead without taking room.
        total += if file.is_dir() {
            bytes_on_disk(&entry.path())
        } else {
            std::os::unix::fs::MetadataExt::blocks(&file) * 512
        };
    }
    total
}

/// What docs/cache.md says of the folder.
fn assert_bounded(path: &Path) {
    let answers = bytes_on_disk(&path.join("keyspaces"));
    assert!(answers <= DISK + (4 << 20), "{answers}");
    let all = bytes_on_disk(path);
    assert!(all <= DISK + (256 << 20), "{all}");
}

#[test]
fn a_flood_leaves_the_newest_answers_and_stays_within_the_disk_bound() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    let mut evicted = 0;
    for hundred in 0..40u64 {
        let changes = (0..100).map(|number| put(hundred * 100 + number, 10_000)).collect();
        evicted += table.apply(changes, DISK).unwrap().evicted;
        let (bytes, entries) = table.size();
        assert!(bytes <= DISK, "{bytes}");
        assert_eq!(entries + evicted, (hundred + 1) * 100);
    }
    assert!(table.get(&place(3_999)).unwrap().is_some());
    assert!(table.get(&place(0)).unwrap().is_none());
    assert!(table.size().1 > 500, "{:?}", table.size());
    // 40 MB went through.
    assert_bounded(directory.path());
}

#[test]
fn a_newer_version_hides_an_older_one_on_whatever_shelf() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    table.apply(vec![put(1, 10)], DISK).unwrap();
    table.apply((2..100).map(|number| put(number, 30_000)).collect(), DISK).unwrap();
    assert!(table.shelves.load().len() > 1);
    table.apply(vec![put(1, 20)], DISK).unwrap();
    assert_eq!(table.get(&place(1)).unwrap().unwrap().len(), 20);
    let removed = table.apply(vec![Change::Remove(Scope::Entry(place(1)))], DISK).unwrap();
    assert_eq!(removed.removed, 1, "two versions are one answer");
    assert!(table.get(&place(1)).unwrap().is_none());
}

#[test]
fn changes_apply_in_order_even_to_one_place() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    let remove = || Change::Remove(Scope::Entry(place(1)));
    table.apply(vec![put(1, 10), put(1, 20)], DISK).unwrap();
    assert_eq!(table.get(&place(1)).unwrap().unwrap().len(), 20);
    table.apply(vec![put(1, 30), remove()], DISK).unwrap();
    assert!(table.get(&place(1)).unwrap().is_none());
    table.apply(vec![remove(), put(1, 40)], DISK).unwrap();
    assert_eq!(table.get(&place(1)).unwrap().unwrap().len(), 40);
}

#[test]
fn a_route_and_an_account_are_removed_alone_from_every_shelf() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    for number in 0..150 {
        let route = if number % 3 == 0 { "cards" } else { "summary" };
        table.apply(vec![put_on(route, number, 30_000)], DISK).unwrap();
    }
    let shelves = table.shelves.load().len();
    assert!(shelves > 3, "{shelves}");
    let cards = Change::Remove(Scope::Route(RouteId::new("cards")));
    assert_eq!(table.apply(vec![cards], DISK).unwrap().removed, 50);
    assert!(table.get(&place(3)).unwrap().is_none());
    let account = Change::Remove(Scope::Account(place(4).account));
    assert_eq!(table.apply(vec![account], DISK).unwrap().removed, 1);
    assert!(table.get(&place(4)).unwrap().is_none());
    assert!(table.get(&place(5)).unwrap().is_some());
    let mut shown = Vec::new();
    table.of_account(&place(5).account, 10, |place, _| shown.push(place)).unwrap();
    assert_eq!(shown, [place(5)]);
    assert!(table.apply(vec![Change::Remove(Scope::All)], DISK).unwrap().removed > 0);
    assert!(table.get(&place(5)).unwrap().is_none());
    assert_eq!(table.size(), (0, 0));
}

#[test]
fn what_stands_on_the_shelves_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    table.apply((0..100).map(|number| put(number, 30_000)).collect(), DISK).unwrap();
    let size = table.size();
    drop(table);
    let table = open(directory.path());
    assert_eq!(table.size(), size);
    assert!(table.get(&place(99)).unwrap().is_some());
    table.apply((100..200).map(|number| put(number, 30_000)).collect(), DISK).unwrap();
    assert!(table.get(&place(199)).unwrap().is_some());
}

#[test]
fn what_is_over_leaves_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    table.apply((0..100).map(|number| put(number, 30_000)).collect(), DISK).unwrap();
    assert_eq!(table.make_room(NOW, DISK).unwrap(), 0);
    assert_eq!(table.make_room(UnixMillis(NOW.0 + 1000), DISK).unwrap(), 100);
    assert_eq!(table.size(), (0, 0));
}

#[test]
fn a_smaller_bound_takes_effect_and_an_answer_larger_than_a_shelf_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let table = open(directory.path());
    table.apply((0..100).map(|number| put(number, 30_000)).collect(), DISK).unwrap();
    assert!(table.make_room(NOW, DISK / 8).unwrap() > 0);
    assert!(table.size().0 <= DISK / 4, "{:?}", table.size());
    let applied = table.apply(vec![put(200, 200_000), put(201, 10)], DISK / 8).unwrap();
    assert_eq!(applied.too_large, 1);
    assert!(table.get(&place(200)).unwrap().is_none());
    assert!(table.get(&place(201)).unwrap().is_some());
    assert_eq!(table.apply(vec![put(202, 10)], 0).unwrap().too_large, 1, "no disk at all");
}

#[test]
fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _table = open(directory.path());
    let second = Table::open(directory.path(), Faults::default());
    assert!(matches!(second, Err(TableError::Locked)));
}
