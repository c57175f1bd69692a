//! Quotas on the real embedded journal, on a real disk.

mod giving;
mod unavailable;
mod operator;
mod renewing;
mod reserving;

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use http::HeaderMap;
use tokio::sync::watch;

use super::*;
use crate::account::{AccountHasher, AccountKey};
use crate::config::model::{Accuracy, Counts, QuotaRule, Unavailable, Window};
use crate::journal::{Embedded, Journal, JournalError, Offset, Record, Share, Tail};
use crate::observe::Metrics;
use crate::request::{
    AccountId, Captures, Clock, Facts, QuotaRefusal, Refusal, RequestHead, RouteId, UnixMillis,
    ValueSource,
};
use crate::testing::files::killed;

const DAY: Duration = Duration::from_secs(86_400);

/// A clock that can also be turned back.
#[derive(Debug)]
struct Hands(AtomicU64);

impl Hands {
    fn turn(&self, to: u64) {
        self.0.store(to, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

/// How the journal behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Fails appends for certain.
    Refusing,
    /// Never answers, and writes nothing.
    Hanging,
    /// Writes, and says that it doesn't know.
    LosingConfirmations,
}

/// The embedded journal with moods.
struct Moody {
    inner: Embedded,
    mood: AtomicU8,
}

impl Moody {
    fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::SeqCst) == mood as u8
    }
}

#[async_trait]
impl Journal for Moody {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    async fn append(&self, partition: u32, record: Record) -> Result<Offset, JournalError> {
        if self.is(Mood::Refusing) {
            return Err(JournalError::NotWritten("no".to_owned()));
        }
        if self.is(Mood::Hanging) {
            return std::future::pending().await;
        }
        let lose = self.is(Mood::LosingConfirmations);
        let written = self.inner.append(partition, record).await;
        if lose { Err(JournalError::Unsure("lost".to_owned())) } else { written }
    }

    async fn tail(&self, partition: u32, from: Offset) -> Result<Tail, JournalError> {
        self.inner.tail(partition, from).await
    }

    async fn end(&self, partition: u32) -> Result<Offset, JournalError> {
        self.inner.end(partition).await
    }

    async fn forget(&self, partition: u32, ended: UnixMillis) -> Result<u64, JournalError> {
        self.inner.forget(partition, ended).await
    }

    fn share(&self) -> watch::Receiver<Share> {
        self.inner.share()
    }

    async fn resign(&self) {
        self.inner.resign().await;
    }

    async fn release(&self) {
        self.inner.release().await;
    }

    async fn regain(&self) -> Result<(), JournalError> {
        self.inner.regain().await
    }

    fn is_replayed(&self, partition: u32) -> bool {
        self.inner.is_replayed(partition)
    }

    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }
}

/// Reserves where there is nobody else to ask.
async fn reserve(quotas: &Quotas, charges: &[Charge]) -> Result<Reservation, Refusal> {
    quotas.reserve(charges, Lack::Decide).await.map_err(|error| match error {
        NotReserved::Refused(refusal) => refusal,
        NotReserved::Elsewhere { partition } => panic!("partition {partition} is elsewhere"),
    })
}

/// A gateway's quotas over a directory.
struct House {
    quotas: Arc<Quotas>,
    journal: Arc<Moody>,
    clock: Arc<Hands>,
    metrics: Arc<Metrics>,
}

impl House {
    async fn open(directory: &Path) -> Self {
        Self::open_with(directory, Patience::default()).await
    }

    async fn impatient(directory: &Path) -> Self {
        let answer = Duration::from_millis(100);
        Self::open_with(directory, Patience { answer, ..Patience::default() }).await
    }

    async fn open_with(directory: &Path, patience: Patience) -> Self {
        let metrics = Arc::new(Metrics::default());
        let inner = Embedded::open(directory, 4, Arc::clone(&metrics)).unwrap();
        let journal = Arc::new(Moody { inner, mood: AtomicU8::new(Mood::Well as u8) });
        let clock = Arc::new(Hands(AtomicU64::new(10 * DAY.as_millis() as u64)));
        let quotas = Quotas::open_with(
            Arc::clone(&journal) as Arc<dyn Journal>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&metrics),
            "gw-1",
            None,
            patience,
        );
        let quotas = quotas.await.unwrap();
        Self { quotas, journal, clock, metrics }
    }

    /// Ends in order, and frees the directory.
    async fn close(self) {
        self.quotas.close().await;
        drop(self.quotas);
        let mut journal = Some(self.journal);
        while let Some(Err(shared)) = journal.take().map(Arc::try_unwrap) {
            // An append that was read back has yet to learn that it was written.
            journal = Some(shared);
            tokio::task::yield_now().await;
        }
    }

    async fn reserve(&self, charges: &[Charge]) -> Result<Reservation, Refusal> {
        reserve(&self.quotas, charges).await
    }

    async fn one(&self, charge: &Charge) -> Result<Reservation, Refusal> {
        reserve(&self.quotas, std::slice::from_ref(charge)).await
    }

    /// Uses `times` of one charge; how many were admitted.
    async fn use_up(&self, charge: &Charge, times: usize) -> usize {
        let all = join_all((0..times).map(|_| self.one(charge))).await;
        all.into_iter().filter(Result::is_ok).count()
    }

    fn used(&self, charge: &Charge) -> u64 {
        let rules = [Arc::clone(charge.rule())];
        let buckets = self.quotas.account(&charge.account(), &rules);
        buckets
            .iter()
            .find(|bucket| {
                bucket.dimensions == charge.dimensions() && bucket.rule == charge.rule().name
            })
            .map_or(0, |bucket| bucket.used)
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.exposition();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0.0)
    }

    /// Uses that a reader who starts now is given.
    async fn uses_in_journal(&self) -> usize {
        let mut uses = 0;
        for partition in 0..4 {
            let mut tail = self.journal.tail(partition, 0).await.unwrap();
            let a_moment = Duration::from_millis(50);
            while let Ok(Some(item)) = tokio::time::timeout(a_moment, tail.next()).await {
                uses += usize::from(matches!(item.unwrap().1, Record::Use(_)));
            }
        }
        uses
    }

    /// Waits until a rule admits again, as a client would that tries again.
    async fn admits_again(&self, charge: &Charge) {
        let tries = async {
            while self.one(charge).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), tries).await.expect("it admits again");
    }
}

fn rule(name: &str, limit: u64) -> QuotaRule {
    QuotaRule {
        name: name.into(),
        per: vec![ValueSource::Account, ValueSource::parse("header.x-client").unwrap()],
        limit: NonZeroU64::new(limit).unwrap(),
        window: Window::Fixed { length: DAY, offset: Duration::ZERO },
        when: None,
        accuracy: Accuracy::Strict,
        unavailable: Unavailable::Deny,
        counts: Counts::Success,
        count_hits: true,
    }
}

fn charge(rule: &Arc<QuotaRule>, account: &str, client: &str) -> Charge {
    let head = RequestHead::default();
    let mut headers = HeaderMap::new();
    headers.insert("x-client", client.parse().unwrap());
    let account = AccountId::parse(account).unwrap();
    let facts = Facts {
        head: &head,
        headers: &headers,
        route: &RouteId::new("summary"),
        captures: &Captures::default(),
        caller: None,
        account: Some(&account),
        body: None,
    };
    Charge::for_request(rule, &facts, &key(&account)).unwrap()
}

/// Of a rule that is `fast` within a hundred uses.
fn fast_charge() -> Charge {
    let accuracy = Accuracy::Fast { unconfirmed: NonZeroU64::new(100).unwrap() };
    charge(&Arc::new(QuotaRule { accuracy, ..rule("fast", 1000) }), "4711", "app")
}

fn key(account: &AccountId) -> AccountKey {
    AccountHasher::new(b"secret").key(account)
}

fn daily(limit: u64) -> Charge {
    charge(&Arc::new(rule("daily", limit)), "4711", "app")
}

fn exceeded(result: Result<Reservation, Refusal>) -> QuotaRefusal {
    match result {
        Err(Refusal::QuotaExceeded(refusal)) => refusal,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("admitted"),
    }
}

#[tokio::test]
async fn counts_survive_an_orderly_end_and_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let charge = daily(4);
    let house = House::open(directory.path()).await;
    assert_eq!(house.use_up(&charge, 3).await, 3);
    let after_kill = killed(directory.path());
    house.close().await;
    for directory in [directory.path(), after_kill.path()] {
        let house = House::open(directory).await;
        assert_eq!(house.used(&charge), 3);
        assert_eq!(house.use_up(&charge, 3).await, 1);
    }
}

#[tokio::test]
async fn an_orderly_end_writes_what_gathered() {
    let directory = tempfile::tempdir().unwrap();
    let charge = fast_charge();
    let house = House::open(directory.path()).await;
    assert_eq!(house.use_up(&charge, 3).await, 3);
    let after_kill = killed(directory.path());
    house.close().await;
    let house = House::open(directory.path()).await;
    assert_eq!(house.used(&charge), 3);
    let house = House::open(after_kill.path()).await;
    assert!(house.used(&charge) <= 3, "a kill loses them, or some of them");
}

#[tokio::test]
async fn uses_that_nobody_waits_for_share_a_record_and_need_no_other_request() {
    let directory = tempfile::tempdir().unwrap();
    let charge = fast_charge();
    let house = House::open(directory.path()).await;
    let before = house.metric("tollgate_journal_records_total");
    assert_eq!(house.use_up(&charge, 20).await, 20);
    let written = async {
        while house.used(&charge) < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.expect("they are written");
    assert_eq!(house.metric("tollgate_journal_records_total") - before, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_loses_no_admitted_use() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let charge = daily(1_000_000);
    let (admitted, mut seen) = tokio::sync::watch::channel(0u64);
    let load = tokio::spawn({
        let (quotas, charge) = (Arc::clone(&house.quotas), charge.clone());
        async move {
            for _ in 0..60 {
                let batch = (0..20).map(|_| reserve(&quotas, std::slice::from_ref(&charge)));
                let count = join_all(batch).await.iter().filter(|one| one.is_ok()).count();
                admitted.send_modify(|sum| *sum += count as u64);
            }
        }
    });
    for until in [100, 500, 900] {
        let confirmed = *seen.wait_for(|sum| *sum >= until).await.unwrap();
        let copy = killed(directory.path());
        let revived = House::open(copy.path()).await;
        assert!(revived.used(&charge) >= confirmed);
    }
    load.await.unwrap();
}
