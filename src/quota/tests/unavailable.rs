//! What a rule does while the journal is in trouble.

use super::*;

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
    // What was served meanwhile is counted when the journal is back, and with it what was given
    // back: one before, four meanwhile.
    house.journal.set(Mood::Well);
    house.quotas.drain().await;
    assert_eq!(exceeded(house.one(&charge).await).used, 5);
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
