use std::fs;

use futures::future::join_all;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tollgate::journal::Horizon;

use super::*;

impl Site {
    /// Removes what stands before an offset, as retention does.
    async fn cut(&self, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        let topic = self.topic();
        list.add_partition_offset(&topic, partition, KafkaOffset::Offset(before)).unwrap();
        self.admin().delete_records(&list, &options()).await.unwrap();
    }

    /// The next start of the same gateway.
    fn restarted(self) -> Self {
        Self { metrics: Arc::default(), ..self }
    }

    /// How many records were read from the mirror and from Kafka to catch up.
    async fn sources(&self, journal: &Kafka) -> (f64, f64) {
        until("all is read", || journal.replay().is_done()).await;
        let records = |source| {
            self.metric(&format!(r#"tollgate_journal_replayed_records_total{{source="{source}"}}"#))
        };
        (records("mirror"), records("kafka"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_records_are_removed_under_begins_anew() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    let mut tail = journal.tail(0, 0).await.unwrap();
    // Far more than the tail and the client hold.
    let count = 4 * Tail::CAPACITY as u64;
    for chunk in 0..4 {
        let numbers = 0..count / 4;
        let appends = numbers.map(|number| journal.append(0, used(number, 1000, chunk)));
        assert!(join_all(appends).await.iter().all(Result::is_ok));
    }
    site.cut(0, count as i64 - 1).await;
    let mut expected = 0;
    let error = loop {
        match next(&mut tail).await {
            Ok((offset, _)) => {
                assert_eq!(offset, expected);
                expected += 1;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, JournalError::Restarted { partition: 0, offset: expected });
    assert_eq!(all(&journal, 0).await.len(), 1);
}

/// Everything that is delivered of a partition now.
async fn all(journal: &Kafka, partition: u32) -> Vec<(Offset, Record)> {
    let end = journal.end(partition).await.unwrap();
    let mut tail = journal.tail(partition, 0).await.unwrap();
    let mut records = Vec::new();
    while records.last().is_none_or(|(offset, _)| offset + 1 < end) {
        records.push(next(&mut tail).await.unwrap());
    }
    records
}

/// Reads all partitions, so that the mirror has them, and closes.
async fn fill(site: Site) -> Site {
    let journal = site.open().await;
    for partition in 0..site.settings.partitions {
        all(&journal, partition).await;
    }
    drop(journal);
    site.restarted()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_reads_from_kafka_only_what_is_new() {
    let site = Site::new(Broker::shared(), 2).await;
    let journal = site.open().await;
    let mut tails = Vec::new();
    for partition in 0..2 {
        journal.append(partition, claim(partition.into())).await.unwrap();
        for number in 0..500 {
            // 100 accounts, of which each has five records under one key.
            let record = used(number % 100, 1000, number / 100 + 1);
            journal.append(partition, record).await.unwrap();
        }
        let mut tail = journal.tail(partition, 0).await.unwrap();
        take(&mut tail, 501).await;
        tails.push(tail);
    }
    drop((journal, tails));

    let site = site.restarted();
    let journal = site.open().await;
    let new = journal.append(1, used(7, 1000, 99)).await.unwrap();
    let mut tail = journal.tail(0, 0).await.unwrap();
    let first = take(&mut tail, 101).await;
    assert_eq!(first[0], (0, claim(0)));
    let last: Vec<_> = (0..100).map(|number| (401 + number, used(number, 1000, 5))).collect();
    assert_eq!(first[1..], last);
    let mut tail = journal.tail(1, 0).await.unwrap();
    let second = take(&mut tail, 102).await;
    assert_eq!(second[1..101], last);
    assert_eq!(second[101], (new, used(7, 1000, 99)));
    assert_eq!(site.sources(&journal).await, (202.0, 1.0));
    // What comes is delivered after it as ever.
    let offset = journal.append(0, claim(9)).await.unwrap();
    let mut tail = journal.tail(0, offset).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap(), (offset, claim(9)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_between_two_runs_is_read_from_its_start() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    journal.append(0, claim(1)).await.unwrap();
    for number in 0..10 {
        journal.append(0, used(number, 1000, 1)).await.unwrap();
    }
    drop(journal);
    let site = fill(site).await;
    site.delete().await;
    site.create().await;
    // Longer than before, and with a claim in the same place: only the claim's number tells.
    let other = site.another().open().await;
    other.append(0, claim(2)).await.unwrap();
    for number in 0..20 {
        other.append(0, used(1000 + number, 1000, 1)).await.unwrap();
    }
    let journal = site.open().await;
    let records = all(&journal, 0).await;
    assert_eq!(records.len(), 21);
    assert_eq!(records[0], (0, claim(2)));
    assert_eq!(records[1], (1, used(1000, 1000, 1)));
    assert_eq!(site.sources(&journal).await.0, 0.0);
    drop(journal);
    // What it read is kept for the next start.
    let site = site.restarted();
    let journal = site.open().await;
    assert_eq!(all(&journal, 0).await, records);
    assert_eq!(site.sources(&journal).await, (21.0, 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_while_it_is_read_leaves_nothing_of_the_old_one() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    journal.append(0, claim(1)).await.unwrap();
    for number in 0..10 {
        journal.append(0, used(number, 1000, 1)).await.unwrap();
    }
    let mut tail = journal.tail(0, 0).await.unwrap();
    take(&mut tail, 11).await;
    site.delete().await;
    site.create().await;
    let error = next(&mut tail).await.unwrap_err();
    assert!(matches!(error, JournalError::Restarted { partition: 0, .. }), "{error:?}");
    let mut tail = journal.tail(0, 0).await.unwrap();
    journal.append(0, claim(2)).await.unwrap();
    journal.append(0, used(77, 1000, 1)).await.unwrap();
    assert_eq!(take(&mut tail, 2).await, [(0, claim(2)), (1, used(77, 1000, 1))]);
    drop((journal, tail));
    let site = site.restarted();
    let journal = site.open().await;
    assert_eq!(all(&journal, 0).await, [(0, claim(2)), (1, used(77, 1000, 1))]);
    assert_eq!(site.sources(&journal).await, (2.0, 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_removed_before_they_were_read_are_noticed() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    for number in 0..20 {
        journal.append(0, used(number, 1000, 1)).await.unwrap();
    }
    let mut tail = journal.tail(0, 5).await.unwrap();
    take(&mut tail, 1).await;
    drop(tail);
    site.cut(0, 10).await;
    assert_eq!(
        journal.tail(0, 6).await.unwrap_err(),
        JournalError::Restarted { partition: 0, offset: 6 }
    );
    let mut tail = journal.tail(0, 0).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap().0, 10);
    // Where the mirror's claim is gone from Kafka, the mirror is not believed.
    let site = site.another();
    let journal = site.open().await;
    journal.append(0, claim(1)).await.unwrap();
    journal.append(0, used(50, 1000, 1)).await.unwrap();
    drop(journal);
    let site = fill(site).await;
    site.cut(0, 21).await;
    let journal = site.open().await;
    assert_eq!(all(&journal, 0).await, [(21, used(50, 1000, 1))]);
    assert_eq!(site.sources(&journal).await.0, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_periods_are_removed_from_the_mirror_of_every_gateway() {
    let site = Site::new(Broker::shared(), 1).await;
    let other = site.another().open().await;
    other.append(0, claim(1)).await.unwrap();
    for number in 0..30 {
        other.append(0, used(number, 1000 + number / 10, 1)).await.unwrap();
    }
    let offsets = async |journal: &Kafka| {
        all(journal, 0).await.into_iter().map(|(offset, _)| offset).collect::<Vec<_>>()
    };
    // Said by the one who asks.
    let site = fill(site).await;
    let journal = site.open().await;
    assert_eq!(journal.forget(0, UnixMillis(1000)).await.unwrap(), 10);
    let expected: Vec<_> = std::iter::once(0).chain(11..31).collect();
    assert_eq!(offsets(&journal).await, expected);
    // And by the journal itself.
    let horizon = Record::Horizon(Horizon { epoch: 0, ended: UnixMillis(1001) });
    other.append(0, horizon).await.unwrap();
    assert_eq!(offsets(&journal).await.last(), Some(&31));
    drop(journal);
    let site = site.restarted();
    let journal = site.open().await;
    let expected: Vec<_> = std::iter::once(0).chain(21..32).collect();
    assert_eq!(offsets(&journal).await, expected);
    assert_eq!(site.sources(&journal).await, (12.0, 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_mirror_is_made_anew_and_one_in_use_is_refused() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    journal.append(0, claim(1)).await.unwrap();
    journal.append(0, used(1, 1000, 1)).await.unwrap();
    let error = site.try_open().await.unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }), "{error:?}");
    drop(journal);
    let site = fill(site).await;
    for file in fs::read_dir(site.directory.path().join("mirror/store")).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            fs::write(file, [0xff; 100]).unwrap();
        }
    }
    let journal = site.open().await;
    let records = [(0, claim(1)), (1, used(1, 1000, 1))];
    assert_eq!(all(&journal, 0).await, records);
    assert_eq!(site.sources(&journal).await, (0.0, 2.0));
    drop(journal);
    let site = site.restarted();
    let journal = site.open().await;
    assert_eq!(all(&journal, 0).await, records);
    assert_eq!(site.sources(&journal).await.0, 2.0);
    assert_eq!(site.metric("tollgate_journal_mirror_kept"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_cannot_be_kept_costs_only_time() {
    let site = Site::new(Broker::shared(), 1).await;
    fs::write(site.directory.path().join("mirror"), b"a file where a folder should be").unwrap();
    let journal = site.open().await;
    assert_eq!(site.metric("tollgate_journal_mirror_kept"), 0.0);
    journal.append(0, claim(1)).await.unwrap();
    assert_eq!(all(&journal, 0).await, [(0, claim(1))]);
    assert_eq!(journal.forget(0, UnixMillis(1)).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_falls_behind_holds_nobody_up_and_the_next_start_reads_the_rest() {
    let mut site = Site::new(Broker::shared(), 1).await;
    site.tuning.backlog = 8;
    let journal = site.open().await;
    journal.append(0, claim(1)).await.unwrap();
    let mut tail = journal.tail(0, 0).await.unwrap();
    take(&mut tail, 1).await;
    assert_eq!(site.metric("tollgate_journal_mirror_kept"), 1.0);
    let mut number = 0;
    while site.metric("tollgate_journal_mirror_kept") == 1.0 {
        let appends = (number..number + 500).map(|number| journal.append(0, used(number, 1000, 1)));
        assert!(join_all(appends).await.iter().all(Result::is_ok));
        take(&mut tail, 500).await;
        number += 500;
    }
    drop((journal, tail));
    let site = site.restarted();
    let journal = site.open().await;
    let records = all(&journal, 0).await;
    assert!(records.iter().zip(0..).all(|((offset, _), number)| *offset == number));
    assert_eq!(records.len() as u64, number + 1);
    let (mirror, kafka) = site.sources(&journal).await;
    assert!(mirror >= 1.0 && kafka > 0.0, "{mirror} {kafka}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_taken_away_by_hand_is_taken_from_the_mirror_too() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    journal.append(0, claim(1)).await.unwrap();
    journal.append(0, used(1, 1000, 1)).await.unwrap();
    site.write(0, used(1, 1000, 1).key().as_bytes(), None).await;
    journal.append(0, used(2, 1000, 1)).await.unwrap();
    drop(journal);
    let site = fill(site).await;
    let journal = site.open().await;
    assert_eq!(all(&journal, 0).await, [(0, claim(1)), (3, used(2, 1000, 1))]);
    assert_eq!(site.sources(&journal).await.0, 2.0);
}
