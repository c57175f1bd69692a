//! Several gateways on one real Kafka.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use super::gateway::base_config;
use super::tls::{Authority, Signed};
use super::{Bank, Tollgate, eventually, own_address};
use crate::broker::Broker;

/// Partitions of a test's topics.
pub const PARTITIONS: u32 = 6;

/// A strict rule of so many uses a day for each account, and the route `/NAME/ACCOUNT` that asks it.
pub fn one_rule(name: &str, limit: u32) -> String {
    format!(
        "quotas:\n  {name}: {{ per: [account], limit: {limit}, window: 24h }}\nroutes:\n  \
         - {{ id: {name}, match: {{ path: \"/{name}/{{account}}\" }}, authenticate: bank, account: path.account, \
         quotas: [{name}], cluster: checking, rewrite: {{ path: /echo/fleet }} }}\n"
    )
}

/// Gateways that count together.
pub struct Fleet {
    pub gateways: Vec<Tollgate>,
    pub authority: Authority,
    /// Of the topics' names.
    pub prefix: String,
    config: String,
}

impl Fleet {
    /// Gateways with these quotas and routes, once each of them owns something.
    pub async fn start(broker: &Broker, bank: &Bank, size: usize, routes: &str) -> Self {
        Self::start_by(broker, broker.bootstrap(), bank, size, routes).await
    }

    /// The same by another way to the broker.
    pub async fn start_by(
        broker: &Broker,
        bootstrap: &str,
        bank: &Bank,
        size: usize,
        routes: &str,
    ) -> Self {
        let mut fleet = Self::empty_by(broker, bootstrap, bank, routes);
        for _ in 0..size {
            fleet.join();
        }
        fleet.until_shared_out().await;
        fleet
    }

    /// Topics and certificates for a fleet, and no gateway yet.
    pub async fn empty(broker: &Broker, bank: &Bank, routes: &str) -> Self {
        Self::empty_by(broker, broker.bootstrap(), bank, routes)
    }

    fn empty_by(broker: &Broker, bootstrap: &str, bank: &Bank, routes: &str) -> Self {
        let prefix = broker.topic_prefix();
        let authority = Authority::new("fleet");
        let bootstrap: Vec<&str> = bootstrap.split(',').collect();
        let base = base_config(bank).replace(
            "state: { directory: FOLDER/state }",
            "state: { directory: FOLDER/state, account_key: 0123456789abcdef0123456789abcdef }\n\
             cache: { sealing_keys: [0123456789abcdef0123456789abcdef] }",
        );
        let shared = format!(
            "kafka: {{ brokers: {bootstrap:?}, topic_prefix: {prefix}, partitions: {PARTITIONS}, replication: 1 }}\n\
             fleet: {{ listen: ADDRESS:7443, advertise: ADDRESS:7443, authorities: {}, certificate: CERTIFICATE, key: KEY }}\n",
            authority.file().display()
        );
        let config = base.replace("clusters:\n", &format!("{shared}clusters:\n")) + routes;
        let fleet = Self { gateways: Vec::new(), authority, prefix, config };
        fleet.make_topics();
        fleet
    }

    /// Starts one more gateway.
    pub fn join(&mut self) {
        let joined = self.newcomer(|config| config);
        self.gateways.push(joined);
    }

    /// Starts one more gateway by way of a command that runs it.
    pub fn join_under(&mut self, under: Vec<String>) {
        let address = own_address();
        let config = self.config_of(&format!("gateway-{}", self.gateways.len()), address);
        self.gateways.push(Tollgate::start_under(under, address, &config));
    }

    /// Starts one more gateway that tells the others of another host than its own address, and has
    /// a certificate for it.
    pub fn join_as(&mut self, host: &str) {
        let address = own_address();
        let signed = self.authority.sign(&format!("gateway-{}", self.gateways.len()), &[host]);
        let config = self.config_with(&signed);
        let config = config.replace("advertise: ADDRESS:", &format!("advertise: {host}:"));
        self.gateways.push(Tollgate::start_at(address, &config));
    }

    /// One that starts beside the others with a changed configuration.
    pub fn newcomer(&self, change: impl Fn(String) -> String) -> Tollgate {
        let address = own_address();
        let file = format!("gateway-{}", self.gateways.len());
        Tollgate::start_at(address, &change(self.config_of(&file, address)))
    }

    fn config_of(&self, file: &str, address: Ipv4Addr) -> String {
        self.config_with(&self.authority.sign(file, &[&address.to_string()]))
    }

    fn config_with(&self, signed: &Signed) -> String {
        self.config
            .replace("CERTIFICATE", &signed.certificate_file.display().to_string())
            .replace("KEY", &signed.key_file.display().to_string())
    }

    fn make_topics(&self) {
        let address = own_address();
        let made = Tollgate::run(address, &self.config_of("init", address), &["kafka", "init"]);
        assert!(made.status.success(), "{made:?}");
    }

    /// Waits until all gateways are ready, each owns something, and all agree on who owns what.
    pub async fn until_shared_out(&self) {
        let names: Vec<String> = self.gateways.iter().map(Self::name).collect();
        self.until_shared_out_among(&names).await;
    }

    /// The same where not all call themselves by their own addresses.
    pub async fn until_shared_out_among(&self, names: &[String]) {
        for gateway in &self.gateways {
            gateway.until_ready().await;
        }
        eventually("the partitions to be shared out", async || {
            let views = self.owners().await;
            let same = views.iter().all(|owners| *owners == views[0]);
            let each = names.iter().all(|name| views[0].contains(name));
            if same && each && views[0].len() == PARTITIONS as usize { Ok(()) } else { Err(views) }
        })
        .await;
        // Shared out once more while the last one joins, they may be on the move.
        eventually("the partitions to rest", async || {
            let before = self.epochs().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let after = self.epochs().await;
            if before == after { Ok(()) } else { Err((before, after)) }
        })
        .await;
    }

    /// The owner of each partition, as each gateway sees it.
    pub async fn owners(&self) -> Vec<Vec<String>> {
        self.seen(|partition| partition["owner"].as_str().map(str::to_owned)).await
    }

    async fn epochs(&self) -> Vec<Vec<u64>> {
        self.seen(|partition| partition["epoch"].as_u64()).await
    }

    async fn seen<T>(&self, what: impl Fn(&Value) -> Option<T>) -> Vec<Vec<T>> {
        let mut all = Vec::new();
        for gateway in &self.gateways {
            let view = gateway.view("/fleet").await;
            all.push(view["partitions"].as_array().unwrap().iter().filter_map(&what).collect());
        }
        all
    }

    /// What a gateway calls itself.
    pub fn name(gateway: &Tollgate) -> String {
        format!("{}:7443", gateway.address())
    }

    /// The place among the gateways of the one that owns an account, as the first sees it.
    pub async fn owner_of(&self, account: &str) -> usize {
        self.owner_of_at(account, 0).await
    }

    /// The same as another one sees it.
    pub async fn owner_of_at(&self, account: &str, at: usize) -> usize {
        let view = self.gateways[at].view(&format!("/quotas/{account}")).await;
        let owner = view["owner"].as_str().unwrap_or_default().to_owned();
        let place = self.gateways.iter().position(|one| Self::name(one) == owner);
        place.unwrap_or_else(|| panic!("{owner} is none of them: {view}"))
    }

    /// An account whose owner calls itself so, as a gateway sees it.
    pub async fn account_owned_by(&self, name: &str, at: usize) -> String {
        for number in 4711..5711 {
            let account = number.to_string();
            let view = self.gateways[at].view(&format!("/quotas/{account}")).await;
            if view["owner"] == name {
                return account;
            }
        }
        panic!("{name} owns nothing");
    }

    /// An account that this gateway owns.
    pub async fn account_of(&self, gateway: usize) -> String {
        self.account_from(4711, gateway).await
    }

    /// One with a number from there on.
    pub async fn account_from(&self, first: u32, gateway: usize) -> String {
        for number in first..first + 1000 {
            let account = number.to_string();
            if self.owner_of(&account).await == gateway {
                return account;
            }
        }
        panic!("gateway {gateway} owns nothing");
    }
}
