//! What clients see of restarts and upgrades: nothing.

mod download;
mod load;

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use self::download::Download;
use self::load::{Load, used};
use crate::support::gateway::ADMIN_TOKEN;
use crate::support::{Backend, PATIENCE, Tollgate, eventually, is_running, own_address};

/// Backends, and a configuration for a gateway in front of them.
struct World {
    download: Download,
    config: String,
    _backend: Backend,
}

impl World {
    async fn start() -> Self {
        let backend = Backend::start(|_| Response::new(Bytes::from_static(b"answer"))).await;
        let download = Download::start().await;
        let config = format!(
            "listen:\n  - address: ADDRESS:8080\nadmin: {{ address: ADDRESS:9901, token: {ADMIN_TOKEN} }}\n\
             state: {{ directory: FOLDER/state }}\n\
             observe: {{ access_log: {{ file: FOLDER/access.log }}, drain_timeout: 1h }}\n\
             clusters:\n  main: {{ endpoints: [127.0.0.1:{}] }}\n\
             \x20 slow: {{ endpoints: [127.0.0.1:{}], deadlines: {{ total: 10m, first_byte: 1m, idle: 1m }} }}\n\
             quotas:\n  strict: {{ per: [account], limit: 1000000, window: 24h }}\n\
             \x20 fast: {{ per: [account], limit: 1000000, window: 24h, accuracy: {{ fast: 100 }} }}\n\
             \x20 failing: {{ per: [account], limit: 10, window: 24h, counts: success }}\n\
             routes:\n{}{}{}{}{}",
            backend.port(),
            download.port(),
            route("strict", "main"),
            route("fast", "main"),
            route("download", "slow").replace("quotas: [download]", "quotas: [strict]"),
            route("failing", "slow"),
            "  - { id: version, match: { path: /version }, authenticate: none, answer: { body: one } }\n"
        );
        Self { download, config, _backend: backend }
    }
}

fn route(name: &str, cluster: &str) -> String {
    format!(
        "  - {{ id: {name}, match: {{ path: \"/{name}/{{account}}\" }}, authenticate: none, \
         account: path.account, quotas: [{name}], cluster: {cluster} }}\n"
    )
}

fn listening(address: Ipv4Addr) -> TcpListener {
    TcpListener::bind((address, 8080)).unwrap()
}

/// How often in the tests that are always run, and in the long one.
const FEW: usize = 5;
const MANY: usize = 100;

async fn restart(world: &World, times: usize) {
    let address = own_address();
    let mut gateway = Tollgate::start_behind(listening(address), address, &world.config);
    gateway.until_ready().await;
    let load = Load::start(gateway.url(""));
    for time in 0..times {
        load.until_served_again().await;
        gateway.terminate();
        let exit = gateway.exit().await;
        assert!(exit.success(), "restart {time}: {exit}; {}", gateway.log());
        gateway.relaunch();
    }
    load.until_served_again().await;
    load.stop_and_judge(&gateway).await;
}

#[tokio::test]
async fn restarts_behind_the_service_manager_s_socket_fail_no_request_and_count_each_use_once() {
    restart(&World::start().await, FEW).await;
}

#[tokio::test]
async fn sockets_that_do_not_fit_the_configuration_are_told_at_start() {
    let world = World::start().await;
    let address = own_address();
    let start = async |socket: TcpListener, config: &str| {
        let mut gateway = Tollgate::start_behind(socket, address, config);
        let exit = tokio::time::timeout(PATIENCE, gateway.exit()).await.unwrap();
        (exit.code(), gateway.log())
    };
    let other = || TcpListener::bind((address, 0)).unwrap();
    let (code, log) = start(other(), &world.config).await;
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains(&format!("no socket for {address}:8080: add `ListenStream=")), "{log}");
    let nothing = world
        .config
        .replace("listen:\n  - address: ADDRESS:8080", "listen:\n  - address: ADDRESS:8081");
    let (code, log) = start(listening(address), &nothing).await;
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains(&format!("no socket for {address}:8081")), "{log}");
}

#[tokio::test]
async fn an_idle_gateway_without_connections_ends_at_once() {
    let world = World::start().await;
    let mut gateway = Tollgate::start(&world.config).await;
    gateway.until_ready().await;
    gateway.terminate();
    let exit = tokio::time::timeout(Duration::from_secs(30), gateway.exit()).await.unwrap();
    assert!(exit.success(), "{exit}");
}

/// The download's account: a request that runs across all that happens.
const LONG: &str = "/download/4799";

/// Upgrades under load; a download runs across each few of them.
async fn upgrade(world: &World, rounds: usize) {
    let gateway = Tollgate::start(&world.config).await;
    let load = Load::start(gateway.url(""));
    let mut serving: u32 = gateway.pid().parse().unwrap();
    for round in 0..rounds {
        serving = upgrade_across_a_download(world, &gateway, &load, serving).await;
        let downloads = round as u64 + 1;
        assert_eq!(used(&gateway, "4799", "strict").await, downloads, "round {round}");
    }
    load.until_served_again().await;
    load.stop_and_judge(&gateway).await;
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("tollgate_upgrades_total{ok=\"true\"} 1"), "{metrics}");
}

/// Upgrades a few times, beginning with the process given; says which serves in the end.
async fn upgrade_across_a_download(
    world: &World,
    gateway: &Tollgate,
    load: &Load,
    first: u32,
) -> u32 {
    world.download.begin();
    // A connection of its own: no other request tells when its process may end.
    let client = reqwest::Client::new();
    let mut long = client.get(gateway.url(LONG)).send().await.unwrap();
    assert!(long.chunk().await.unwrap().is_some());
    let mut serving = first;
    for time in 0..FEW {
        load.until_served_again().await;
        let done = gateway.upgrade().await;
        assert_eq!(done.status, 200, "upgrade {time}: {done:?}; {}", gateway.log());
        assert_eq!(done.json()["replaced"], serving, "{done:?}");
        serving = done.json()["process"].as_u64().unwrap() as u32;
    }
    load.until_served_again().await;
    assert!(is_running(first), "it has not ended what it had begun");
    world.download.end();
    let mut last = Vec::new();
    while let Some(piece) = long.chunk().await.expect("the download broke off") {
        last = piece.to_vec();
    }
    assert!(last.ends_with(b"end"), "{last:?}");
    drop((long, client));
    eventually("the old processes to end", async || match gateway.processes() {
        left if left == [serving] => Ok(()),
        left => Err(left),
    })
    .await;
    serving
}

#[tokio::test]
async fn upgrades_under_load_fail_no_request_and_count_each_use_once() {
    upgrade(&World::start().await, 1).await;
}

/// Some minutes: `make upgrades`.
#[tokio::test]
#[ignore = "long"]
async fn a_hundred_upgrades_and_a_hundred_restarts_fail_no_request_and_count_each_use_once() {
    upgrade(&World::start().await, MANY / FEW).await;
    restart(&World::start().await, MANY).await;
}

#[tokio::test]
async fn a_use_is_given_back_to_the_new_process_when_its_request_fails_after_the_upgrade() {
    let world = World::start().await;
    let gateway = Tollgate::start(&world.config).await;
    let asked = tokio::spawn(gateway.client().get(gateway.url("/failing/4711")).send());
    eventually("the use to be counted", async || match used(&gateway, "4711", "failing").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(gateway.upgrade().await.status, 200);
    assert_eq!(used(&gateway, "4711", "failing").await, 1, "its end is not known yet");
    world.download.end();
    let answer = asked.await.unwrap().unwrap();
    assert!(answer.status().is_server_error(), "{answer:?}");
    eventually("the use to be given back", async || {
        match used(&gateway, "4711", "failing").await {
            0 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// What is wrong, as the operator who asked is told.
async fn why_not(gateway: &Tollgate) -> String {
    let refused = gateway.upgrade().await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let view: Value = refused.json();
    view["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_program_or_a_configuration_that_is_no_good_leaves_the_old_process_serving() {
    let world = World::start().await;
    let gateway = Tollgate::start_by_link(&world.config).await;
    let load = Load::start(gateway.url(""));
    load.until_served_again().await;
    gateway.rewrite_config("listen: [");
    let why = why_not(&gateway).await;
    assert!(why.contains("tollgate.yaml"), "{why}");
    gateway.rewrite_config(&world.config.replace("FOLDER/state", "FOLDER/another"));
    let why = why_not(&gateway).await;
    assert!(why.contains("state.directory changed"), "{why}");
    gateway.rewrite_config(&world.config);
    gateway.replace_program("#!/bin/sh\nexit 7\n");
    let why = why_not(&gateway).await;
    assert!(why.contains("exit status: 7"), "{why}");
    gateway.replace_program("not a program");
    let why = why_not(&gateway).await;
    assert!(why.contains("can't be started"), "{why}");
    load.until_served_again().await;
    load.stop_and_judge(&gateway).await;
    assert_eq!(gateway.processes().len(), 1);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("tollgate_upgrades_total{ok=\"false\"} 4"), "{metrics}");
}

#[tokio::test]
async fn a_new_process_that_fails_with_the_state_in_its_hands_leaves_the_old_one_serving() {
    let world = World::start().await;
    let gateway = Tollgate::start(&world.config).await;
    let taken = TcpListener::bind((gateway.address(), 8081)).unwrap();
    let load = Load::start(gateway.url(""));
    let two = "listen:\n  - address: ADDRESS:8081\n  - address: ADDRESS:8080";
    gateway.rewrite_config(&world.config.replace("listen:\n  - address: ADDRESS:8080", two));
    for _ in 0..2 {
        load.until_served_again().await;
        let why = why_not(&gateway).await;
        assert!(why.contains("8081 is in use by another process"), "{why}");
    }
    load.until_served_again().await;
    // A port that a restart could open, an upgrade can too.
    drop(taken);
    let done = gateway.upgrade().await;
    assert_eq!(done.status, 200, "{done:?}; {}", gateway.log());
    load.until_served_again().await;
    load.stop_and_judge(&gateway).await;
    let new = format!("http://{}:8081/version", gateway.address());
    assert_eq!(gateway.client().get(new).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_command_and_the_signal_upgrade_and_the_command_says_what_came_of_it() {
    let world = World::start().await;
    let gateway = Tollgate::start_by_link(&world.config).await;
    let upgraded = |token| {
        let output = gateway.ask(&["upgrade"], token);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, told) = upgraded(None);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("TOLLGATE_ADMIN_TOKEN"), "{told}");
    let (code, told, _) = upgraded(Some(ADMIN_TOKEN));
    assert_eq!(code, Some(0), "{told}; {}", gateway.log());
    assert!(told.starts_with("process ") && told.contains(" has taken over: "), "{told}");
    assert!(told.contains(&format!("process {} ends what it has begun", gateway.pid())), "{told}");

    eventually("the old process to end", async || match &gateway.processes()[..] {
        [one] => Ok(*one),
        more => Err(more.to_vec()),
    })
    .await;
    let before = gateway.processes();
    let status =
        std::process::Command::new("kill").args(["-USR2", &before[0].to_string()]).status();
    assert!(status.unwrap().success());
    eventually("another process to serve alone", async || match gateway.processes() {
        now if now.len() == 1 && now != before => Ok(()),
        now => Err(now),
    })
    .await;
    assert_eq!(gateway.get("/version", "").await.status, 200);

    gateway.replace_program("#!/bin/sh\nexit 7\n");
    let (code, _, told) = upgraded(Some(ADMIN_TOKEN));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("refused (409): ") && told.contains("exit status: 7"), "{told}");
    assert_eq!(gateway.get("/version", "").await.status, 200);
}
