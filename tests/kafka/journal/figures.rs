//! What an append and reading it back cost, as a strict admission waits for it, and how long a start
//! reads. Small here, so that it runs with all other tests; for figures, with the release profile:
//!
//! ```sh
//! TOLLGATE_FIGURES_RECORDS=1000000 cargo test --release --test kafka figures -- --nocapture
//! ```

use std::time::Instant;

use futures::future::join_all;
use tokio::sync::mpsc;

use super::*;

const PARTITIONS: u32 = 8;

/// Appends records and waits for each until it is read back, so many at once.
async fn read_back(waiting: u64, appends: u64) {
    let site = Site::new(Broker::shared(), PARTITIONS).await;
    let journal = Arc::new(site.open().await);
    let (calls, mut answers): (Vec<_>, Vec<_>) =
        (0..waiting).map(|_| mpsc::unbounded_channel()).unzip();
    let calls = Arc::new(calls);
    for partition in 0..PARTITIONS {
        let mut tail = journal.tail(partition, 0).await.unwrap();
        let calls = Arc::clone(&calls);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while tail.next_many(&mut batch, 256).await > 0 {
                for item in batch.drain(..) {
                    let Record::Use(used) = item.unwrap().1 else { continue };
                    let worker = u64::from_be_bytes(used.bucket.account[..8].try_into().unwrap());
                    calls[worker as usize].send(used.admitted).unwrap();
                }
            }
        });
    }
    let started = Instant::now();
    let workers = answers.drain(..).zip(0..).map(|(mut answer, worker)| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            let mut times = Vec::new();
            for number in 0..appends / waiting {
                let begun = Instant::now();
                let record = used(worker, 1000, number);
                let partition = (worker % u64::from(PARTITIONS)) as u32;
                let (appended, read) = tokio::join!(journal.append(partition, record), async {
                    let read = answer.recv().await;
                    times.push(begun.elapsed());
                    read
                });
                appended.unwrap();
                assert_eq!(read, Some(number));
            }
            times
        })
    });
    let times = join_all(workers).await;
    let mut times: Vec<_> = times.into_iter().flat_map(Result::unwrap).collect();
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort();
    let at = |share: usize| times[times.len() * share / 100];
    println!("{waiting} waiting: p50 {:?}, p99 {:?}, {rate:.0}/s", at(50), at(99));
}

fn records() -> u64 {
    std::env::var("TOLLGATE_FIGURES_RECORDS").map_or(2_048, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_is_read_back_by_all_who_wait() {
    read_back(1, (records() / 64).max(64)).await;
    read_back(512, records()).await;
    read_back(2_048, records()).await;
}

/// Reads all partitions to their end.
async fn start(site: &Site, from: &str) {
    let started = Instant::now();
    let journal = site.open().await;
    let opened = started.elapsed();
    let mut tasks = Vec::new();
    for partition in 0..PARTITIONS {
        let end = journal.end(partition).await.unwrap();
        let mut tail = journal.tail(partition, 0).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let (mut count, mut batch) = (0, Vec::new());
            let mut next = 0;
            while next < end && tail.next_many(&mut batch, 256).await > 0 {
                for item in batch.drain(..) {
                    next = item.unwrap().0 + 1;
                    count += 1;
                }
            }
            count
        }));
    }
    let counts = join_all(tasks).await;
    let records: u64 = counts.into_iter().map(Result::unwrap).sum();
    let all = started.elapsed();
    println!("{records} records from {from}: opened in {opened:?}, read in {all:?}");
    assert_eq!(records, self::records() + u64::from(PARTITIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_reads_everything() {
    let site = Site::new(Broker::shared(), PARTITIONS).await;
    let journal = site.open().await;
    for partition in 0..PARTITIONS {
        journal.append(partition, claim(partition.into())).await.unwrap();
    }
    let numbers: Vec<u64> = (0..records()).collect();
    for chunk in numbers.chunks(8_192) {
        let appends = chunk.iter().map(|number| {
            let partition = (number % u64::from(PARTITIONS)) as u32;
            journal.append(partition, used(*number, 1000, 1))
        });
        assert!(join_all(appends).await.iter().all(Result::is_ok));
    }
    drop(journal);
    start(&site, "Kafka").await;
    start(&site, "the mirror").await;
}
