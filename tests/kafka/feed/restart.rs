//! Where a gateway goes on after a restart, and when it begins anew.

use tollgate::config::model::Topic;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_stopped() {
    let fleet = Fleet::new(Broker::shared()).await;
    let mut gateways = fleet.current(2).await;
    for number in 0..50 {
        gateways[0].fill(key("summary", &number.to_string()), b"first").await;
    }
    until("all was taken over", || gateways[1].read("answer") == 50).await;
    let stopped = gateways.pop().unwrap().close();
    for number in 50..57 {
        gateways[0].fill(key("summary", &number.to_string()), b"second").await;
    }
    until("all was sent", || gateways[0].sent("delivered") == 57).await;
    let back = fleet.gateway_in(stopped);
    back.is_current().await;
    assert_eq!(back.kept(key("summary", "0")).await.unwrap(), b"first");
    assert_eq!(back.kept(key("summary", "56")).await.unwrap(), b"second");
    assert_eq!((back.read("answer"), back.read_in_all()), (7, 7), "only what was new was read");
    assert_eq!(back.metric("tollgate_cache_feed_starts_over_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_were_made_again_begin_the_cache_anew() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateway = fleet.current(1).await.remove(0);
    for number in 0..30 {
        gateway.fill(key("summary", &number.to_string()), b"of the old topic").await;
    }
    until("all came back", || gateway.read("known") == 30).await;
    let stopped = gateway.close();
    fleet.delete(Topic::AccountCache).await;
    fleet.create(Topic::AccountCache).await;
    let back = fleet.gateway_in(stopped);
    back.is_current().await;
    assert_eq!(back.metric("tollgate_cache_feed_starts_over_total"), 1);
    assert_eq!(back.kept(key("summary", "0")).await, None);
    back.fill(key("summary", "0"), b"of the new topic").await;
    until("it came back", || back.read("known") == 1).await;
}

/// It already has more records than the old one had, so that offsets alone don't tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_again_and_filled_is_told_by_its_times() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateway = fleet.current(1).await.remove(0);
    gateway.fill(key("summary", "1"), b"of the old topic").await;
    gateway.fill(key("cards", "1"), b"of the old topic").await;
    until("all came back", || gateway.read("known") == 2).await;
    let stopped = gateway.close();
    fleet.delete(Topic::AccountCache).await;
    fleet.create(Topic::AccountCache).await;
    let other = fleet.current(1).await.remove(0);
    other.vault.purge_account(&account("1")).await.unwrap();
    for number in 0..30 {
        other.fill(key("summary", &format!("1{number}")), b"of the new topic").await;
        other.fill(key("more", "1"), b"of the new topic").await;
        other.vault.purge_entry(&key("more", "1")).await.unwrap();
    }
    let back = fleet.gateway_in(stopped);
    back.is_current().await;
    assert_eq!(back.metric("tollgate_cache_feed_starts_over_total"), 1);
    assert_eq!(back.kept(key("cards", "1")).await, None, "the purge was not overlooked");
    assert_eq!(back.kept(key("summary", "10")).await.unwrap(), b"of the new topic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_meanwhile_begins_the_cache_anew() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    gateways[0].fill(key("summary", "1"), b"of the old topic").await;
    gateways[1].answers(&key("summary", "1"), b"of the old topic").await;
    fleet.delete(Topic::AccountCache).await;
    fleet.create(Topic::AccountCache).await;
    for gateway in &gateways {
        until("it noticed", || gateway.metric("tollgate_cache_feed_starts_over_total") == 1).await;
        gateway.is_current().await;
    }
    assert_eq!(gateways[1].kept(key("summary", "1")).await, None);
    // The producer still has to find the new topic.
    for number in 2.. {
        let asked = key("summary", &number.to_string());
        gateways[0].fill(asked.clone(), b"of the new topic").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if gateways[1].kept(asked).await.is_some() {
            break;
        }
        assert!(number < 600, "nothing gets to the new topic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_filled_without_kafka_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Arc::<Metrics>::default();
    let clock = Arc::new(SystemClock);
    let vault = Vault::open(directory.path(), &settings(), clock, metrics.clone()).unwrap();
    let alone = Gateway { directory, vault, metrics };
    alone.fill(key("summary", "1"), b"from before the fleet").await;
    alone.vault.flush().await;
    let fleet = Fleet::new(Broker::shared()).await;
    let gateway = fleet.gateway_in(alone.close());
    gateway.is_current().await;
    assert_eq!(gateway.kept(key("summary", "1")).await, None);
    assert_eq!(gateway.metric("tollgate_cache_feed_starts_over_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_topics_it_works_alone_and_says_what_is_missing() {
    let broker = Broker::shared();
    let mut fleet = Fleet::new(broker).await;
    fleet.kafka.topic_prefix = broker.topic_prefix().into();
    let gateway = fleet.gateway();
    gateway.fill(key("summary", "1"), b"kept").await;
    assert_eq!(gateway.kept(key("summary", "1")).await.unwrap(), b"kept");
    let error = || gateway.vault.feed().unwrap().topics[0].error.clone();
    until("it says why", || error().is_some_and(|error| error.contains("tollgate kafka init")))
        .await;
    fleet.create(Topic::AccountCache).await;
    fleet.create(Topic::AccountChanges).await;
    gateway.is_current().await;
    assert_eq!(error(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_another_number_of_partitions_is_not_used() {
    let mut fleet = Fleet::new(Broker::shared()).await;
    fleet.kafka.partitions = PARTITIONS + 1;
    let gateway = fleet.gateway();
    let error = || gateway.vault.feed().unwrap().topics[0].error.clone();
    until("it says why", || {
        error().is_some_and(|error| error.contains("has 3 partitions and the configuration says 4"))
    })
    .await;
}
