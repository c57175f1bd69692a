use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use tokio::sync::mpsc;

use super::super::Tried;
use super::*;

/// A name server whose answers the test changes.
#[derive(Debug)]
struct Directory {
    answers: Mutex<HashMap<String, Vec<IpAddr>>>,
    asked: mpsc::UnboundedSender<String>,
}

impl Directory {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<String>) {
        let (asked, questions) = mpsc::unbounded_channel();
        (Arc::new(Self { answers: Mutex::default(), asked }), questions)
    }

    fn set(&self, host: &str, addresses: &[[u8; 4]]) {
        let addresses = addresses.iter().map(|octets| IpAddr::from(*octets)).collect();
        self.answers.lock().unwrap().insert(host.into(), addresses);
    }
}

#[async_trait]
impl Names for Directory {
    async fn addresses(&self, host: &str) -> Result<Resolved, NetError> {
        let answer = self.answers.lock().unwrap().get(host).cloned();
        let _ = self.asked.send(host.into());
        match answer {
            Some(addresses) => Ok(Resolved { addresses, valid_for: Duration::ZERO }),
            None => Err(NetError::Unresolved { host: host.into(), why: "NXDOMAIN".into() }),
        }
    }
}

fn named(hosts: &[&str]) -> Cluster {
    let endpoints =
        hosts.iter().map(|host| Endpoint { host: (*host).into(), port: 8080, weight: 1 });
    Cluster { endpoints: endpoints.collect(), ..cluster([]) }
}

fn resolving(resolver: Arc<dyn Names>) -> Shared {
    Shared { resolver, ..shared() }
}

fn listed(cluster: &LiveCluster) -> Vec<String> {
    cluster.describe().endpoints.iter().map(|it| it.address.to_string()).collect()
}

#[tokio::test]
async fn a_name_stands_for_all_its_addresses_and_changes_are_followed() {
    let (directory, mut questions) = Directory::new();
    directory.set("api.bank.example", &[[127, 0, 0, 2], [127, 0, 0, 1]]);
    let model = named(&["api.bank.example", "127.0.0.9"]);
    let clusters = clusters_of(&[&model], None, resolving(directory.clone()));
    let cluster = clusters.get("accounts").unwrap();
    assert_eq!(listed(&cluster), ["127.0.0.9:8080"]);
    clusters.start(AMPLE).await;
    assert_eq!(listed(&cluster), ["127.0.0.1:8080", "127.0.0.2:8080", "127.0.0.9:8080"]);
    assert_eq!(&*cluster.describe().endpoints[0].host, "api.bank.example");

    let held = cluster.pick(&Tried::default(), None).unwrap();
    assert_eq!(held.label().as_ref(), "127.0.0.1:8080");
    assert_eq!(held.authority(), "api.bank.example:8080");
    directory.set("api.bank.example", &[[127, 0, 0, 3], [127, 0, 0, 1]]);
    // Its TTL of nothing is stretched to a second; then it is asked for again unbidden.
    assert_eq!(questions.recv().await.unwrap(), "api.bank.example");
    assert_eq!(questions.recv().await.unwrap(), "api.bank.example");
    let followed = ["127.0.0.1:8080", "127.0.0.3:8080", "127.0.0.9:8080"];
    until("the change is followed", || listed(&cluster) == followed).await;
    // The request that is on its way still counts where it was.
    assert_eq!(cluster.describe().endpoints[0].in_flight, 1);
}

#[tokio::test]
async fn a_name_that_can_not_be_resolved_any_more_keeps_its_addresses() {
    let (directory, _questions) = Directory::new();
    directory.set("api.bank.example", &[[127, 0, 0, 1]]);
    let cluster = live(&named(&["api.bank.example"]), resolving(directory.clone()));
    cluster.first_round().await;
    directory.answers.lock().unwrap().clear();
    cluster.first_round().await;
    directory.set("api.bank.example", &[]);
    cluster.first_round().await;
    assert_eq!(listed(&cluster), ["127.0.0.1:8080"]);
}

#[tokio::test]
async fn a_reload_while_the_name_server_is_down_loses_no_address() {
    let (directory, _questions) = Directory::new();
    directory.set("api.bank.example", &[[127, 0, 0, 1]]);
    let model = named(&["api.bank.example"]);
    let before = clusters_of(&[&model], None, resolving(directory.clone()));
    before.start(AMPLE).await;
    directory.answers.lock().unwrap().clear();
    let changed = Cluster { retries: retries(1, 20, &[]), ..model };
    let after = clusters_of(&[&changed], Some(&before), resolving(directory));
    after.start(AMPLE).await;
    assert_eq!(listed(&after.get("accounts").unwrap()), ["127.0.0.1:8080"]);
}

/// Never answers.
#[derive(Debug)]
struct Mute;

#[async_trait]
impl Names for Mute {
    async fn addresses(&self, _: &str) -> Result<Resolved, NetError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn requests_never_wait_for_a_name_server() {
    let clusters = clusters_of(&[&named(&["api.bank.example"])], None, resolving(Arc::new(Mute)));
    clusters.start(Duration::from_millis(20)).await;
    let cluster = clusters.get("accounts").unwrap();
    let request = get();
    let called = cluster.call(&request, limits(), None);
    let error = tokio::time::timeout(AMPLE, called).await.unwrap().unwrap_err();
    assert_eq!(error, super::super::CallError::NoEndpoint);
}

#[tokio::test]
async fn one_address_under_two_names_is_two_endpoints_and_under_one_name_is_one() {
    let (directory, _questions) = Directory::new();
    directory.set("a.bank.example", &[[127, 0, 0, 1], [127, 0, 0, 1]]);
    directory.set("b.bank.example", &[[127, 0, 0, 1]]);
    let model = named(&["a.bank.example", "b.bank.example"]);
    let cluster = live(&model, resolving(directory));
    cluster.first_round().await;
    assert_eq!(listed(&cluster), ["127.0.0.1:8080", "127.0.0.1:8080"]);
}
