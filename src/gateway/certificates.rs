//! The certificates in use and when they end: what metrics show, and what the log says of those
//! that end soon.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::reload::Reloader;
use super::shared::Shared;
use crate::config::expiry::{self, Nearness};
use crate::config::model::Config;
use crate::listener::ListenerView;
use crate::observe::{Certificate, Shown};
use crate::request::UnixMillis;

/// Between two looks. Changed files are taken into use as often.
const LOOK: Duration = Duration::from_secs(10);
/// Between two lines about the same certificate.
const AGAIN: Duration = Duration::from_secs(86_400);

/// The certificates in use; of several that metrics can't tell apart, the one that ends first.
pub(super) fn in_use(shared: &Shared, config: &Config, ports: &[ListenerView]) -> Vec<Certificate> {
    let fleet_port = config.fleet.as_ref().map(|fleet| fleet.listen);
    // The fleet's is shown by its port, and to other gateways' ports.
    let fleet = shared.fleet.as_ref().and_then(|fleet| fleet.certificate_ends());
    // Kafka's client reads its file once, when it is made.
    let kafka = *shared.kafka_certificate.get_or_init(|| of_kafka(config));
    let mut first = BTreeMap::new();
    let all = of_ports(ports, fleet_port)
        .chain(fleet.map(|ends| (Shown::Fleet, ends)))
        .chain(kafka.map(|ends| (Shown::Kafka, ends)))
        .chain(of_backends(config));
    for (shown, ends) in all {
        let known = first.entry(shown).or_insert(ends);
        *known = ends.min(*known);
    }
    first.into_iter().map(|(shown, ends)| Certificate { shown, ends }).collect()
}

fn of_ports(
    ports: &[ListenerView],
    fleet_port: Option<SocketAddr>,
) -> impl Iterator<Item = (Shown, UnixMillis)> {
    let all = ports.iter().flat_map(|port| port.certificates.iter().map(move |one| (port, one)));
    all.filter_map(move |(port, certificate)| {
        let name = || certificate.names.first().cloned().unwrap_or_default();
        let shown = match fleet_port == Some(port.address) {
            true => Shown::Fleet,
            false => Shown::Listener { address: port.address, name: name() },
        };
        Some((shown, certificate.ends?))
    })
}

fn of_kafka(config: &Config) -> Option<UnixMillis> {
    let (certificate, _) = config.kafka.as_ref()?.tls.as_ref()?.client.as_ref()?;
    expiry::of_pem(&std::fs::read(certificate).ok()?)
}

fn of_backends(config: &Config) -> impl Iterator<Item = (Shown, UnixMillis)> {
    config.clusters.iter().filter_map(|(name, cluster)| {
        let (chain, _) = cluster.tls.as_ref()?.client.as_ref()?;
        Some((Shown::Backend { cluster: name.to_string() }, expiry::of_pem(chain)?))
    })
}

/// Tells the log of certificates that have ended or soon will, for as long as the gateway runs:
/// at its start, when the configuration or one of their files has changed, and once a day.
pub(super) async fn watch(shared: Arc<Shared>, reloader: Arc<Reloader>) {
    let mut teller = Teller::default();
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let (config, now) = (reloader.config(), shared.clock.now());
        let certificates = in_use(&shared, &config, &reloader.ports().views());
        for (certificate, nearness) in teller.due(&config.revision, certificates, now) {
            tell(&certificate, nearness, now);
        }
    }
}

fn tell(certificate: &Certificate, nearness: Nearness, now: UnixMillis) {
    let Certificate { shown, ends } = certificate;
    let words = expiry::words(*ends, now);
    let remedy = match shown {
        Shown::Kafka => "put a new one in its file's place and restart the gateway",
        Shown::Listener { .. } | Shown::Fleet | Shown::Backend { .. } => {
            "put a new one in its file's place: it is taken into use without a restart"
        }
    };
    match nearness {
        Nearness::Far => {}
        Nearness::Soon => {
            tracing::warn!(certificate = %shown, "a certificate in use {words}: {remedy}");
        }
        Nearness::VerySoon | Nearness::Over => {
            tracing::error!(certificate = %shown, "a certificate in use {words}: {remedy}");
        }
    }
}

/// Remembers what was told and when.
#[derive(Default)]
struct Teller {
    revision: Arc<str>,
    told: HashMap<(Certificate, Nearness), UnixMillis>,
}

impl Teller {
    /// What is to be told now: each certificate that is near its end once a day, and anew when it
    /// is another one, has come nearer to its end, or the configuration has changed.
    fn due(
        &mut self,
        revision: &Arc<str>,
        certificates: Vec<Certificate>,
        now: UnixMillis,
    ) -> Vec<(Certificate, Nearness)> {
        if self.revision != *revision {
            self.revision = Arc::clone(revision);
            self.told.clear();
        }
        let (mut told, mut due) = (HashMap::new(), Vec::new());
        for certificate in certificates {
            let nearness = Nearness::of(certificate.ends, now);
            if nearness == Nearness::Far {
                continue;
            }
            let near = (certificate, nearness);
            let before = self.told.get(&near).copied().filter(|at| now.since(*at) < AGAIN);
            if before.is_none() {
                due.push(near.clone());
            }
            told.insert(near, before.unwrap_or(now));
        }
        self.told = told;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const END: UnixMillis = UnixMillis(2_000_000_000_000);

    /// So many days before [`END`].
    fn before(days: u64) -> UnixMillis {
        UnixMillis(END.0 - days * DAY)
    }

    struct Log {
        teller: Teller,
        revision: Arc<str>,
    }

    impl Log {
        fn new() -> Self {
            Self { teller: Teller::default(), revision: "one".into() }
        }

        /// What it is told of the fleet's certificate that ends then.
        fn told(&mut self, ends: UnixMillis, now: UnixMillis) -> Vec<Nearness> {
            let certificates = vec![Certificate { shown: Shown::Fleet, ends }];
            let due = self.teller.due(&self.revision, certificates, now);
            due.into_iter().map(|(_, nearness)| nearness).collect()
        }
    }

    #[test]
    fn a_certificate_near_its_end_is_told_once_a_day_and_louder_as_it_comes_nearer() {
        let mut log = Log::new();
        assert_eq!(log.told(END, before(31)), []);
        assert_eq!(log.told(END, before(30)), [Nearness::Soon]);
        assert_eq!(log.told(END, UnixMillis(before(29).0 - 1)), [], "not a day later yet");
        assert_eq!(log.told(END, before(29)), [Nearness::Soon]);
        assert_eq!(log.told(END, before(29)), []);
        assert_eq!(log.told(END, before(3)), [Nearness::VerySoon]);
        let over = UnixMillis(END.0 + 1);
        assert_eq!(log.told(END, UnixMillis(over.0 - 2)), [Nearness::VerySoon], "days later");
        assert_eq!(log.told(END, over), [Nearness::Over], "at once");
        assert_eq!(log.told(END, over.plus(AGAIN)), [Nearness::Over]);
    }

    #[test]
    fn a_reload_and_another_certificate_are_told_at_once() {
        let mut log = Log::new();
        assert_eq!(log.told(END, before(10)), [Nearness::Soon]);
        assert_eq!(log.told(END, before(10)), []);
        log.revision = "two".into();
        assert_eq!(log.told(END, before(10)), [Nearness::Soon]);
        let another = END.plus(Duration::from_secs(60));
        assert_eq!(log.told(another, before(10)), [Nearness::Soon]);
        let renewed = END.plus(AGAIN * 365);
        assert_eq!(log.told(renewed, before(10)), []);
        assert_eq!(log.told(another, before(10)), [Nearness::Soon], "the old one is back");
    }
}
