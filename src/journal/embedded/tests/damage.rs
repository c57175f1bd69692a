//! What crashes, power cuts and bad disks leave behind.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::journal::RecordError;

#[tokio::test]
async fn a_record_of_an_unknown_version_stops_its_partition_with_its_offset() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    journal.append(0, used(1, 9, 1)).await.unwrap();
    journal.append(1, used(2, 9, 1)).await.unwrap();
    drop(journal);
    {
        let database = fjall::Database::builder(directory.path().join("store")).open().unwrap();
        let log = database.keyspace("log", Default::default).unwrap();
        let key = [&0u32.to_be_bytes()[..], &1u64.to_be_bytes()].concat();
        log.insert(key, [9, 9, 9]).unwrap();
    }
    let journal = open(directory.path());
    let mut tail = journal.tail(0, 0).await.unwrap();
    let reason = RecordError::UnknownVersion(9);
    let stopped = Some(Err(JournalError::Corrupt { partition: 0, offset: 1, reason }));
    assert_eq!(tail.next().await, stopped);
    assert_eq!(tail.next().await, None);
    assert_eq!(all(&journal, 1).await, [(0, used(2, 9, 1))]);
}

/// A journal with ten confirmed records, killed; its log file; where its last write starts and
/// where it ends.
async fn ten_records_then_killed() -> (TempDir, PathBuf, usize, usize) {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    for account in 0..10 {
        journal.append(0, used(account, 9, 1)).await.unwrap();
    }
    let copy = killed(directory.path());
    let log = copy.path().join("store/0.jnl");
    // What follows in the preallocated file is zeros.
    fs::File::options().write(true).open(&log).unwrap().set_len(64 << 10).unwrap();
    let bytes = fs::read(&log).unwrap();
    let ends: Vec<usize> =
        (4..=bytes.len()).filter(|end| bytes[end - 4..*end] == *b"FJL\x03").collect();
    let [.., start, end] = ends[..] else { panic!("no writes in the log") };
    (copy, log, start, end)
}

async fn assert_all_ten(directory: &Path) {
    let journal = open(directory);
    let found = all(&journal, 0).await;
    let accounts: Vec<u64> = found.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(accounts, (0..10).collect::<Vec<_>>());
    assert_eq!(journal.append(0, used(42, 9, 1)).await, Ok(11));
}

#[tokio::test]
async fn a_write_cut_off_by_a_kill_is_dropped_at_start() {
    let (copy, log, start, end) = ten_records_then_killed().await;
    let whole = fs::read(&log).unwrap();
    for part in [1, 13, 14, 40, end - start - 1] {
        let mut torn = whole.clone();
        torn.copy_within(start..start + part, end);
        fs::write(&log, &torn).unwrap();
        let again = killed(copy.path());
        assert_all_ten(again.path()).await;
    }
}

/// A full disk takes what fits into the last page: the write ends in the middle of a length, and
/// has no end of its own. What was confirmed before it must not be taken for it.
#[tokio::test]
async fn a_write_that_a_full_disk_cut_anywhere_takes_no_confirmed_one_with_it() {
    let (copy, log, start, end) = ten_records_then_killed().await;
    let whole = fs::read(&log).unwrap();
    // Head, tag, type, compression, keyspace, length of the key and both of the value.
    let lengths = 13 + 1 + 1 + 1 + 8..13 + 1 + 1 + 1 + 8 + 2 + 4 + 4;
    for part in lengths {
        let mut torn = whole.clone();
        torn.copy_within(start..start + part, end);
        fs::write(&log, &torn).unwrap();
        let again = killed(copy.path());
        assert_all_ten(again.path()).await;
    }
}

#[tokio::test]
async fn a_write_with_a_hole_from_a_power_cut_is_dropped_at_start() {
    let (copy, log, start, end) = ten_records_then_killed().await;
    let whole = fs::read(&log).unwrap();
    for hole in [30..60, end - start - 30..end - start - 13] {
        let mut torn = whole.clone();
        torn.copy_within(start..end, end);
        torn[end + hole.start..end + hole.end].fill(0);
        fs::write(&log, &torn).unwrap();
        let again = killed(copy.path());
        assert_all_ten(again.path()).await;
        let kept = again.path().join("store/0.torn");
        assert!(fs::read(&kept).unwrap() == torn, "the log is kept as it was");
        let room = fs::metadata(&kept).unwrap().blocks() * 512;
        assert!(room < 1 << 20, "of {} bytes it takes {room}", torn.len());
    }
}

#[tokio::test]
async fn a_confirmed_write_that_is_gone_is_never_passed_over() {
    let (copy, log, start, end) = ten_records_then_killed().await;
    let mut cut = fs::read(&log).unwrap();
    cut[start..end].fill(0);
    fs::write(&log, &cut).unwrap();
    let error = try_open(copy.path()).unwrap_err();
    assert!(matches!(error, JournalError::ConfirmedLost { .. }), "{error}");
    assert!(error.to_string().contains("remove the file 'confirmed'"), "{error}");
    // Trying again changes nothing; doing as it says does.
    assert_eq!(try_open(copy.path()).unwrap_err(), error);
    fs::remove_file(copy.path().join("confirmed")).unwrap();
    assert_eq!(all(&open(copy.path()), 0).await.len(), 9);
}

#[tokio::test]
async fn damage_anywhere_in_confirmed_writes_is_never_passed_over() {
    let (copy, log, _, end) = ten_records_then_killed().await;
    let whole = fs::read(&log).unwrap();
    let mut refused = 0;
    for at in (0..end).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&log, &damaged).unwrap();
        let again = killed(copy.path());
        match try_open(again.path()) {
            Err(error) => {
                let clear = error.to_string();
                assert!(clear.contains(&again.path().display().to_string()), "{clear}");
                refused += 1;
            }
            Ok(journal) => assert_eq!(all(&journal, 0).await.len(), 10, "damage at {at}"),
        }
    }
    assert!(refused > 0);
}
