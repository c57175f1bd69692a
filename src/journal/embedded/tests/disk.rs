//! Disks that are full or read-only.

use std::time::Duration;

use super::*;
use crate::testing::small_disk::SmallDisk;

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
    let ballast = disk.path().join("ballast");
    let directory = disk.path().join("journal");
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
    let directory = disk.path().join("journal");
    drop(open(&directory));
    disk.remount("ro");
    let error = try_open(&directory).unwrap_err();
    assert!(error.to_string().contains("Read-only"), "{error}");
    disk.remount("rw");
    let journal = open(&directory);
    assert_eq!(append_when_recovered(&journal, &used(1, 9, 1)).await, 0);
}
