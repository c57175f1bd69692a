//! Purges reach every gateway.

use super::*;

async fn with_answers(fleet: &Fleet) -> Vec<Gateway> {
    let gateways = fleet.current(2).await;
    for route in ["summary", "cards"] {
        for number in ["1", "2", "3", "4"] {
            gateways[0].fill(key(route, number), b"kept").await;
        }
    }
    until("all was taken over", || gateways[1].read("answer") == 8).await;
    gateways
}

async fn left(gateway: &Gateway) -> Vec<(&'static str, &'static str)> {
    let mut left = Vec::new();
    for route in ["summary", "cards"] {
        for number in ["1", "2", "3", "4"] {
            if gateway.kept(key(route, number)).await.is_some() {
                left.push((route, number));
            }
        }
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_an_account_reaches_the_other_gateway() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = with_answers(&fleet).await;
    let report = gateways[1].vault.purge_account(&account("2")).await.unwrap();
    assert_eq!(report.entries, 2);
    for route in ["summary", "cards"] {
        assert_eq!(gateways[1].kept(key(route, "2")).await, None);
        gateways[0].forgets(&key(route, "2")).await;
    }
    gateways[0].has_purged(1).await;
    assert_eq!(left(&gateways[0]).await.len(), 6);
    assert_eq!(left(&gateways[1]).await.len(), 6);
    gateways[0].fill(key("cards", "2"), b"from after it").await;
    gateways[1].answers(&key("cards", "2"), b"from after it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purges_of_an_entry_a_route_and_all_reach_the_other_gateway() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = with_answers(&fleet).await;
    let [one, other] = &gateways[..] else { panic!() };
    one.vault.purge_entry(&key("cards", "1")).await.unwrap();
    other.forgets(&key("cards", "1")).await;
    assert_eq!(left(other).await.len(), 7);
    one.vault.purge_route(&RouteId::new("summary")).await.unwrap();
    for number in ["1", "2", "3", "4"] {
        other.forgets(&key("summary", number)).await;
    }
    assert_eq!(left(other).await, [("cards", "2"), ("cards", "3"), ("cards", "4")]);
    one.vault.purge_all().await.unwrap();
    for number in ["2", "3", "4"] {
        other.forgets(&key("cards", number)).await;
    }
    one.fill(key("cards", "2"), b"from after it").await;
    other.answers(&key("cards", "2"), b"from after it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_away_does_not_give_what_was_purged_meanwhile() {
    let fleet = Fleet::new(Broker::shared()).await;
    let mut gateways = with_answers(&fleet).await;
    let away = gateways.pop().unwrap().close();
    let here = gateways.pop().unwrap();
    here.vault.purge_account(&account("2")).await.unwrap();
    here.vault.purge_route(&RouteId::new("cards")).await.unwrap();
    here.fill(key("cards", "3"), b"from after it").await;
    until("all was sent", || here.sent("delivered") == 8 + 1 + u64::from(PARTITIONS) + 1).await;
    let back = fleet.gateway_in(away);
    // From the first moment on.
    assert_eq!(back.kept(key("summary", "2")).await, None);
    back.is_current().await;
    assert_eq!(back.kept(key("cards", "3")).await.unwrap(), b"from after it");
    let wanted = [("summary", "1"), ("summary", "3"), ("summary", "4"), ("cards", "3")];
    assert_eq!(left(&back).await, wanted);
    assert_eq!(left(&here).await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_reads_from_the_start_does_not_bring_back_what_was_purged() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = with_answers(&fleet).await;
    gateways[1].vault.purge_account(&account("2")).await.unwrap();
    gateways[0].vault.purge_entry(&key("cards", "1")).await.unwrap();
    gateways[0].has_purged(2).await;
    gateways[0].fill(key("summary", "2"), b"from after it").await;
    until("all was sent", || gateways[0].sent("delivered") == 8 + 1 + 1).await;
    let late = fleet.current(1).await.remove(0);
    assert_eq!(late.kept(key("cards", "2")).await, None);
    assert_eq!(late.kept(key("cards", "1")).await, None);
    assert_eq!(late.kept(key("summary", "2")).await.unwrap(), b"from after it");
    assert_eq!(left(&late).await.len(), 6);
}

/// The backend is asked before the account changes; the purge of the change is asked for at the
/// other gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_began_before_a_purge_elsewhere_is_kept_by_nobody() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    let filling = gateways[0].ask(key("summary", "1")).await;
    gateways[1].vault.purge_account(&account("1")).await.unwrap();
    gateways[0].has_purged(1).await;
    filling.answer(&gateways[0], b"from before the change").await;
    gateways[0].vault.flush().await;
    gateways[0].fill(key("summary", "2"), b"a later record").await;
    gateways[1].answers(&key("summary", "2"), b"a later record").await;
    for gateway in &gateways {
        assert_eq!(gateway.kept(key("summary", "1")).await, None);
    }
}

/// Two gateways fill and purge one account all at once. Whatever the order in which Kafka puts
/// it: once a purge has returned, its gateway does not give what the backend gave before it, and
/// when all is quiet neither does any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_from_before_a_purge_outlives_it_anywhere() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    let version = std::sync::atomic::AtomicU64::new(0);
    // Each request has a key of its own, which remembers its lookup.
    let asked = || key("summary", "1");
    let filler = async |gateway: &Gateway| {
        for _ in 0..300 {
            let mut cache = HttpCache::new();
            gateway.vault.enable_on(&mut cache, PATIENCE);
            cache.set_cache_key(asked());
            if cache.cache_lookup().await.unwrap().is_none() {
                cache.cache_miss();
                // The backend takes a while over what it knew at first.
                let body = version.load(std::sync::atomic::Ordering::SeqCst).to_string();
                tokio::time::sleep(Duration::from_millis(3)).await;
                Filling(cache).answer(gateway, body.as_bytes()).await;
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let purger = async |gateway: &Gateway| {
        for number in 1..=60 {
            version.fetch_max(number, std::sync::atomic::Ordering::SeqCst);
            gateway.vault.purge_account(&account("1")).await.unwrap();
            if let Some(body) = gateway.kept(asked()).await {
                let seen: u64 = String::from_utf8(body).unwrap().parse().unwrap();
                assert!(seen >= number, "saw {seen} after the purge of {number}");
            }
        }
    };
    tokio::join!(filler(&gateways[0]), filler(&gateways[1]), purger(&gateways[0]));
    // One more answer, behind everything else in the partition.
    let last = key("last", "1");
    gateways[0].fill(last.clone(), b"last").await;
    for gateway in &gateways {
        gateway.answers(&last, b"last").await;
        if let Some(body) = gateway.kept(asked()).await {
            assert_eq!(String::from_utf8(body).unwrap(), "60");
        }
    }
    let late = fleet.current(1).await.remove(0);
    if let Some(body) = late.kept(asked()).await {
        assert_eq!(String::from_utf8(body).unwrap(), "60");
    }
}
