//! What backends say about accounts that changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate::config::model::{Access, Action, Dialect, PathPattern, PathTail, Route, RouteMatch};
use tollgate::config::model::{RequestEdits, ResponseEdits, Topic};
use tollgate::request::{Clock, UnixMillis};

use super::*;

fn now() -> UnixMillis {
    SystemClock.now()
}

async fn say(fleet: &Fleet, event: &Value) {
    fleet.write(Topic::AccountChanges, 0, b"any", event.to_string().as_bytes()).await;
}

fn route(id: &str, classes: &[&str]) -> Arc<Route> {
    let classes = classes.iter().map(|class| (*class).into()).collect();
    Arc::new(Route {
        id: RouteId::new(id),
        matches: RouteMatch {
            hosts: Vec::new(),
            path: PathPattern {
                source: "/".into(),
                segments: Vec::new(),
                tail: PathTail::End { slash: true },
            },
            methods: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
        },
        authenticate: Vec::new(),
        access: Access::default(),
        rates: Vec::new(),
        concurrency: Vec::new(),
        max_body: 0,
        account: None,
        quotas: Vec::new(),
        cache: Some(CachePolicy { data_classes: classes, ..policy() }),
        action: Action::Answer {
            status: http::StatusCode::OK,
            headers: http::HeaderMap::new(),
            body: "".into(),
        },
        request: RequestEdits::default(),
        response: ResponseEdits::default(),
        dialect: Dialect::default(),
        deadline: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_removes_the_account_s_answers_at_every_gateway() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    for number in ["1", "2"] {
        gateways[0].fill(key("summary", number), b"kept").await;
        gateways[1].answers(&key("summary", number), b"kept").await;
    }
    say(&fleet, &json!({"account": "1", "data_class": "balances", "time": now().rfc3339()})).await;
    for gateway in &gateways {
        gateway.forgets(&key("summary", "1")).await;
        assert_eq!(gateway.kept(key("summary", "2")).await.unwrap(), b"kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_after_the_change_is_kept() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    gateways[0].fill(key("old", "1"), b"before").await;
    gateways[1].answers(&key("old", "1"), b"before").await;
    let changed = now();
    until("a moment has passed", || now() > changed).await;
    gateways[0].fill(key("new", "1"), b"after").await;
    gateways[1].answers(&key("new", "1"), b"after").await;
    say(&fleet, &json!({"account": "1", "time": changed.rfc3339()})).await;
    for gateway in &gateways {
        gateway.forgets(&key("old", "1")).await;
        assert_eq!(gateway.kept(key("new", "1")).await.unwrap(), b"after");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_one_class_leaves_routes_that_show_others() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateways = fleet.current(2).await;
    let routes = [route("cards", &["cards"]), route("both", &["cards", "balances"])];
    for gateway in &gateways {
        gateway.vault.know_routes(&routes);
    }
    for name in ["cards", "both", "anything"] {
        gateways[0].fill(key(name, "1"), b"kept").await;
        gateways[1].answers(&key(name, "1"), b"kept").await;
    }
    say(&fleet, &json!({"account": "1", "data_class": "balances", "time": now().rfc3339()})).await;
    for gateway in &gateways {
        gateway.forgets(&key("both", "1")).await;
        gateway.forgets(&key("anything", "1")).await;
        gateway.vault.flush().await;
        assert_eq!(gateway.kept(key("cards", "1")).await.unwrap(), b"kept");
    }
    say(&fleet, &json!({"account": "1", "time": now().rfc3339()})).await;
    for gateway in &gateways {
        gateway.forgets(&key("cards", "1")).await;
    }
}

/// The answers are older than the change, and so is what a gateway reads that begins only now.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_reads_from_the_start_does_not_bring_back_what_changed() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateway = fleet.current(1).await.remove(0);
    gateway.fill(key("summary", "1"), b"before").await;
    gateway.fill(key("summary", "2"), b"kept").await;
    until("all was sent", || gateway.sent("delivered") == 2).await;
    say(&fleet, &json!({"account": "1", "time": now().rfc3339()})).await;
    gateway.forgets(&key("summary", "1")).await;
    let late = fleet.current(1).await.remove(0);
    assert_eq!(late.kept(key("summary", "1")).await, None);
    assert_eq!(late.kept(key("summary", "2")).await.unwrap(), b"kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_while_a_gateway_was_away_is_not_missed() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateway = fleet.current(1).await.remove(0);
    for number in ["1", "2"] {
        gateway.fill(key("summary", number), b"kept").await;
    }
    until("all came back", || gateway.read("known") == 2).await;
    let away = gateway.close();
    say(&fleet, &json!({"account": "1", "time": now().rfc3339()})).await;
    let back = fleet.gateway_in(away);
    assert_eq!(back.kept(key("summary", "1")).await, None, "from the first moment on");
    back.is_current().await;
    assert_eq!(back.kept(key("summary", "1")).await, None);
    assert_eq!(back.kept(key("summary", "2")).await.unwrap(), b"kept");
    assert_eq!(back.read_in_all(), 1, "only what was new was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_are_counted_by_reason_and_passed_over() {
    let fleet = Fleet::new(Broker::shared()).await;
    let gateway = fleet.current(1).await.remove(0);
    gateway.fill(key("summary", "1"), b"kept").await;
    gateway.vault.flush().await;
    let time = now().rfc3339();
    let bad: BTreeMap<&str, Vec<u8>> = [
        ("not_json", b"{".to_vec()),
        ("form", json!({"account": "1", "time": time, "surprise": 1}).to_string().into_bytes()),
        ("account", json!({"account": "", "time": time}).to_string().into_bytes()),
        ("time", json!({"account": "1", "time": "now"}).to_string().into_bytes()),
        (
            "data_class",
            json!({"account": "1", "data_class": "", "time": time}).to_string().into_bytes(),
        ),
        ("too_large", vec![b' '; 5000]),
        ("empty", Vec::new()),
    ]
    .into();
    for event in bad.values() {
        fleet.write(Topic::AccountChanges, 0, b"any", event).await;
    }
    assert_eq!(gateway.kept(key("summary", "1")).await.unwrap(), b"kept");
    say(&fleet, &json!({"account": "1", "time": time})).await;
    gateway.forgets(&key("summary", "1")).await;
    for reason in bad.keys() {
        let series = format!("tollgate_change_events_bad_total{{reason=\"{reason}\"}}");
        assert_eq!(gateway.metric(&series), 1, "{reason}");
    }
}
