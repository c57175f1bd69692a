//! What clients see of restarts and upgrades: nothing.

mod download;
mod load;

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use self::download::Download;
use self::load::Load;
use crate::support::gateway::ADMIN_TOKEN;
use crate::support::{Backend, PATIENCE, Tollgate, own_address};

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
             observe: {{ access_log: {{ file: FOLDER/access.log }}, drain_timeout: 1m }}\n\
             clusters:\n  main: {{ endpoints: [127.0.0.1:{}] }}\n\
             \x20 slow: {{ endpoints: [127.0.0.1:{}], deadlines: {{ total: 10m, first_byte: 1m, idle: 1m }} }}\n\
             quotas:\n  strict: {{ per: [account], limit: 1000000, window: 24h }}\n\
             \x20 fast: {{ per: [account], limit: 1000000, window: 24h, accuracy: {{ fast: 100 }} }}\n\
             routes:\n{}{}{}{}",
            backend.port(),
            download.port(),
            route("strict", "main"),
            route("fast", "main"),
            route("download", "slow").replace("quotas: [download]", "quotas: [strict]"),
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
    let patient = world.config.replace("drain_timeout: 1m", "drain_timeout: 10m");
    let mut gateway = Tollgate::start_unready(&patient);
    gateway.until_ready().await;
    gateway.terminate();
    let exit = tokio::time::timeout(Duration::from_secs(30), gateway.exit()).await.unwrap();
    assert!(exit.success(), "{exit}");
}
