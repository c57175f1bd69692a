//! A fleet of three gateways, its Kafka and its backend, with everything between them in reach.

mod inflict;
mod logs;
mod whence;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::broker::Broker;
use crate::clock::WallClock;
use crate::config::{Place, half_a_day_ago};
use crate::fault::{GATEWAYS, Kind};
use crate::link::Link;
use crate::plan::Means;
use crate::shared::authority::{Authority, Signed};
use crate::shared::small_disk::SmallDisk;
use crate::support::{Tollgate, is_running, own_address};
use crate::witness::Witness;

/// Room for a gateway's state.
const DISK: u32 = 96;
/// How long anything may take that must come. Several faults of brokers may fall into it.
const PATIENCE: Duration = Duration::from_secs(180);
/// The last words of a gateway that found no Kafka for a minute at its start.
const IN_VAIN: &str = "tollgate can't start: no Kafka broker";
const KAFKA_PORT: u16 = 9092;
const FLEET_PORT: u16 = 7443;

pub struct World {
    pub witness: Witness,
    pub means: Means,
    members: Vec<Member>,
    broker: Arc<Broker>,
    version: AtomicU64,
    window_start: u64,
    topic_prefix: String,
    pids: Arc<[AtomicU32; GATEWAYS]>,
    client: reqwest::Client,
    authority: Authority,
    _folder: TempDir,
}

/// One gateway and what belongs to it.
struct Member {
    gateway: Mutex<Tollgate>,
    address: Ipv4Addr,
    advertise: String,
    /// A fault ended it, and will start it again.
    is_down: AtomicBool,
    brokers: Vec<String>,
    signed: Signed,
    to_kafka: Vec<Link>,
    to_fleet: Link,
    clock: Option<WallClock>,
    disk: Option<SmallDisk>,
}

impl World {
    /// With one broker or three.
    pub async fn start(brokers: u32) -> Self {
        let ways: Vec<Ipv4Addr> = (0..GATEWAYS).map(|_| own_address()).collect();
        let broker = Arc::new(start_brokers(brokers, &ways).await);
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("chaos");
        let pids: Arc<[AtomicU32; GATEWAYS]> = Arc::default();
        let mut world = Self {
            witness: Witness::start().await,
            means: Means { brokers, kinds: kinds() },
            members: Vec::new(),
            version: AtomicU64::new(1),
            window_start: half_a_day_ago(),
            topic_prefix: broker.topic_prefix(),
            broker,
            pids,
            client: reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap(),
            authority,
            _folder: folder,
        };
        world.make_topics();
        for (number, way) in ways.iter().enumerate() {
            world.join(number, *way);
        }
        let clocks = world.members.iter().all(|member| member.clock.is_some());
        let disks = world.members.iter().all(|member| member.disk.is_some());
        world.means.kinds.retain(|kind| match kind {
            Kind::StepClock => clocks,
            Kind::FillDisk => disks,
            _ => true,
        });
        for number in 0..GATEWAYS {
            world.until_ready(number).await.unwrap();
        }
        world.until_settled().await.unwrap();
        world
    }

    fn make_topics(&self) {
        let bootstrap: Vec<String> =
            self.broker.bootstrap().split(',').map(str::to_owned).collect();
        let signed = self.authority.sign("init", &["127.0.0.1"]);
        let config = self
            .place(&bootstrap, "127.0.0.1:7443", "FOLDER/state", &signed, |place| place.config(0));
        let made = Tollgate::run(own_address(), &config, &["kafka", "init"]);
        assert!(made.status.success(), "{made:?}");
    }

    fn place<T>(
        &self,
        brokers: &[String],
        advertise: &str,
        state: &str,
        signed: &Signed,
        what: impl FnOnce(Place<'_>) -> T,
    ) -> T {
        what(Place {
            brokers,
            copies: self.means.brokers,
            topic_prefix: &self.topic_prefix,
            state,
            advertise,
            authorities: &self.authority.file().display().to_string(),
            certificate: &signed.certificate_file.display().to_string(),
            key: &signed.key_file.display().to_string(),
            backend: self.witness.port(),
            window_start: self.window_start,
        })
    }

    /// Starts a gateway. `way` is where it finds Kafka, and where the others find it.
    fn join(&mut self, number: usize, way: Ipv4Addr) {
        let real =
            std::fs::read_to_string(self.broker.folder().join(format!("way-{}", number + 1)));
        let real: Vec<SocketAddr> =
            real.unwrap().trim().split(',').map(|address| address.parse().unwrap()).collect();
        let listens = |broker: usize| SocketAddr::from((way, KAFKA_PORT + broker as u16));
        let to_kafka = real.iter().enumerate();
        let to_kafka = to_kafka.map(|(broker, real)| Link::start(listens(broker), *real)).collect();
        let brokers: Vec<String> = (0..real.len()).map(|b| listens(b).to_string()).collect();
        let (address, advertise) = (own_address(), format!("{way}:{FLEET_PORT}"));
        let whence = whence::by_process(Arc::clone(&self.pids));
        let to_fleet = Link::start_for(
            SocketAddr::from((way, FLEET_PORT)),
            SocketAddr::from((address, FLEET_PORT)),
            GATEWAYS,
            whence,
        );
        let signed = self.authority.sign(&format!("gateway-{number}"), &[&way.to_string()]);
        let clock = WallClock::new(self._folder.path(), &number.to_string());
        let disk = SmallDisk::mount(DISK);
        let config = self
            .place(&brokers, &advertise, &state(disk.as_ref()), &signed, |place| place.config(1));
        let environment = clock.as_ref().map(WallClock::environment).unwrap_or_default();
        let gateway = Tollgate::start_in(address, &config, environment);
        self.note_pid(number, &gateway);
        let gateway = Mutex::new(gateway);
        self.members.push(Member {
            gateway,
            address,
            advertise,
            is_down: AtomicBool::new(false),
            brokers,
            signed,
            to_kafka,
            to_fleet,
            clock,
            disk,
        });
    }

    fn config(&self, number: usize, version: u64) -> String {
        let Member { brokers, advertise, disk, signed, .. } = &self.members[number];
        let state = state(disk.as_ref());
        self.place(brokers, advertise, &state, signed, |place| place.config(version))
    }

    fn note_pid(&self, number: usize, gateway: &Tollgate) {
        self.pids[number].store(gateway.pid().parse().unwrap(), Ordering::SeqCst);
    }

    /// Where clients find a gateway.
    pub fn url(&self, number: usize, path: &str) -> String {
        format!("http://{}:8080{path}", self.members[number].address)
    }

    /// Where operators find it.
    pub fn admin_url(&self, number: usize, path: &str) -> String {
        format!("http://{}:9901{path}", self.members[number].address)
    }

    async fn view(&self, number: usize, path: &str) -> Result<Value, String> {
        let answer = self.client.get(self.admin_url(number, path)).send().await;
        let text = answer.map_err(|error| format!("{error:?}"))?.text().await;
        let text = text.map_err(|error| format!("{error:?}"))?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Uses of an account that count under a rule, as a gateway's fold has them.
    pub async fn used(&self, number: usize, account: &str, rule: &str) -> Result<u64, String> {
        let view = self.view(number, &format!("/quotas/{account}")).await?;
        let quotas = view["quotas"].as_array().ok_or_else(|| view.to_string())?;
        let of_rule = quotas.iter().filter(|quota| quota["rule"] == rule);
        Ok(of_rule.filter_map(|quota| quota["used"].as_u64()).sum())
    }

    async fn until_ready(&self, number: usize) -> Result<(), String> {
        let started = Instant::now();
        loop {
            if self.ended_by_itself(number) {
                // `revive` looks into it.
                return Ok(());
            }
            let answer = self.client.get(self.admin_url(number, "/ready")).send().await;
            let last = match answer {
                Ok(answer) if answer.status() == 200 => return Ok(()),
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => format!("{error:?}"),
            };
            if started.elapsed() > PATIENCE {
                return Err(format!("gateway {number} is not ready after {PATIENCE:?}: {last}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn ended_by_itself(&self, number: usize) -> bool {
        !is_running(self.pids[number].load(Ordering::SeqCst))
            && !self.members[number].is_down.load(Ordering::SeqCst)
    }

    /// Starts gateways again that ended although nobody ended them, as a supervisor does.
    ///
    /// # Errors
    /// There was one that had not just waited for Kafka in vain.
    pub async fn revive(&self) -> Result<(), String> {
        for number in 0..GATEWAYS {
            if !self.ended_by_itself(number) {
                continue;
            }
            let mut gateway = self.members[number].gateway.lock().await;
            let Some(status) = gateway.process().exited() else { continue };
            let log = gateway.log();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            self.start_again(number, &mut gateway);
            if last.iter().any(|line| line.starts_with(IN_VAIN)) {
                println!("  gateway {number} has waited a minute for Kafka, and is started again");
                continue;
            }
            return Err(format!("gateway {number} ended by itself: {status}; its log: {last:?}"));
        }
        Ok(())
    }

    fn start_again(&self, number: usize, gateway: &mut Tollgate) {
        gateway.relaunch();
        self.note_pid(number, gateway);
        self.members[number].to_fleet.set_open(true);
        self.members[number].is_down.store(false, Ordering::SeqCst);
    }

    /// Waits until all agree on who owns what, and nothing moves.
    pub async fn until_settled(&self) -> Result<(), String> {
        let started = Instant::now();
        let mut before = self.ownership().await;
        loop {
            self.revive().await?;
            tokio::time::sleep(Duration::from_millis(700)).await;
            let now = self.ownership().await;
            if now == before && now.iter().all(|view| view.is_ok() && *view == now[0]) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("the fleet does not settle in {PATIENCE:?}: {now:?}"));
            }
            before = now;
        }
    }

    /// Owner and epoch of each partition, as each gateway sees them.
    async fn ownership(&self) -> Vec<Result<Vec<String>, String>> {
        let mut all = Vec::new();
        for number in 0..GATEWAYS {
            all.push(self.view(number, "/fleet").await.and_then(|view| owners(&view)));
        }
        all
    }
}

/// All kinds of faults, or those that `CHAOS_ONLY` names (`Kill,KillBroker`).
fn kinds() -> Vec<Kind> {
    let only = std::env::var("CHAOS_ONLY").ok();
    let wanted = |kind: &Kind| {
        let name = format!("{kind:?}");
        only.as_ref().is_none_or(|only| only.split(',').any(|one| one.trim() == name))
    };
    Kind::ALL.into_iter().filter(wanted).collect()
}

fn state(disk: Option<&SmallDisk>) -> String {
    disk.map_or("FOLDER/state".to_owned(), |disk| disk.path().join("state").display().to_string())
}

fn owners(view: &Value) -> Result<Vec<String>, String> {
    let partitions = view["partitions"].as_array().ok_or_else(|| view.to_string())?;
    let one = |partition: &Value| match (&partition["owner"], &partition["epoch"]) {
        (Value::String(owner), epoch) => Ok(format!("{owner}@{epoch}")),
        _ => Err(partition.to_string()),
    };
    partitions.iter().map(one).collect()
}

async fn start_brokers(brokers: u32, ways: &[Ipv4Addr]) -> Broker {
    let mut options = vec!["--brokers".to_owned(), brokers.to_string()];
    for way in ways {
        options.extend(["--way".to_owned(), format!("{way}:{KAFKA_PORT}")]);
    }
    let started = tokio::task::spawn_blocking(move || {
        Broker::own(&options.iter().map(String::as_str).collect::<Vec<_>>())
    });
    started.await.unwrap()
}
