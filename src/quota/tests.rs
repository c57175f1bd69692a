//! Quotas on the real embedded journal, on a real disk.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use http::{HeaderMap, Method};
use tempfile::TempDir;

use super::*;
use crate::account::{AccountHasher, AccountKey};
use crate::config::model::{Accuracy, Counts, QuotaRule, Unavailable, Window};
use crate::journal::{Embedded, Journal, JournalError, Offset, Record, Tail};
use crate::observe::Metrics;
use crate::request::{
    AccountId, Captures, Clock, Facts, NormalPath, QuotaRefusal, Refusal, RequestHead, RouteId,
    UnixMillis, ValueSource,
};

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
        self.quotas.reserve(charges.to_vec()).await
    }

    async fn one(&self, charge: &Charge) -> Result<Reservation, Refusal> {
        self.quotas.reserve(vec![charge.clone()]).await
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
    let head = RequestHead {
        method: Method::GET,
        https: true,
        host: "bank.example".into(),
        path: NormalPath { decoded: "/".into(), encoded: "/".into() },
        query: None,
        address: [192, 0, 2, 1].into(),
        certificate_thumbprint: None,
        request_id: "r1".into(),
    };
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

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a kill would leave: the files as they are now.
fn killed(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(directory, copy.path());
    copy
}

#[tokio::test]
async fn the_fifth_of_four_is_refused_with_what_is_used_until_when_and_where_that_stands() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let charge = daily(4);
    house.clock.turn(10 * 86_400_000 + 3_600_000);
    for remaining in (0..4).rev() {
        let reservation = house.one(&charge).await.unwrap();
        let [state] = reservation.states() else { panic!("one state") };
        assert_eq!((state.limit, state.remaining), (4, remaining));
        assert_eq!(state.reset, Duration::from_secs(23 * 3600));
        reservation.settle(true);
    }
    let refusal = exceeded(house.one(&charge).await);
    assert_eq!((refusal.used, refusal.state.remaining), (4, 0));
    assert_eq!(&*refusal.state.policy, "daily");
    assert_eq!(refusal.state.reset, Duration::from_secs(23 * 3600));
    // I2: the fold up to that offset shows the four.
    let mut tail = house.journal.tail(refusal.partition, 0).await.unwrap();
    let mut fold = Ledger::default();
    loop {
        let (offset, record) = tail.next().await.unwrap().unwrap();
        fold.apply(offset, &record);
        if offset == refusal.offset {
            break;
        }
    }
    assert_eq!(fold.uses().iter().map(|used| used.admitted).sum::<u64>(), 4);
    // Another account and another client of the same account are not concerned.
    let rule = charge.rule();
    assert!(house.reserve(&[self::charge(rule, "4712", "app")]).await.is_ok());
    assert!(house.reserve(&[self::charge(rule, "4711", "other")]).await.is_ok());
    // And the next day nor is it.
    house.clock.turn(11 * 86_400_000);
    assert!(house.one(&charge).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_at_once_never_exceed_and_share_their_writes() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let rule = Arc::new(rule("daily", 40));
    let accounts: Vec<Charge> =
        (0..8).map(|account| charge(&rule, &format!("{account}"), "app")).collect();
    let commits = "tollgate_journal_commit_duration_seconds_count";
    let before = (house.metric(commits), house.metric("tollgate_journal_records_total"));
    let all = (0..512).map(|number| {
        let (quotas, charge) = (Arc::clone(&house.quotas), accounts[number % 8].clone());
        tokio::spawn(async move { quotas.reserve(vec![charge]).await.is_ok() })
    });
    let admitted =
        join_all(all).await.into_iter().filter(|admitted| *admitted.as_ref().unwrap()).count();
    assert_eq!(admitted, 8 * 40, "512 asked, 64 of each of 8 accounts");
    let commits = house.metric(commits) - before.0;
    let records = house.metric("tollgate_journal_records_total") - before.1;
    println!("512 reservations, {admitted} admitted: {records} records in {commits} commits");
    assert!(records <= 160.0, "{records} records for {admitted} uses");
    assert!(commits <= records / 2.0, "{commits} commits of {records} records");
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
                let batch = (0..20).map(|_| quotas.reserve(vec![charge.clone()]));
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

#[tokio::test]
async fn what_was_no_use_is_given_back_as_the_rule_says() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let successes = charge(&Arc::new(rule("successes", 9)), "4711", "app");
    let all = QuotaRule { counts: Counts::All, ..rule("all", 9) };
    let all = charge(&Arc::new(all), "4711", "app");
    let misses = QuotaRule { count_hits: false, ..rule("misses", 9) };
    let misses = charge(&Arc::new(misses), "4711", "app");
    let charges = [successes.clone(), all.clone(), misses.clone()];
    let used = || [&successes, &all, &misses].map(|charge| house.used(charge));

    house.reserve(&charges).await.unwrap().settle(true);
    house.quotas.drain().await;
    assert_eq!(used(), [1, 1, 1]);
    house.reserve(&charges).await.unwrap().settle(false);
    house.quotas.drain().await;
    assert_eq!(used(), [1, 2, 1]);
    house.reserve(&charges).await.unwrap().settle_hit();
    house.quotas.drain().await;
    assert_eq!(used(), [2, 3, 1]);
    house.reserve(&charges).await.unwrap().refund();
    house.quotas.drain().await;
    assert_eq!(used(), [2, 3, 1]);
    drop(house.reserve(&charges).await.unwrap());
    house.reserve(&charges).await.unwrap().commit();
    house.quotas.drain().await;
    assert_eq!(used(), [4, 5, 3]);
}

#[tokio::test]
async fn several_rules_and_accounts_are_charged_all_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let wide = Arc::new(rule("wide", 10));
    let narrow = Arc::new(rule("narrow", 1));
    let mut charges: Vec<Charge> =
        (0..6).map(|account| charge(&wide, &format!("{account}"), "app")).collect();
    charges.push(charge(&narrow, "0", "app"));
    let reservation = house.reserve(&charges).await.unwrap();
    assert_eq!(reservation.states().len(), 7);
    let refusal = exceeded(house.reserve(&charges).await);
    assert_eq!(&*refusal.state.policy, "narrow");
    house.quotas.drain().await;
    assert!(charges.iter().all(|charge| house.used(charge) == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_need_the_same_two_buckets_take_both_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let (first, second) = (daily(1000), charge(&Arc::new(rule("narrow", 25)), "4711", "app"));
    let asks = (0..100).map(|number| {
        let mut charges = vec![first.clone(), second.clone()];
        charges.rotate_left(number % 2);
        let quotas = Arc::clone(&house.quotas);
        tokio::spawn(async move { quotas.reserve(charges).await.is_ok() })
    });
    let admitted = join_all(asks).await.into_iter().filter(|one| *one.as_ref().unwrap()).count();
    house.quotas.drain().await;
    assert_eq!(
        admitted, 25,
        "in one partition they queue in one order, so none is refused in vain"
    );
    assert_eq!((house.used(&first), house.used(&second)), (25, 25));
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_has_used_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let charge = daily(4);
    for _ in 0..4 {
        let gone = house.quotas.reserve(vec![charge.clone()]);
        // Polled once, so that its record is on its way, and then dropped.
        assert!(futures::poll!(Box::pin(gone)).is_pending());
    }
    assert_eq!(house.use_up(&charge, 1).await, 1);
    house.quotas.drain().await;
    assert_eq!(house.used(&charge), 1);
}

#[tokio::test]
async fn deny_refuses_at_once_while_nothing_can_be_written_and_admits_when_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let charge = daily(4);
    house.journal.set(Mood::Refusing);
    let refused = house.one(&charge).await.err();
    assert_eq!(refused, Some(Refusal::QuotaUnavailable { rule: "daily".into() }));
    house.journal.set(Mood::Well);
    assert_eq!(house.use_up(&charge, 9).await, 4);
}

#[tokio::test]
async fn deny_refuses_in_bounded_time_while_the_journal_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::impatient(directory.path()).await;
    let charge = daily(4);
    house.journal.set(Mood::Hanging);
    let refused = house.one(&charge).await.err();
    assert_eq!(refused, Some(Refusal::QuotaUnavailable { rule: "daily".into() }));
}

#[tokio::test]
async fn a_use_whose_confirmation_is_lost_is_refused_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let charge = daily(1000);
    house.journal.set(Mood::LosingConfirmations);
    let before = house.use_up(&charge, 5).await as u64;
    house.journal.set(Mood::Well);
    house.admits_again(&charge).await;
    let used = house.used(&charge);
    assert!(used > before && used <= 7 + before, "{used} of {before}");
}

#[tokio::test]
async fn allow_serves_says_so_and_counts_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::impatient(directory.path()).await;
    let allow = QuotaRule { unavailable: Unavailable::Allow, ..rule("minimum", 4) };
    let charge = charge(&Arc::new(allow), "4711", "app");
    house.journal.set(Mood::Refusing);
    for _ in 0..3 {
        let reservation = house.one(&charge).await.unwrap();
        assert!(reservation.unaccounted());
        reservation.settle(true);
    }
    house.journal.set(Mood::Well);
    // A tick writes them.
    house.quotas.drain().await;
    let written = async {
        while house.used(&charge) < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written).await.expect("counted afterwards");
    let reservation = house.one(&charge).await.unwrap();
    assert!(!reservation.unaccounted());
    assert_eq!(exceeded(house.one(&charge).await).used, 4);
}

#[tokio::test]
async fn allow_also_serves_while_the_journal_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::impatient(directory.path()).await;
    let allow = QuotaRule { unavailable: Unavailable::Allow, ..rule("minimum", 4) };
    let charge = charge(&Arc::new(allow), "4711", "app");
    house.journal.set(Mood::Hanging);
    assert!(house.one(&charge).await.unwrap().unaccounted());
}

#[tokio::test]
async fn local_counts_in_this_process_on_top_of_what_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::impatient(directory.path()).await;
    let local = QuotaRule { unavailable: Unavailable::Local, ..rule("cap", 4) };
    let charge = charge(&Arc::new(local), "4711", "app");
    assert_eq!(house.use_up(&charge, 1).await, 1);
    house.journal.set(Mood::Refusing);
    let first = house.one(&charge).await.unwrap();
    assert!(first.unaccounted());
    assert_eq!(first.states().first().map(|state| state.remaining), Some(2));
    assert_eq!(house.use_up(&charge, 5).await, 2);
    first.refund();
    assert_eq!(house.use_up(&charge, 5).await, 1);
    assert_eq!(exceeded(house.one(&charge).await).used, 4);
}

#[tokio::test]
async fn a_fast_rule_does_not_wait_for_the_disk_up_to_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::impatient(directory.path()).await;
    let unconfirmed = NonZeroU64::new(3).unwrap();
    let fast = QuotaRule { accuracy: Accuracy::Fast { unconfirmed }, ..rule("fast", 100) };
    let charge = charge(&Arc::new(fast), "4711", "app");
    house.journal.set(Mood::Hanging);
    assert_eq!(house.use_up(&charge, 10).await, 3);
}

#[tokio::test]
async fn rolling_windows_free_each_use_when_it_is_a_window_old() {
    let directory = tempfile::tempdir().unwrap();
    let rolling = QuotaRule { window: Window::Rolling { length: DAY }, ..rule("rolling", 2) };
    let charge = charge(&Arc::new(rolling), "4711", "app");
    let day = DAY.as_millis() as u64;
    let house = House::open(directory.path()).await;
    house.clock.turn(20 * day);
    assert_eq!(house.use_up(&charge, 1).await, 1);
    house.clock.turn(20 * day + 1000);
    assert_eq!(house.use_up(&charge, 1).await, 1);
    house.close().await;
    let house = House::open(directory.path()).await;
    house.clock.turn(21 * day - 1);
    let refusal = exceeded(house.one(&charge).await);
    assert_eq!(refusal.state.reset, Duration::from_millis(1));
    house.clock.turn(21 * day);
    assert_eq!(house.use_up(&charge, 2).await, 1);
    house.clock.turn(21 * day + 1000);
    assert_eq!(house.use_up(&charge, 2).await, 1);
}

#[tokio::test]
async fn a_lower_limit_holds_at_once_after_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    assert_eq!(house.use_up(&daily(4), 3).await, 3);
    assert_eq!(exceeded(house.reserve(&[daily(2)]).await).used, 3);
    assert_eq!(house.use_up(&daily(5), 9).await, 2);
}

#[tokio::test]
async fn ended_periods_leave_memory_and_journal() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let rule = Arc::new(rule("daily", 4));
    for account in 0..20 {
        house.use_up(&charge(&rule, &format!("{account}"), "app"), 2).await;
    }
    let entries = || house.quotas.partitions().iter().map(|p| p.entries).sum::<usize>();
    assert_eq!(entries(), 20);
    house.clock.turn(11 * 86_400_000 + 299_000);
    house.quotas.sweep();
    house.use_up(&charge(&rule, "0", "app"), 1).await;
    assert_eq!(entries(), 21, "a little after their end they are still there");
    house.clock.turn(11 * 86_400_000 + 301_000);
    house.quotas.sweep();
    let swept = async {
        while (house.uses_in_journal().await, entries()) != (1, 1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), swept).await.expect("removed");
    // A clock that steps back opens no ended day anew.
    house.clock.turn(10 * 86_400_000);
    let back = charge(&rule, "5", "app");
    assert_eq!(house.use_up(&back, 9).await, 4);
    house.clock.turn(11 * 86_400_000 + 301_000);
    assert_eq!(house.use_up(&back, 9).await, 0);
}

#[tokio::test]
async fn an_operator_sees_and_resets_the_buckets_of_an_account() {
    let directory = tempfile::tempdir().unwrap();
    let charge = daily(4);
    let house = House::open(directory.path()).await;
    let reservation = house.one(&charge).await.unwrap();
    assert_eq!(house.use_up(&charge, 9).await, 3);
    let known = [Arc::clone(charge.rule())];
    let [bucket] = &house.quotas.account(&charge.account(), &known)[..] else { panic!("one") };
    assert_eq!((&*bucket.rule, bucket.used, bucket.limit), ("daily", 4, Some(4)));
    assert_eq!(bucket.dimensions, "header.x-client=app");
    assert_eq!(bucket.resets, UnixMillis(11 * 86_400_000));
    let [unknown] = &house.quotas.account(&charge.account(), &[])[..] else { panic!("one") };
    assert_eq!((unknown.used, unknown.limit), (4, None));
    assert_eq!(house.quotas.peek(&charge).remaining, 0);

    assert_eq!(house.quotas.reset(&charge.account()).await, Ok(1));
    assert_eq!(house.quotas.account(&charge.account(), &known), []);
    assert_eq!(house.quotas.peek(&charge).remaining, 4);
    assert_eq!(house.use_up(&charge, 2).await, 2);
    // A use of before the reset can't be given back into the count of after it.
    reservation.settle(false);
    house.quotas.drain().await;
    assert_eq!(house.used(&charge), 2);
    house.close().await;
    let house = House::open(directory.path()).await;
    assert_eq!(house.used(&charge), 2, "the reset is in the journal");
}

#[tokio::test]
async fn a_reset_that_can_not_be_written_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::impatient(directory.path()).await;
    let charge = daily(4);
    assert_eq!(house.use_up(&charge, 1).await, 1);
    house.journal.set(Mood::Hanging);
    assert_eq!(house.quotas.reset(&charge.account()).await, Err(QuotaError::NotConfirmed));
}

#[tokio::test]
async fn no_record_has_the_account_number() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let charge =
        charge(&Arc::new(rule("daily", 4)), "DE89370400440532013000", "DE89370400440532013000");
    assert_eq!(house.use_up(&charge, 1).await, 1);
    house.close().await;
    let store = directory.path().join("store/0.jnl");
    let bytes = std::fs::read(store).unwrap();
    assert!(bytes.windows(5).any(|window| window == b"daily"));
    assert!(!bytes.windows(10).any(|window| window == b"0532013000"));
}

#[tokio::test]
async fn partitions_show_who_owns_them() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    house.use_up(&daily(4), 1).await;
    let partitions = house.quotas.partitions();
    assert_eq!(partitions.len(), 4);
    for view in &partitions {
        assert_eq!(view.role, Role::Owning { epoch: 0 });
        assert_eq!((view.owner.as_deref(), view.epoch), (Some("gw-1"), Some(0)));
        assert_eq!((view.error.as_deref(), view.outstanding), (None, 0));
    }
    assert_eq!(partitions.iter().map(|view| view.accounts).sum::<usize>(), 1);
}

#[tokio::test]
async fn quotas_do_not_open_on_a_journal_that_takes_no_claim() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::default());
    let inner = Embedded::open(directory.path(), 2, Arc::clone(&metrics)).unwrap();
    let journal = Arc::new(Moody { inner, mood: AtomicU8::new(Mood::Refusing as u8) });
    let clock = Arc::new(Hands(AtomicU64::new(0)));
    let error = Quotas::open(journal, clock, metrics, "gw-1").await.err();
    let expected = JournalError::NotWritten("no".to_owned());
    assert_eq!(error, Some(QuotaError::Journal(expected)));
}
