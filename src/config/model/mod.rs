//! The checked configuration: what the program uses. Names are resolved, numbers are in range and
//! states that make no sense can't be written down. Only `config::check` makes one.

mod cluster;
mod compose;
mod fleet;
mod identity;
mod limit;
mod listener;
mod process;
mod quota;
mod route;
mod transform;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use cluster::{
    BackendProtocol, BackendTls, Balance, Cluster, Deadlines, Ejection, Endpoint, HealthCheck,
    HealthProbe, Retries, RetryCause,
};
pub use compose::{Compose, Conflict, ForEach, Need, Part, PartTemplate, PartTemplatePiece};
pub use fleet::{Fleet, Kafka, KafkaSasl, KafkaTls, Topic};
pub use identity::{KeySource, Provider};
pub use limit::{Concurrency, Rate};
pub use listener::{
    CertificateFiles, ClientCertificates, Listener, ListenerLimits, ListenerTls, TlsVersion,
};
pub use process::{AccessLog, Admin, CacheSettings, Observe, State};
pub use quota::{Accuracy, Counts, QuotaRule, Unavailable, Window};
pub use route::{
    Access, AccountSource, Action, CachePolicy, ClaimCheck, Dialect, HostPattern, PathPattern,
    PathSegment, PathTail, Route, RouteMatch, TextMatch, Visibility,
};
pub use transform::{HeaderEdits, JsonEdit, RequestEdits, ResponseEdits};

/// A whole checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ports that take requests; at least one.
    pub listeners: Vec<Arc<Listener>>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// The operators' port.
    pub admin: Option<Arc<Admin>>,
    /// Where counts and cached answers live.
    pub state: Arc<State>,
    /// The fleet's journal; `None`: this process counts alone, on its embedded one.
    pub kafka: Option<Arc<Kafka>>,
    /// How gateways reach each other; there if and only if there is `kafka`.
    pub fleet: Option<Arc<Fleet>>,
    /// Bounds and keys of the account cache.
    pub cache: Arc<CacheSettings>,
    /// Logs.
    pub observe: Arc<Observe>,
    /// Identity providers by name.
    pub identity: BTreeMap<Arc<str>, Arc<Provider>>,
    /// Backend services by name.
    pub clusters: BTreeMap<Arc<str>, Arc<Cluster>>,
    /// Quota rules by name.
    pub quotas: BTreeMap<Arc<str>, Arc<QuotaRule>>,
    /// Routes in the order they were written.
    pub routes: Vec<Arc<Route>>,
    /// The configuration as written, without secrets: for views.
    pub shown: Arc<serde_json::Value>,
    /// SHA-256 of all files, hexadecimal: tells two configurations apart.
    pub revision: Arc<str>,
    /// Files and folders that it was made from, secrets, keys and certificates included: when one
    /// of them changes, it should be loaded again.
    pub files: Vec<PathBuf>,
    /// What should be seen to, though nothing is wrong yet: certificates that end soon.
    pub warnings: Vec<super::Problem>,
}

impl Config {
    /// The ports for clients, and the fleet's own behind them.
    pub fn all_listeners(&self) -> Vec<Arc<Listener>> {
        let fleet = self.fleet.iter().map(|fleet| Arc::new(fleet.listener()));
        self.listeners.iter().cloned().chain(fleet).collect()
    }
}

/// A text that must not be shown: its `Debug` form hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself, at the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}
