use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// The operators' port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bearer token that changing calls need; without one they are refused.
    pub token: Option<Secret>,
}

/// Where counts and cached answers live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// A directory of this process alone.
    pub directory: PathBuf,
    /// Keys the hash that stands for accounts in keys and logs. `None`: made at first start and
    /// kept in the directory.
    pub account_key: Option<Secret>,
    /// Partitions of the embedded journal. Fixed for the life of the state directory; says nothing
    /// where there is Kafka.
    pub partitions: u32,
}

/// Bounds and keys of the account cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Bytes of answers in memory.
    pub memory: u64,
    /// Bytes of answers on disk.
    pub disk: u64,
    /// Largest answer kept, in bytes.
    pub max_entry: u64,
    /// Keys that seal stored answers, newest first: the first seals, all open. Empty: one is made
    /// at first start and kept in the state directory.
    pub sealing_keys: Vec<Secret>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// Filter for the program's own log, as in `info,tollgate=debug`.
    pub log: String,
    /// The access log.
    pub access_log: AccessLog,
    /// After SIGTERM: how long readiness fails before listeners close.
    pub drain_wait: Duration,
    /// After that: how long requests in progress may take.
    pub drain_timeout: Duration,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file, opened again on SIGHUP (for logrotate).
    File(PathBuf),
}
