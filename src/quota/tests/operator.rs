//! What operators see and do, and what is removed in time.

use super::*;

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
