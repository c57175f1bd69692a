//! What an append and reading it back cost, what a strict admission costs beside that in the same
//! run, and how long a start reads. Small here, so that it runs with all other tests; for figures,
//! with the release profile:
//!
//! ```sh
//! TOLLGATE_FIGURES_RECORDS=1000000 cargo test --release --test kafka figures -- --nocapture
//! ```

use std::num::NonZeroU64;
use std::time::Instant;

use futures::future::join_all;
use http::HeaderMap;
use tokio::sync::mpsc;
use tollgate::account::AccountHasher;
use tollgate::config::model::{Accuracy, Counts, QuotaRule, Unavailable, Window};
use tollgate::quota::{Charge, Lack, Quotas};
use tollgate::request::{
    AccountId, Captures, Facts, RequestHead, RouteId, SystemClock, ValueSource,
};

use super::*;
use crate::shared::processor::processor;

const PARTITIONS: u32 = 8;

/// What many waits came to.
struct Run {
    /// Each wait, the shortest first.
    waits: Vec<Duration>,
    took: Duration,
    /// Of this process, in which librdkafka's threads are and the broker is not.
    processor: Duration,
}

impl Run {
    /// Lets workers wait, and adds their waits up.
    async fn of<F: Future<Output = Vec<Duration>> + Send + 'static>(
        workers: impl Iterator<Item = F>,
    ) -> Self {
        let (started, before) = (Instant::now(), processor("self"));
        let tasks: Vec<_> = workers.map(tokio::spawn).collect();
        let waits = join_all(tasks).await.into_iter().flat_map(Result::unwrap);
        let mut waits: Vec<_> = waits.collect();
        waits.sort();
        Self { waits, took: started.elapsed(), processor: processor("self") - before }
    }

    fn p50(&self) -> Duration {
        self.waits[self.waits.len() / 2]
    }

    fn print(&self, what: &str, waiting: u64) {
        let count = self.waits.len();
        let p99 = self.waits[count * 99 / 100];
        let rate = count as f64 / self.took.as_secs_f64();
        let each = self.processor.as_secs_f64() * 1e6 / count as f64;
        println!(
            "{what}, {waiting} waiting: p50 {:?}, p99 {p99:?}, {rate:.0}/s, {each:.1} us of CPU each",
            self.p50()
        );
    }
}

/// Appends records and waits for each until it is read back, so many at once.
async fn read_back(waiting: u64, appends: u64) -> Run {
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
    let workers = answers.drain(..).zip(0..).map(|(mut answer, worker)| {
        let journal = Arc::clone(&journal);
        async move {
            let mut waits = Vec::new();
            for number in 0..appends / waiting {
                let begun = Instant::now();
                let record = used(worker, 1000, number);
                let partition = (worker % u64::from(PARTITIONS)) as u32;
                let (appended, read) = tokio::join!(journal.append(partition, record), async {
                    let read = answer.recv().await;
                    waits.push(begun.elapsed());
                    read
                });
                appended.unwrap();
                assert_eq!(read, Some(number));
            }
            waits
        }
    });
    Run::of(workers).await
}

/// One use of an account's own bucket under a strict rule.
fn strict(account: &str) -> Charge {
    let rule = QuotaRule {
        name: "strict".into(),
        per: vec![ValueSource::Account],
        limit: NonZeroU64::new(1_000_000).unwrap(),
        window: Window::Fixed { length: Duration::from_secs(86_400), offset: Duration::ZERO },
        when: None,
        accuracy: Accuracy::Strict,
        unavailable: Unavailable::Deny,
        counts: Counts::Success,
        count_hits: true,
    };
    let account = AccountId::parse(account).unwrap();
    let facts = Facts {
        head: &RequestHead::default(),
        headers: &HeaderMap::new(),
        route: &RouteId::new("summary"),
        captures: &Captures::default(),
        caller: None,
        account: Some(&account),
        body: None,
    };
    let key = AccountHasher::new(b"secret").key(&account);
    Charge::for_request(&Arc::new(rule), &facts, &key).unwrap()
}

/// Strict admissions, so many at once, each of an account of its own.
async fn admit(waiting: u64, admissions: u64) -> Run {
    let site = Site::new(Broker::shared(), PARTITIONS).await;
    let journal: Arc<dyn Journal> = Arc::new(site.open().await);
    let metrics = Arc::clone(&site.metrics);
    let quotas = Quotas::open(journal, Arc::new(SystemClock), metrics, "gw-1").await.unwrap();
    owns_all(&quotas).await;
    let workers = (0..waiting).map(|worker| {
        let (quotas, charge) = (Arc::clone(&quotas), [strict(&format!("account-{worker}"))]);
        async move {
            let mut waits = Vec::new();
            for _ in 0..admissions / waiting {
                let begun = Instant::now();
                let admitted = quotas.reserve(&charge, Lack::Decide).await;
                waits.push(begun.elapsed());
                admitted.unwrap_or_else(|refusal| panic!("{refusal:?}")).commit();
            }
            waits
        }
    });
    Run::of(workers).await
}

/// Waits until the group has given this gateway all partitions, and it has claimed them.
async fn owns_all(quotas: &Quotas) {
    let all = async {
        while !quotas.unready().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("all partitions to be owned");
}

fn records() -> u64 {
    std::env::var("TOLLGATE_FIGURES_RECORDS").map_or(2_048, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_is_read_back_and_admitted_by_all_who_wait() {
    for (waiting, count) in [(1, (records() / 64).max(64)), (512, records()), (2_048, records())] {
        let bare = read_back(waiting, count).await;
        bare.print("append and read-back", waiting);
        let admitted = admit(waiting, count).await;
        admitted.print("strict admission", waiting);
        let ratio = admitted.p50().as_secs_f64() / bare.p50().as_secs_f64();
        println!("strict admission against append and read-back: {ratio:.2} x");
    }
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
