use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Shell;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::journal::{Bucket, Claim, Horizon, Label, Period, RecordError, Use};

fn open(directory: &Path) -> Embedded {
    try_open(directory).unwrap()
}

fn try_open(directory: &Path) -> Result<Embedded, JournalError> {
    Embedded::open(directory, 4, Arc::new(Metrics::default()))
}

fn used(account: u8, ends: u64, admitted: u64) -> Record {
    Record::Use(Use {
        bucket: Bucket {
            account: [account; 16],
            label: Arc::new(Label { rule: "daily".into(), dimensions: "client=app".into() }),
        },
        period: Period { start: UnixMillis(0), ends: UnixMillis(ends) },
        round: 0,
        epoch: 0,
        admitted,
        refunded: 0,
    })
}

/// Everything in a partition now.
async fn all(journal: &Embedded, partition: u32) -> Vec<(Offset, Record)> {
    let end = journal.end(partition).await.unwrap();
    let mut tail = journal.tail(partition, 0).await.unwrap();
    let mut records = Vec::new();
    // A last record marks the end, so that nothing needs to be waited for.
    let mark = journal
        .append(partition, Record::Horizon(Horizon { epoch: end, ended: UnixMillis(end) }))
        .await
        .unwrap();
    while let Some(item) = tail.next().await {
        let (offset, record) = item.unwrap();
        if offset == mark {
            return records;
        }
        records.push((offset, record));
    }
    panic!("the tail ended");
}

/// What a kill would leave: the files as they are now.
fn killed(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(directory, copy.path());
    copy
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_tail_reads_what_is_there_and_then_what_comes_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    for account in 0..5 {
        assert_eq!(journal.append(1, used(account, 9, 1)).await, Ok(u64::from(account)));
    }
    let mut tail = journal.tail(1, 2).await.unwrap();
    for account in 2..5 {
        assert_eq!(tail.next().await, Some(Ok((u64::from(account), used(account, 9, 1)))));
    }
    journal.append(2, used(77, 9, 1)).await.unwrap();
    journal.append(1, used(5, 9, 1)).await.unwrap();
    assert_eq!(tail.next().await, Some(Ok((5, used(5, 9, 1)))));
    assert_eq!(journal.end(1).await, Ok(6));
    drop(journal);
    assert_eq!(tail.next().await, None);
}

#[tokio::test]
async fn records_and_offsets_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    journal.append(0, used(1, 9, 1)).await.unwrap();
    journal.append(0, used(2, 9, 1)).await.unwrap();
    drop(journal);
    let journal = open(directory.path());
    assert_eq!(journal.append(0, used(3, 9, 1)).await, Ok(2));
    let accounts: Vec<_> = all(&journal, 0).await;
    assert_eq!(accounts, [(0, used(1, 9, 1)), (1, used(2, 9, 1)), (2, used(3, 9, 1))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_loses_nothing_that_was_confirmed() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(directory.path()));
    let (confirmed, mut count) = tokio::sync::watch::channel(0);
    let writing = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move {
            for number in 1..=300 {
                let appends = (0..4).map(|account| journal.append(0, used(account, 9, number)));
                join_all(appends).await.into_iter().for_each(|append| assert!(append.is_ok()));
                confirmed.send(number).unwrap();
            }
        }
    });
    for until in (20..300).step_by(40) {
        let before = *count.wait_for(|count| *count >= until).await.unwrap();
        let copy = killed(directory.path());
        let revived = open(copy.path());
        let latest: BTreeMap<u8, u64> = all(&revived, 0)
            .await
            .into_iter()
            .filter_map(|(_, record)| match record {
                Record::Use(used) => Some((used.bucket.account[0], used.admitted)),
                _ => None,
            })
            .collect();
        assert_eq!(latest.len(), 4);
        assert!(latest.values().all(|admitted| *admitted >= before), "{before}: {latest:?}");
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn only_the_last_record_of_a_key_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    for admitted in 1..=10 {
        journal.append(0, used(1, 9, admitted)).await.unwrap();
    }
    let appends = (11..=20).map(|admitted| journal.append(0, used(1, 9, admitted)));
    join_all(appends).await;
    journal.append(0, used(2, 9, 1)).await.unwrap();
    assert_eq!(all(&journal, 0).await, [(19, used(1, 9, 20)), (20, used(2, 9, 1))]);
}

#[tokio::test]
async fn ended_records_are_removed_and_their_offsets_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    for account in 0..50 {
        let ends = if account % 2 == 0 { 1000 } else { 1001 };
        journal.append(3, used(account, ends, 1)).await.unwrap();
    }
    assert_eq!(journal.forget(3, UnixMillis(999)).await, Ok(0));
    assert_eq!(journal.forget(3, UnixMillis(1000)).await, Ok(25));
    assert_eq!(journal.forget(3, UnixMillis(1000)).await, Ok(0));
    assert!(all(&journal, 3).await.iter().all(|(offset, _)| offset % 2 == 1));
    assert_eq!(journal.forget(3, UnixMillis(u64::MAX)).await, Ok(25));
    drop(journal);
    let journal = open(directory.path());
    assert_eq!(journal.append(3, used(1, 2000, 1)).await, Ok(51));
}

#[tokio::test]
async fn more_ended_records_than_go_in_one_write_are_all_removed() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let many = FORGET_AT_ONCE as u64 * 2 + 10;
    join_all((0..many).map(|ends| journal.append(0, used(1, ends, 1)))).await;
    assert_eq!(journal.forget(0, UnixMillis(many - 1)).await, Ok(many));
    assert_eq!(all(&journal, 0).await, []);
}

#[tokio::test]
async fn a_restart_keeps_the_newest_claim_only() {
    let directory = tempfile::tempdir().unwrap();
    let claim = |nonce| Record::Claim(Claim { owner: "gw".into(), nonce });
    let journal = open(directory.path());
    for nonce in 1..=3 {
        journal.append(0, claim(nonce)).await.unwrap();
    }
    assert_eq!(all(&journal, 0).await.len(), 3, "claims don't replace each other while in use");
    drop(journal);
    let journal = open(directory.path());
    let claims: Vec<_> = all(&journal, 0).await;
    assert_eq!(claims.first(), Some(&(2, claim(3))));
}

#[tokio::test]
async fn all_who_wait_share_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let commits = || journal.shared.with_store(|store| store.commit_number().unwrap()).unwrap();
    let before = commits();
    let appends = (0..2000u64).map(|number| {
        journal.append((number % 4) as u32, used((number % 200) as u8, 9 + number / 200, 1))
    });
    assert!(join_all(appends).await.iter().all(Result::is_ok));
    let made = commits() - before;
    assert!(made <= 100, "2000 records in {made} commits");
}

#[tokio::test]
async fn a_reader_that_falls_behind_still_reads_everything_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let mut slow = journal.tail(0, 0).await.unwrap();
    let total = Tail::CAPACITY as u64 * 2 + 100;
    for chunk in 0..total.div_ceil(500) {
        let numbers = chunk * 500..((chunk + 1) * 500).min(total);
        join_all(numbers.map(|ends| journal.append(0, used(1, ends, 1)))).await;
    }
    for offset in 0..total {
        assert_eq!(slow.next().await, Some(Ok((offset, used(1, offset, 1)))));
    }
    journal.append(0, used(2, 0, 1)).await.unwrap();
    assert_eq!(slow.next().await, Some(Ok((total, used(2, 0, 1)))));
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let error = try_open(directory.path()).unwrap_err();
    assert_eq!(error, JournalError::Locked { directory: directory.path().to_owned() });
    assert!(error.to_string().contains("in use by another process: stop that process"));
    drop(first);
    open(directory.path());
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let error = Embedded::open(directory.path(), 8, Arc::new(Metrics::default())).unwrap_err();
    assert!(error.to_string().contains("has 4 partitions and the configuration says 8"), "{error}");
}

#[tokio::test]
async fn an_unknown_partition_and_an_endless_name_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    assert_eq!(journal.append(4, used(1, 9, 1)).await, Err(JournalError::NoSuchPartition(4)));
    assert!(matches!(journal.tail(4, 0).await, Err(JournalError::NoSuchPartition(4))));
    let label = Label { rule: "r".repeat(9000).into(), dimensions: "".into() };
    let Record::Use(mut long) = used(1, 9, 1) else { unreachable!() };
    long.bucket.label = Arc::new(label);
    let error = journal.append(0, Record::Use(long)).await.unwrap_err();
    assert!(!error.is_ambiguous());
}

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
        assert!(again.path().join("store/0.torn").exists(), "the log is kept as it was");
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

/// A small disk of its own; `None` where this process may not mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(mebibytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Shell::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        eprintln!("skipped: this process may not mount a file system");
        None
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let done = Shell::new("mount").args(["-o", &options]).arg(self.0.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Shell::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Appends until the disk has recovered; everything before that fails.
async fn append_when_recovered(journal: &Embedded, record: &Record) -> Offset {
    let attempts = async {
        loop {
            match journal.append(0, record.clone()).await {
                Ok(offset) => return offset,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), attempts).await.expect("the disk has room again")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_appends_loses_nothing_and_recovers_with_room() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    let ballast = disk.0.path().join("ballast");
    let directory = disk.0.path().join("journal");
    let journal = open(&directory);
    let mut tail = journal.tail(0, 0).await.unwrap();
    journal.append(0, used(0, 1, 1)).await.unwrap();
    fs::write(&ballast, vec![1; 10 << 20]).unwrap();
    let mut confirmed = 1;
    let failed = loop {
        let appends = (0..100).map(|n| journal.append(0, used(1, 10 + confirmed + n, 1)));
        let results = join_all(appends).await;
        confirmed += results.iter().filter(|result| result.is_ok()).count() as u64;
        if let Some(error) = results.into_iter().find_map(Result::err) {
            break error;
        }
    };
    assert!(matches!(failed, JournalError::Unsure(_) | JournalError::NotWritten(_)), "{failed}");
    let refused = journal.append(0, used(2, 5, 1)).await.unwrap_err();
    assert!(!refused.is_ambiguous(), "while it is down nothing is written: {refused}");
    fs::remove_file(&ballast).unwrap();
    let last = append_when_recovered(&journal, &used(3, 5, 1)).await;
    let mut seen = 0;
    loop {
        let (offset, _) = tail.next().await.unwrap().unwrap();
        seen += 1;
        if offset == last {
            break;
        }
    }
    assert!(seen > confirmed, "the tail that was open all the time saw {seen} of {confirmed}");
    drop(journal);
    assert!(all(&open(&directory), 0).await.len() as u64 > confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_fails_appends_and_recovers() {
    let Some(disk) = SmallDisk::mount(16) else { return };
    let directory = disk.0.path().join("journal");
    drop(open(&directory));
    disk.remount("ro");
    let error = try_open(&directory).unwrap_err();
    assert!(error.to_string().contains("Read-only"), "{error}");
    disk.remount("rw");
    let journal = open(&directory);
    assert_eq!(append_when_recovered(&journal, &used(1, 9, 1)).await, 0);
}
