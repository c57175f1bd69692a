use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use procfs::process::{LimitValue, Process};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Certificate;
use super::names::Name;
use crate::request::since_boot;

/// What is looked up when somebody asks, rather than counted as it happens: what has gone since
/// leaves no series behind.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// By cluster and address, whether requests may go there.
    pub endpoints: BTreeMap<(Arc<str>, Arc<str>), bool>,
    /// Open connections of each port.
    pub connections: Vec<(SocketAddr, usize)>,
    /// The certificates in use.
    pub certificates: Vec<Certificate>,
    /// The account cache in memory.
    pub memory: Size,
    /// The account cache on disk.
    pub disk: Size,
    /// Whether the gateway should get requests.
    pub ready: bool,
    /// Whether something is wrong, though it serves.
    pub degraded: bool,
    /// Bytes that may still be written where the state directory is; `None`: nobody says.
    pub state_disk: Option<u64>,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// In bytes.
    pub bytes: u64,
    /// In pieces.
    pub entries: u64,
}

type Gauges = Family<Vec<(&'static str, String)>, Gauge>;
/// Looks something up of this process.
type Ask = fn(&mut Registry, &Process) -> procfs::ProcResult<()>;

impl Moment {
    /// A registry of its own for one exposition.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let build = gauges(&mut registry, Name::BuildInfo);
        let version = [("version", env!("CARGO_PKG_VERSION")), ("commit", env!("TOLLGATE_COMMIT"))];
        build.get_or_create(&version.map(|(key, text)| (key, text.to_owned())).to_vec()).set(1);
        let healthy = gauges(&mut registry, Name::EndpointHealthy);
        for ((cluster, endpoint), usable) in &self.endpoints {
            let labels = vec![("cluster", cluster.to_string()), ("endpoint", endpoint.to_string())];
            healthy.get_or_create(&labels).set(i64::from(*usable));
        }
        let connections = gauges(&mut registry, Name::OpenConnections);
        for (address, open) in &self.connections {
            let labels = vec![("listener", address.to_string())];
            connections.get_or_create(&labels).set(signed(*open as u64));
        }
        let certificates = gauges(&mut registry, Name::CertificateEnds);
        for Certificate { shown, ends } in &self.certificates {
            certificates.get_or_create(&shown.labels()).set(signed(ends.seconds()));
        }
        let bytes = gauges(&mut registry, Name::CacheBytes);
        let entries = gauges(&mut registry, Name::CacheEntries);
        for (tier, size) in [("memory", self.memory), ("disk", self.disk)] {
            let labels = vec![("tier", tier.to_owned())];
            bytes.get_or_create(&labels).set(signed(size.bytes));
            entries.get_or_create(&labels).set(signed(size.entries));
        }
        self.standing(&mut registry);
        // One after the other: what one of them can't be told of hides nothing of the other.
        for ask in [files as Ask, process] {
            if let Err(error) = Process::myself().and_then(|this| ask(&mut registry, &this)) {
                tracing::debug!(%error, "/proc does not say all of this process");
            }
        }
        registry
    }

    /// How the gateway stands.
    fn standing(&self, registry: &mut Registry) {
        gauge(registry, Name::Ready, self.ready.into());
        gauge(registry, Name::Degraded, self.degraded.into());
        if let Some(bytes) = self.state_disk {
            gauge(registry, Name::StateDisk, signed(bytes));
        }
    }
}

/// Open files of this process, under the names that Prometheus' own clients use.
fn files(registry: &mut Registry, this: &Process) -> procfs::ProcResult<()> {
    gauge(registry, Name::ProcessOpenFiles, signed(this.fd_count()? as u64));
    if let LimitValue::Value(most) = this.limits()?.max_open_files.soft_limit {
        gauge(registry, Name::ProcessMostFiles, signed(most));
    }
    Ok(())
}

/// Work, size and start of this process, under the same names.
fn process(registry: &mut Registry, this: &Process) -> procfs::ProcResult<()> {
    let (stat, ticks) = (this.stat()?, procfs::ticks_per_second());
    let seconds = |spent: u64| spent as f64 / ticks as f64;
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(seconds(stat.utime + stat.stime));
    registry.register(Name::ProcessCpu.text(), Name::ProcessCpu.help(), cpu);
    let memory = stat.rss.saturating_mul(procfs::page_size());
    gauge(registry, Name::ProcessMemory, signed(memory));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let after_boot = Duration::try_from_secs_f64(seconds(stat.starttime)).unwrap_or_default();
    gauge(registry, Name::ProcessStart, signed(started(now, since_boot(), after_boot)));
    Ok(())
}

/// When the process started, in seconds since 1970, from how long that was after the machine did.
/// /proc/stat would say when that was, but a service may see processes alone there
/// (`ProcSubset=pid` of systemd).
fn started(now: Duration, since_boot: Duration, after_boot: Duration) -> u64 {
    now.saturating_sub(since_boot).saturating_add(after_boot).as_secs()
}

fn gauges(registry: &mut Registry, name: Name) -> Gauges {
    let gauges = Gauges::default();
    registry.register(name.text(), name.help(), gauges.clone());
    gauges
}

fn gauge(registry: &mut Registry, name: Name, value: i64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    registry.register(name.text(), name.help(), gauge);
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Metrics;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().unwrap()
    }

    #[test]
    fn the_start_follows_from_two_clocks_and_the_time_after_boot() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(started(seconds(1_086_400.25), seconds(86_400.0), seconds(250.5)), 1_000_250);
        // A wall clock that was never set.
        assert_eq!(started(seconds(5.0), seconds(60.0), seconds(55.0)), 55);
    }

    #[test]
    fn the_process_is_told_with_its_files_and_the_time_of_its_start() {
        let text = Metrics::default().exposition_with(&Moment::default());
        assert!(value(&text, "process_open_fds") > 2.0);
        assert!(value(&text, "process_max_fds") >= value(&text, "process_open_fds"));
        let stat = Process::myself().unwrap().stat().unwrap();
        let after_boot = stat.starttime as f64 / procfs::ticks_per_second() as f64;
        let truth = procfs::boot_time_secs().unwrap() as f64 + after_boot;
        assert!((value(&text, "process_start_time_seconds") - truth).abs() <= 2.0, "{truth}");
    }

    #[test]
    fn how_the_gateway_stands_can_be_watched() {
        let fine = Moment { ready: true, state_disk: Some(4096), ..Moment::default() };
        let text = Metrics::default().exposition_with(&fine);
        assert_eq!(value(&text, "tollgate_ready"), 1.0);
        assert_eq!(value(&text, "tollgate_degraded"), 0.0);
        assert_eq!(value(&text, "tollgate_state_disk_available_bytes"), 4096.0);
        let poor = Moment { degraded: true, ..Moment::default() };
        let text = Metrics::default().exposition_with(&poor);
        assert_eq!(value(&text, "tollgate_degraded"), 1.0);
        assert!(!text.contains("tollgate_state_disk_available_bytes "), "nobody said");
    }
}
