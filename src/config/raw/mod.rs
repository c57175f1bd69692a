//! What users write. These types and their comments make the JSON Schema and
//! `docs/configuration.md`; defaults stand here and nowhere else.

mod cluster;
mod compose;
mod fields;
mod fleet;
mod identity;
mod limit;
mod listener;
mod process;
mod quota;
mod route;
mod text;
mod transform;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cluster::{
    BackendProtocol, BackendTls, Balance, Cluster, Deadlines, Endpoint, HealthCheck, Retries,
    RetryCause, RetryWord,
};
pub use compose::{Compose, Conflict, Part};
pub use fields::{Fields, NAME_PATTERN, OneOrMany};
pub use fleet::{Fleet, Kafka, KafkaTls};
pub use identity::{Algorithm, Provider};
pub use limit::{Concurrency, Rate};
pub use listener::{Certificate, ClientCertificates, Limits, Listener, ListenerTls, TlsVersion};
pub use process::{AccessLog, Admin, Cache, Observe, State};
pub use quota::{Accuracy, Counts, Quota, Unavailable};
pub use route::{
    Account, Answer, ClaimCheck, Dialect, Match, Method, Redirect, Route, Scopes, TextMatch,
    Visibility,
};
pub use text::{Bytes, Duration, RateText, mebibytes, seconds, whole, yes};
pub use transform::{HeaderEdits, JsonEdit, Move, Rename, RequestEdits, ResponseEdits};

/// The whole configuration.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["listen", "state", "routes"]))]
pub struct Config {
    /// More files to read, relative to this one: `conf.d/*.yaml`. `*` may stand in the file's
    /// name. Their `routes` and `listen` are appended in the order of the file names; `identity`,
    /// `clusters`, `quotas`, `rates` and `concurrency` are joined name by name; nothing may be
    /// defined twice. Included files include no others.
    pub include: Vec<String>,
    /// The ports that take requests.
    #[schemars(length(min = 1))]
    pub listen: Vec<Listener>,
    /// Networks (CIDR) of proxies in front of the gateway whose `X-Forwarded-For` is believed.
    /// From anybody else that header is ignored.
    pub trusted_proxies: Vec<String>,
    /// The operators' port: health, metrics, views, purge, reload. Without it there is none.
    pub admin: Option<Admin>,
    /// Where counts and cached answers are kept.
    pub state: Option<State>,
    /// Apache Kafka, for a fleet of gateways that count together. Without it this process counts
    /// alone, on its own disk. Needs `fleet`, `state.account_key` and `cache.sealing_keys`.
    pub kafka: Option<Kafka>,
    /// How the gateways of a fleet reach each other. Needs `kafka`.
    pub fleet: Option<Fleet>,
    /// Bounds and keys of the account cache.
    pub cache: Cache,
    /// Logs, and how the process stops.
    pub observe: Observe,
    /// Identity providers, by name.
    #[schemars(extend("propertyNames" = fields::names()))]
    pub identity: Fields<Provider>,
    /// Backend services, by name.
    #[schemars(extend("propertyNames" = fields::names()))]
    pub clusters: Fields<Cluster>,
    /// Rates over seconds, minutes or hours, kept in memory, by name.
    #[schemars(extend("propertyNames" = fields::names()))]
    pub rates: Fields<Rate>,
    /// Bounds on requests in progress, by name.
    #[schemars(extend("propertyNames" = fields::names()))]
    pub concurrency: Fields<Concurrency>,
    /// Quota rules, counted for each account, exactly and durably, by name. The name is part of
    /// every count's key: a rule with another name starts at zero.
    #[schemars(extend("propertyNames" = fields::names()))]
    pub quotas: Fields<Quota>,
    /// What is served. The order does not matter: the most specific match wins.
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
}
