use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use procfs::process::{LimitValue, Process};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::names::Name;

/// What is looked up when somebody asks, rather than counted as it happens: what has gone since
/// leaves no series behind.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// By cluster and address, whether requests may go there.
    pub endpoints: BTreeMap<(Arc<str>, Arc<str>), bool>,
    /// Open connections of each port.
    pub connections: Vec<(SocketAddr, usize)>,
    /// The account cache in memory.
    pub memory: Size,
    /// The account cache on disk.
    pub disk: Size,
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
        let bytes = gauges(&mut registry, Name::CacheBytes);
        let entries = gauges(&mut registry, Name::CacheEntries);
        for (tier, size) in [("memory", self.memory), ("disk", self.disk)] {
            let labels = vec![("tier", tier.to_owned())];
            bytes.get_or_create(&labels).set(signed(size.bytes));
            entries.get_or_create(&labels).set(signed(size.entries));
        }
        match process(&mut registry) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "/proc says nothing of this process"),
        }
        registry
    }
}

/// This process as the operating system sees it, under the names that Prometheus' own clients use.
fn process(registry: &mut Registry) -> procfs::ProcResult<()> {
    let this = Process::myself()?;
    let (stat, ticks) = (this.stat()?, procfs::ticks_per_second());
    let seconds = |spent: u64| spent as f64 / ticks as f64;
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(seconds(stat.utime + stat.stime));
    registry.register(Name::ProcessCpu.text(), Name::ProcessCpu.help(), cpu);
    let memory = stat.rss.saturating_mul(procfs::page_size());
    gauge(registry, Name::ProcessMemory, signed(memory));
    let start = procfs::boot_time_secs()? + seconds(stat.starttime) as u64;
    gauge(registry, Name::ProcessStart, signed(start));
    gauge(registry, Name::ProcessOpenFiles, signed(this.fd_count()? as u64));
    if let LimitValue::Value(most) = this.limits()?.max_open_files.soft_limit {
        gauge(registry, Name::ProcessMostFiles, signed(most));
    }
    Ok(())
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
