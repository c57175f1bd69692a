//! The cache while Kafka is away.

use super::*;

/// Frozen rather than gone: connections stay, and nothing answers.
#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_frozen_the_cache_goes_on_and_owes_its_purges() {
    let broker = Broker::own(&[]);
    let fleet = Fleet::new(&broker).await;
    let gateways = fleet.current(2).await;
    for number in ["1", "2", "3"] {
        gateways[0].fill(key("summary", number), b"kept").await;
        gateways[1].answers(&key("summary", number), b"kept").await;
    }
    broker.signal(1, "STOP");
    gateways[0].fill(key("summary", "4"), b"meanwhile").await;
    assert_eq!(gateways[0].kept(key("summary", "4")).await.unwrap(), b"meanwhile");
    assert_eq!(gateways[1].kept(key("summary", "3")).await.unwrap(), b"kept");

    // A client whose request changed the account is not kept waiting as long as an operator.
    let first = account("1");
    let changed = gateways[0].vault.purge_changed(&first);
    let told = tokio::time::timeout(fleet.kafka.delivery_timeout / 2, changed).await;
    assert!(matches!(told, Ok(Err(VaultError::Owed))), "{told:?}");
    let purged = gateways[0].vault.purge_account(&first).await;
    assert!(matches!(purged, Err(VaultError::Owed)), "{purged:?}");
    assert_eq!(gateways[0].kept(key("summary", "1")).await, None, "done where it was asked for");
    assert_eq!(gateways[0].vault.feed().unwrap().owed_purges, 1);
    // Nobody waits for Kafka again, now that it is known not to answer.
    let second = account("2");
    let again = gateways[0].vault.purge_account(&second);
    let told = tokio::time::timeout(fleet.kafka.delivery_timeout / 2, again).await;
    assert!(matches!(told, Ok(Err(VaultError::Owed))), "{told:?}");

    broker.signal(1, "CONT");
    gateways[1].forgets(&key("summary", "1")).await;
    gateways[1].forgets(&key("summary", "2")).await;
    until("nothing is owed", || gateways[0].vault.feed().unwrap().owed_purges == 0).await;
    assert_eq!(gateways[1].kept(key("summary", "3")).await.unwrap(), b"kept");
    gateways[0].vault.purge_account(&account("3")).await.unwrap();
    gateways[1].forgets(&key("summary", "3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_is_owed_outlives_a_restart_without_kafka() {
    let broker = Broker::own(&[]);
    let fleet = Fleet::new(&broker).await;
    let mut gateways = fleet.current(2).await;
    for number in ["1", "2"] {
        gateways[0].fill(key("summary", number), b"kept").await;
        gateways[1].answers(&key("summary", number), b"kept").await;
    }
    let other = gateways.pop().unwrap();
    let one = gateways.pop().unwrap();
    broker.kill(1);
    let purged = one.vault.purge_account(&account("1")).await;
    assert!(matches!(purged, Err(VaultError::Owed)), "{purged:?}");
    let one = one.restart(&fleet);
    // Kafka is away: it goes on with what is on its disk.
    one.answers(&key("summary", "2"), b"kept").await;
    assert_eq!(one.kept(key("summary", "1")).await, None);
    assert_eq!(other.kept(key("summary", "1")).await.unwrap(), b"kept", "it can't know");
    broker.start(1);
    other.forgets(&key("summary", "1")).await;
    one.is_current().await;
    assert_eq!(one.kept(key("summary", "2")).await.unwrap(), b"kept");
    until("nothing is owed", || one.vault.feed().unwrap().owed_purges == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_kafka_is_bounded_however_long_it_is_away() {
    let broker = Broker::own(&[]);
    let fleet = Fleet::new(&broker).await;
    let gateway = fleet.current(1).await.remove(0);
    broker.signal(1, "STOP");
    let body = vec![b'x'; 150_000];
    for number in 0..400 {
        gateway.fill(key("summary", &number.to_string()), &body).await;
        gateway.vault.flush().await;
        if gateway.sent("queue_full") > 0 {
            break;
        }
    }
    assert!(gateway.sent("queue_full") > 0);
    until("what waited was given up", || gateway.sent("undelivered") > 0).await;
    assert_eq!(gateway.kept(key("summary", "0")).await.unwrap(), body, "it stays here");
    broker.signal(1, "CONT");
    let delivered = gateway.sent("delivered");
    gateway.fill(key("summary", "later"), b"kept").await;
    until("it is sent again", || gateway.sent("delivered") > delivered).await;
}
