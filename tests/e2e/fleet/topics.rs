//! Topics that no longer are what counting needs, or are not yet: what a gateway that runs says of
//! them, and what it refuses.

use std::fs;

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::support::fleet::{Fleet, one_rule};
use crate::support::wire::metric_becomes;
use crate::support::{Answer, Bank, Tollgate, eventually};

/// The commands that a text names.
fn commands(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once("mend: ")).map(|(_, command)| command).collect()
}

async fn reload(gateway: &Tollgate) -> Answer {
    gateway.command("/reload", json!({})).await
}

/// Why a reload was refused; what was in use still is.
async fn refused(gateway: &Tollgate) -> String {
    let revision = gateway.view("/config").await["revision"].clone();
    let answer = reload(gateway).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    let view = gateway.view("/config").await;
    assert_eq!(view["revision"], revision);
    let window = &view["configuration"]["quotas"]["daily"]["window"];
    assert_eq!(window, "24h", "the old configuration stays");
    answer.json()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_to_a_window_that_the_topic_does_not_outlive_is_refused() {
    let broker = Broker::own(&[]);
    let bank = Bank::start().await;
    let fleet = Fleet::start(&broker, &bank, 1, &one_rule("daily", 50)).await;
    let gateway = &fleet.gateways[0];
    let written = fs::read_to_string(gateway.folder().join("tollgate.yaml")).unwrap();
    let longer = written.replace("window: 24h", "window: 30d");
    assert_ne!(written, longer);

    // Nobody can say how long the topic keeps what.
    broker.kill(1);
    gateway.rewrite_config(&longer);
    let reason = refused(gateway).await;
    assert!(reason.contains("Kafka can't be asked"), "{reason}");
    assert!(reason.contains("Reload again"), "{reason}");
    // What needs no longer topic needs no Kafka either.
    gateway.rewrite_config(&written.replace("limit: 50", "limit: 51"));
    let answer = reload(gateway).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    broker.start(1);
    gateway.rewrite_config(&longer);
    let reason = eventually("Kafka to say that it is too short", async || {
        let reason = refused(gateway).await;
        if reason.contains("retention.ms") { Ok(reason) } else { Err(reason) }
    })
    .await;
    assert!(reason.contains("the longest window is 30d"), "{reason}");
    let [command] = commands(&reason)[..] else { panic!("{reason}") };
    assert!(command.starts_with("kafka-configs.sh --bootstrap-server"), "{command}");
    Broker::tool_works(command, &gateway.folder());
    eventually("the longer window to be taken", async || {
        let answer = reload(gateway).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    let view = gateway.view("/config").await;
    assert_eq!(view["configuration"]["quotas"]["daily"]["window"], "30d");
}

/// What readiness says is wrong, once a reload was asked for: that has it look at the topics.
async fn degraded(gateway: &Tollgate) -> String {
    assert_eq!(reload(gateway).await.status, 200);
    let view = gateway.view("/ready").await;
    assert_eq!(view["ready"], true, "{view}");
    let wrong = view["degraded"].as_array().map(Vec::as_slice).unwrap_or_default();
    wrong.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_has_become_unsafe_is_told_until_it_is_mended() {
    let broker = Broker::shared();
    let bank = Bank::start().await;
    let fleet = Fleet::start(broker, &bank, 1, &one_rule("daily", 50)).await;
    let gateway = &fleet.gateways[0];
    let written = fs::read_to_string(gateway.folder().join("tollgate.yaml")).unwrap();
    let (_, prefix) = written.split_once("topic_prefix: ").unwrap();
    let (prefix, _) = prefix.split_once(',').unwrap();
    let change = format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name \
         {prefix}.quotas --add-config retention.ms=3600000",
        broker.bootstrap()
    );
    Broker::tool_works(&change, &gateway.folder());
    let told = eventually("the change to be seen", async || {
        let told = degraded(gateway).await;
        if told.contains("retention.ms is 3600000") { Ok(told) } else { Err(told) }
    })
    .await;
    metric_becomes(gateway, "tollgate_kafka_unsafe_findings", 1).await;
    let view = gateway.view("/fleet").await;
    assert_eq!(view["journal"]["unsafe"], json!([told]));
    let shown = gateway.ask(&["fleet"], None);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&told), "{shown:?}");
    assert_eq!(gateway.log().matches("retention.ms is 3600000").count(), 1, "{}", gateway.log());

    let [command] = commands(&told)[..] else { panic!("{told}") };
    Broker::tool_works(command, &gateway.folder());
    eventually("the remedy to be seen", async || {
        let told = degraded(gateway).await;
        if told.is_empty() { Ok(()) } else { Err(told) }
    })
    .await;
    metric_becomes(gateway, "tollgate_kafka_unsafe_findings", 0).await;
}
