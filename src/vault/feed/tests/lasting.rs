//! What outlives a restart, a broken disk, a topic.

use super::*;

#[tokio::test]
async fn while_a_purge_of_this_gateway_is_owed_what_it_removes_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    let (one, other) = (entry(1, 10), entry(2, 10));
    fed.answer(&one, 0).await;
    let account = AccountKey::from_bytes(one.place.account);
    let purged = fed.opened.vault.purge_account(&account).await;
    assert!(matches!(purged, Err(VaultError::Owed)), "Kafka can't have it: {purged:?}");
    assert_eq!(fed.stands(&one.place), None);
    // Sent by a gateway that has seen more than this one, but no purge.
    fed.answer(&later(1, 10, 5), 1).await;
    fed.answer(&other, 0).await;
    assert_eq!((fed.stands(&one.place), fed.stands(&other.place)), (None, Some(10)));
    assert_eq!(fed.opened.vault.feed().unwrap().owed_purges, 1);
    fed.opened.vault.close();
    let reborn = Fed::open(directory.path()).await;
    assert_eq!(reborn.opened.vault.feed().unwrap().owed_purges, 1, "a restart does not forget it");
}

fn balances(number: u64, at: UnixMillis) -> ChangeEvent {
    let account = AccountKey::from_bytes(entry(number, 0).place.account);
    ChangeEvent { account, class: Some(class_tag("balances")), at }
}

#[tokio::test]
async fn an_answer_that_arrives_after_the_change_that_makes_it_untrue_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    fed.changed(balances(1, NOW)).await;
    fed.answer(&entry(1, 10), 0).await;
    fed.answer(&entry(2, 10), 0).await;
    assert_eq!(fed.stands(&entry(1, 0).place), None);
    assert_eq!(fed.stands(&entry(2, 0).place), Some(10), "of another account");
    fed.answer(&later(1, 20, 1), 0).await;
    assert_eq!(fed.stands(&entry(1, 0).place), Some(20), "it was asked for later");
    // An older event that comes late touches nothing newer, nor takes the newer one's place.
    fed.changed(balances(1, NOW.minus(HOUR))).await;
    assert_eq!(fed.stands(&entry(1, 0).place), Some(20));
    fed.opened.vault.close();
    let fed = Fed::open(directory.path()).await;
    fed.changed(balances(1, UnixMillis(NOW.0 + 1))).await;
    fed.opened.vault.close();
    let mut fed = Fed::open(directory.path()).await;
    fed.answer(&later(1, 30, 1), 0).await;
    assert_eq!(fed.stands(&entry(1, 0).place), None, "a restart does not forget it");
}

#[tokio::test]
async fn a_change_is_forgotten_when_no_answer_from_before_it_is_taken_over_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let fed = Fed::open(directory.path()).await;
    fed.changed(balances(1, NOW)).await;
    let table = fed.opened.vault.disk.shared().table.load_full().unwrap();
    let [any, class] = DataClasses::keys_of_change(&balances(1, NOW));
    let kept = kafka().cache_retention;
    for (hours, noted) in [(0, true), (24, true), (47, true), (49, false)] {
        table.forget_changes(NOW.plus(hours * HOUR), kept).unwrap();
        assert_eq!(table.changed(&[any]).unwrap().is_some(), noted, "{hours} hours later");
        assert_eq!(table.changed(&[class]).unwrap().is_some(), noted, "{hours} hours later");
    }
}

/// Purges must reach memory even then, and what the disk missed is read again.
#[tokio::test]
async fn what_comes_while_the_disk_is_at_fault_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    let one = entry(1, 10);
    fed.answer(&one, 0).await;
    let place = one.place;
    let epoch = || fed.opened.vault.epochs.now(one.name.stripes);
    let before = epoch();
    let found = fed.opened.vault.disk.find(place, before).await.unwrap().unwrap();
    fed.opened.vault.memory.insert(Arc::new(found));
    fed.disk_fails(true);
    let at = fed.next[partition(&one) as usize];
    fed.arrives_at(partition(&one), at, purge(Scope::Account(place.account), 1)).await;
    assert!(fed.opened.vault.memory.get(&place.hash).is_none());
    assert_ne!(epoch(), before, "fills in progress forget as well");

    let generation = fed.feed.generation();
    fed.disk_fails(false);
    let patience = Instant::now() + Duration::from_secs(30);
    while fed.feed.generation() == generation {
        assert!(Instant::now() < patience, "the readers were not sent back");
        fed.opened.vault.flush().await;
    }
    assert!(!fed.opened.vault.feed().unwrap().current);
    assert!(fed.stands(&place).is_some(), "the disk has missed the purge");
    assert!(
        fed.opened.vault.disk.find(place, epoch()).await.unwrap().is_none(),
        "and is not asked"
    );
    let known = fed.ask(Source::Answers).await;
    assert_eq!(known[&partition(&one)].next, at);
    fed.begin().await;
    fed.arrives_at(partition(&one), at, purge(Scope::Account(place.account), 1)).await;
    assert_eq!(fed.stands(&place), None);
}

#[tokio::test]
async fn a_table_of_other_topics_is_begun_anew_and_so_is_one_that_missed_something() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    let one = entry(1, 10);
    fed.answer(&one, 0).await;
    fed.changed(balances(2, NOW)).await;
    let generation = fed.feed.generation();
    fed.hand(Handed::StartOver { generation }).await;
    assert_eq!(fed.stands(&one.place), None);
    assert!(fed.ask(Source::Answers).await.is_empty() && fed.ask(Source::Changes).await.is_empty());
    fed.begin().await;
    fed.answer(&one, 0).await;
    fed.answer(&entry(2, 10), 0).await;
    assert_eq!(fed.stands(&entry(2, 0).place), Some(10), "the change is read again too");

    let (answer, answered) = sync_channel(1);
    let (source, generation) = (Source::Answers, fed.feed.generation());
    let identity = "another cluster".to_owned();
    fed.hand(Handed::Begin { source, generation, identity, answer }).await;
    assert!(answered.recv().is_err(), "the readers begin again");
    assert_eq!(fed.stands(&one.place), None);
}

#[tokio::test]
async fn before_it_knows_what_it_missed_a_gateway_does_not_answer_from_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    let one = entry(1, 10);
    fed.answer(&one, 0).await;
    let epoch = fed.opened.vault.epochs.now(one.name.stripes);
    let find = || fed.opened.vault.disk.find(one.place, epoch);
    assert!(find().await.unwrap().is_some());
    fed.feed.standing.is_behind();
    assert!(find().await.unwrap().is_none());
}
