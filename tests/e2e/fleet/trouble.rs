//! What is wrong in a fleet, and what goes on all the same.

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::broker::Broker;
use crate::support::fleet::{Fleet, one_rule};
use crate::support::{Bank, PATIENCE, Tollgate, eventually};

/// A record that nobody understands.
async fn damage(broker: &Broker, fleet: &Fleet, partition: i32) {
    let mut config = ClientConfig::new();
    let producer: FutureProducer =
        config.set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let topic = format!("{}.quotas", fleet.prefix);
    let record = FutureRecord::to(&topic).partition(partition).key(b"key").payload(&[9, 9, 9][..]);
    producer.send(record, PATIENCE).await.unwrap();
}

/// An account that is counted in this partition, or in any other.
async fn account(gateway: &Tollgate, partition: u64, there: bool) -> String {
    for number in 4711..5711 {
        let account = number.to_string();
        let view = gateway.view(&format!("/quotas/{account}")).await;
        if (view["partition"] == partition) == there {
            return account;
        }
    }
    panic!("no such account");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_stops_its_accounts_and_no_others_also_after_a_restart() {
    let (broker, bank) = (Broker::shared(), Bank::start().await);
    let token = bank.token("budget-app").await;
    let mut fleet = Fleet::start(broker, &bank, 2, &one_rule("roomy", 1_000_000)).await;
    damage(broker, &fleet, 3).await;
    let restarted = fleet.gateways.remove(0);
    restarted.terminate_and_wait().await;
    fleet.join();
    for gateway in &fleet.gateways {
        gateway.until_ready().await;
        eventually("the damage to be told", async || {
            let ready = gateway.view("/ready").await;
            let told = ready["degraded"].to_string();
            if told.contains("of partition 3") && ready["ready"] == true {
                Ok(())
            } else {
                Err(ready)
            }
        })
        .await;
        let lost = account(gateway, 3, true).await;
        let answer = gateway.get(&format!("/roomy/{lost}"), &token).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        let served = account(gateway, 3, false).await;
        let answer = gateway.get(&format!("/roomy/{served}"), &token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_of_one_name_are_told() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 1, &one_rule("roomy", 1_000_000)).await;
    let host = fleet.gateways[0].address().to_string();
    fleet.join_as(&host);
    eventually("the name to be told", async || {
        let told = fleet.gateways[0].view("/ready").await["degraded"].to_string();
        if told.contains("fleet.advertise") { Ok(()) } else { Err(told) }
    })
    .await;
}
