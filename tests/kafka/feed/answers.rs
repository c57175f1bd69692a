//! What one gateway keeps the others answer from.

use tollgate::config::model::Topic;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_keeps_the_other_answers_from() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    for number in 0..20 {
        let body = format!("balance of {number}");
        gateways[number % 2].fill(key("summary", &number.to_string()), body.as_bytes()).await;
    }
    for number in 0..20 {
        let body = format!("balance of {number}");
        for gateway in &gateways {
            gateway.answers(&key("summary", &number.to_string()), body.as_bytes()).await;
        }
    }
    for gateway in &gateways {
        // Ten came from the other, ten came back.
        until("all was read", || gateway.read_in_all() == 20).await;
        assert_eq!((gateway.read("answer"), gateway.read("known")), (10, 10));
        until("all was sent", || gateway.sent("delivered") == 10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_comes_later_reads_what_the_others_had() {
    let fleet = Fleet::new(Broker::shared()).await;
    let first = fleet.current(1).await.remove(0);
    for number in 0..20 {
        first.fill(key("summary", &number.to_string()), b"kept").await;
    }
    until("all was sent", || first.sent("delivered") == 20).await;
    drop(first.close());
    let late = fleet.current(1).await.remove(0);
    for number in 0..20 {
        assert_eq!(late.kept(key("summary", &number.to_string())).await.unwrap(), b"kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_replaces_the_older_one_everywhere() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    let key = key("summary", "1");
    gateways[0].fill(key.clone(), b"first").await;
    gateways[1].answers(&key, b"first").await;
    // The second one asked later, whichever was written first.
    let mut refresh = HttpCache::new();
    gateways[1].vault.enable_on(&mut refresh, PATIENCE);
    refresh.set_cache_key(key.clone());
    let (meta, hit) = refresh.cache_lookup().await.unwrap().unwrap();
    refresh.cache_found(meta, hit, pingora_cache::HitStatus::Expired);
    Filling(refresh).answer(&gateways[1], b"second").await;
    gateways[0].answers(&key, b"second").await;
    gateways[1].answers(&key, b"second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_the_topic_takes_stays_where_it_was_filled() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    let large = vec![b'x'; 300_000];
    gateways[0].fill(key("statement", "1"), &large).await;
    gateways[0].fill(key("summary", "1"), b"small").await;
    gateways[1].answers(&key("summary", "1"), b"small").await;
    assert_eq!(gateways[0].sent("oversized"), 1);
    assert_eq!(gateways[0].kept(key("statement", "1")).await.unwrap(), large);
    assert_eq!(gateways[1].kept(key("statement", "1")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_gateway_of_this_release_wrote_is_counted_and_passed_over() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    let mut answer = vec![b'a'];
    answer.extend([0; 32]);
    fleet.write(Topic::AccountCache, 0, b"?", b"what is this").await;
    fleet.write(Topic::AccountCache, 0, &answer, &[9, 1, 2, 3]).await;
    fleet.write(Topic::AccountCache, 0, &answer, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 7]).await;
    until("they were read", || gateways[1].read("unreadable") == 3).await;
    gateways[0].fill(key("summary", "1"), b"kept").await;
    gateways[1].answers(&key("summary", "1"), b"kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_shown_to_operators() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateway = fleet.current(1).await.remove(0);
    gateway.fill(key("summary", "1"), b"kept").await;
    until("its own record came back", || gateway.read("known") == 1).await;
    let lags = || {
        let view = gateway.vault.feed().unwrap();
        view.topics.iter().all(|topic| {
            let known = topic.partitions.iter().all(|partition| partition.lag == Some(0));
            topic.connected && topic.error.is_none() && known && topic.partitions.len() == 3
        })
    };
    until("nothing is left to be read", lags).await;
    let view = gateway.vault.feed().unwrap();
    assert_eq!(view.topics[0].topic, fleet.kafka.topic(Topic::AccountCache));
    assert_eq!(view.topics[0].partitions.iter().map(|partition| partition.next).sum::<u64>(), 1);
    assert_eq!(view.owed_purges, 0);
    assert_eq!(gateway.metric("tollgate_cache_feed_lag{topic=\"account-cache\"}"), 0);
    assert_eq!(gateway.metric("tollgate_cache_feed_connected{topic=\"account-changes\"}"), 1);
}
