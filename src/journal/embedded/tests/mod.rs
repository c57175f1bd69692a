mod damage;
mod disk;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::future::join_all;

use super::*;
use crate::journal::{Bucket, Claim, Horizon, Label, Period, Use};
use crate::testing::files::killed;

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
async fn a_journal_that_was_released_can_be_opened_by_another_process_and_read_on_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let mut tail = first.tail(0, 0).await.unwrap();
    first.append(0, used(1, 9, 1)).await.unwrap();
    assert_eq!(tail.next().await, Some(Ok((0, used(1, 9, 1)))));
    for round in 1..4 {
        first.release().await;
        let refused = first.append(0, used(2, 9, 1)).await.unwrap_err();
        assert!(!refused.is_ambiguous(), "{refused}");
        let other = open(directory.path());
        assert_eq!(other.append(0, used(3, round, 1)).await, Ok(round));
        assert!(first.regain().await.is_err(), "it is in use");
        drop(other);
        first.regain().await.unwrap();
        assert_eq!(tail.next().await, Some(Ok((round, used(3, round, 1)))));
        assert!(try_open(directory.path()).is_err(), "it is this one's again");
    }
    assert_eq!(first.append(0, used(4, 9, 1)).await, Ok(4));
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
