use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Duration, mebibytes, seconds, whole};

/// The operators' port.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// IP address and port: `127.0.0.1:9901`.
    pub address: String,
    /// Bearer token for calls that change something; without one they are refused. Needed if the
    /// address is not a loopback address. Take it from `${env:NAME}` or `${file:/path}`.
    #[schemars(length(min = 1))]
    pub token: Option<String>,
}

/// Where counts and cached answers are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// A folder of this process alone; it is made if it is missing.
    #[schemars(length(min = 1))]
    pub directory: String,
    /// Keys the hash that stands for account numbers in files, keys and logs; at least 32
    /// characters. Without it one is made at first start and kept in the folder. Counts are found
    /// by it: while there are any, a start with another key is refused. All gateways of a fleet
    /// have the same.
    #[schemars(length(min = 32))]
    pub account_key: Option<String>,
    /// Journal partitions. They are fixed once the folder is in use. In a fleet
    /// `kafka.partitions` says how many there are.
    #[serde(default = "whole::<16>")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: u32,
}

/// Bounds and keys of the account cache.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Answers in memory, at least 1MiB.
    pub memory: Bytes,
    /// Answers on disk, at least 16MiB. The folder `cache` takes 256MiB more at most: the store's
    /// own log, and what is on its way.
    pub disk: Bytes,
    /// Largest answer that is kept, from 1KiB to 256MiB, and no larger than `memory` and `disk`.
    pub max_entry: Bytes,
    /// Keys that seal stored answers, at least 32 characters each, newest first: the first seals,
    /// all open. Without any, one is made at first start and kept in the state folder. All gateways
    /// of a fleet have the same.
    #[schemars(inner(length(min = 32)))]
    pub sealing_keys: Vec<String>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: mebibytes::<256>(),
            disk: mebibytes::<4096>(),
            max_entry: mebibytes::<4>(),
            sealing_keys: Vec::new(),
        }
    }
}

/// Logs, and how the process stops.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Observe {
    /// What the program's own log tells: `error`, `warn`, `info`, `debug`, `trace`, or a filter
    /// such as `info,tollgate=debug`. Libraries tell from `warn` on, unless they are named:
    /// `info,fjall=debug`.
    #[schemars(length(min = 1))]
    pub log: String,
    /// Where the access log goes: one JSON line for each request. A file that is made here is also
    /// for its group (0640).
    pub access_log: AccessLog,
    /// After SIGTERM: how long readiness fails, so that load balancers look elsewhere, before
    /// the listeners close.
    pub drain_wait: Duration,
    /// After that: how long requests in progress may take.
    pub drain_timeout: Duration,
}

impl Default for Observe {
    fn default() -> Self {
        Self {
            log: "info".into(),
            access_log: AccessLog::Stdout,
            drain_wait: seconds::<0>(),
            drain_timeout: seconds::<30>(),
        }
    }
}

/// Where the access log goes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLog {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// Appended to this file; it is opened again on SIGHUP.
    File(String),
}
