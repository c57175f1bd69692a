//! Reservations: what is admitted, refused and given back.

use super::*;

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
    // However slow the machine is just now.
    let answer = Duration::from_secs(60);
    let house =
        House::open_with(directory.path(), Patience { answer, ..Patience::default() }).await;
    let rule = Arc::new(rule("daily", 40));
    let accounts: Vec<Charge> =
        (0..8).map(|account| charge(&rule, &format!("{account}"), "app")).collect();
    let commits = "tollgate_journal_commit_duration_seconds_count";
    let before = (house.metric(commits), house.metric("tollgate_journal_records_total"));
    let all = (0..512).map(|number| {
        let (quotas, charge) = (Arc::clone(&house.quotas), accounts[number % 8].clone());
        tokio::spawn(async move { reserve(&quotas, &[charge]).await.is_ok() })
    });
    let admitted =
        join_all(all).await.into_iter().filter(|admitted| *admitted.as_ref().unwrap()).count();
    assert_eq!(admitted, 8 * 40, "512 asked, 64 of each of 8 accounts");
    let commits = house.metric(commits) - before.0;
    let records = house.metric("tollgate_journal_records_total") - before.1;
    println!("512 reservations, {admitted} admitted: {records} records in {commits} commits");
    assert!(records <= 160.0, "{records} records for {admitted} uses");
    assert!(commits <= records, "{commits} commits of {records} records");
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
        tokio::spawn(async move { reserve(&quotas, &charges).await.is_ok() })
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
        let gone = house.one(&charge);
        // Polled once, so that its record is on its way, and then dropped.
        assert!(futures::poll!(Box::pin(gone)).is_pending());
    }
    assert_eq!(house.use_up(&charge, 1).await, 1);
    house.quotas.drain().await;
    assert_eq!(house.used(&charge), 1);
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
