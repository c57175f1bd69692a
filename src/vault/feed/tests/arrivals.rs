//! What is taken over and what is not.

use super::*;

#[tokio::test]
async fn of_two_versions_the_one_that_was_asked_for_later_stays_whatever_the_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    let place = entry(1, 0).place;
    fed.answer(&later(1, 20, 2), 0).await;
    fed.answer(&later(1, 10, 1), 0).await;
    assert_eq!(fed.stands(&place), Some(20));
    fed.answer(&later(1, 30, 3), 0).await;
    assert_eq!(fed.stands(&place), Some(30));
    fed.answer(&later(1, 30, 3), 0).await;
    assert_eq!((fed.read("answer"), fed.read("known")), (2, 2));
}

#[tokio::test]
async fn an_answer_whose_sender_had_not_seen_a_purge_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    let one = entry(1, 10);
    let partition = partition(&one);
    let scopes = [
        Scope::Account(one.place.account),
        Scope::Entry(one.place),
        Scope::Route(RouteId::new("summary")),
        Scope::All,
    ];
    for (number, scope) in (1..).zip(scopes) {
        let at = fed.arrives(partition, purge(scope.clone(), number)).await;
        fed.answer(&one, at).await;
        assert_eq!(fed.stands(&one.place), None, "{scope:?}");
        fed.answer(&one, at + 1).await;
        assert_eq!(fed.stands(&one.place), Some(10), "{scope:?}");
    }
    assert_eq!(fed.read("void"), 4);
    let next = fed.next[partition as usize];
    fed.answer(&later(1, 20, 1), next + 1).await;
    assert_eq!(fed.stands(&one.place), Some(10), "its base is of another life of the topic");
}

#[tokio::test]
async fn after_a_restart_an_answer_from_before_the_last_purge_is_still_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let one = entry(1, 10);
    let mut fed = Fed::open(directory.path()).await;
    let purged = fed.arrives(partition(&one), purge(Scope::Account(one.place.account), 1)).await;
    fed.answer(&entry(1001, 5), 0).await;
    fed.opened.vault.close();
    let mut fed = Fed::open(directory.path()).await;
    fed.answer(&one, purged).await;
    assert_eq!(fed.stands(&one.place), None);
    fed.answer(&one, purged + 1).await;
    assert_eq!(fed.stands(&one.place), Some(10));
}

#[tokio::test]
async fn a_purge_of_everything_takes_nothing_that_stands_behind_it_in_another_partition() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    let mut entries = (1..).map(|number| entry(number, 10));
    let one = entries.find(|entry| partition(entry) == 1).unwrap();
    let other = entries.find(|entry| partition(entry) == 2).unwrap();
    for scope in [Scope::All, Scope::Route(RouteId::new("summary"))] {
        let number = if scope == Scope::All { 1 } else { 2 };
        fed.answer(&one, fed.next[1]).await;
        // The other partition is read up to behind the purge first.
        let at = fed.arrives(2, purge(scope.clone(), number)).await;
        assert_eq!(fed.stands(&one.place), None);
        fed.answer(&other, at + 1).await;
        fed.answer(&one, fed.next[1]).await;
        assert_eq!(fed.stands(&one.place), Some(10), "it stands before its own purge");
        fed.arrives(1, purge(scope.clone(), number)).await;
        assert_eq!(fed.stands(&one.place), None, "{scope:?}");
        assert_eq!(fed.stands(&other.place), Some(10), "{scope:?}");
    }
}

#[tokio::test]
async fn what_is_over_or_older_than_the_topic_keeps_it_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    fed.opened.clock.advance(HOUR);
    fed.answer(&entry(1, 10), 0).await;
    let mut lasting = entry(2, 10);
    lasting.expires = NOW.plus(1000 * HOUR);
    fed.answer(&lasting, 0).await;
    assert_eq!(fed.stands(&lasting.place), Some(10));
    fed.opened.clock.advance(23 * HOUR);
    let mut old = entry(3, 10);
    old.expires = NOW.plus(1000 * HOUR);
    fed.answer(&old, 0).await;
    assert_eq!(fed.stands(&old.place), None);
    assert_eq!(fed.read("over"), 2);
}

#[tokio::test]
async fn an_answer_in_another_account_s_partition_would_escape_its_purges() {
    let directory = tempfile::tempdir().unwrap();
    let mut fed = Fed::open(directory.path()).await;
    let one = entry(1, 10);
    fed.arrives((partition(&one) + 1) % PARTITIONS, answer(&one, 0)).await;
    assert_eq!((fed.stands(&one.place), fed.read("unreadable")), (None, 1));
}
