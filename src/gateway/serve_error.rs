use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::keyfile::KeyFileError;
use super::snapshot::SnapshotError;
use crate::account::CredentialsError;
use crate::journal::{JournalError, topics};
use crate::listener::ListenerError;
use crate::net::NetError;
use crate::quota::QuotaError;
use crate::vault::VaultError;

/// Why a gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file or directory can't be used.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The operating system gives no signals.
    #[error("signals can't be watched: {0}")]
    Signals(io::Error),
    /// A key of the gateway's own can't be had.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The operating system gave no thread.
    #[error("no threads: {0}")]
    Runtime(io::Error),
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Kafka's topics can't be looked at, or counts would not be exact on them.
    #[error(transparent)]
    Topics(#[from] topics::TopicsError),
    /// The ledger can't be read.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The account cache can't be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The fleet's certificates can't be used.
    #[error(transparent)]
    Fleet(#[from] CredentialsError),
    /// The resolver can't be set up.
    #[error(transparent)]
    Resolver(#[from] NetError),
    /// The configuration can't be put to work.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The sockets can't be kept for the process that takes over some day.
    #[error("the listening sockets can't be kept: {0}")]
    Sockets(io::Error),
    /// The process that is to be replaced has another state.
    #[error("{0}, which needs a restart")]
    AnotherState(&'static str),
    /// Tokens could not be verified.
    #[error("no keys came from: {0}")]
    NoKeys(String),
    /// The process that was to be replaced has gone, or serves on.
    #[error("the process that was to be replaced wants it no more")]
    NotWanted,
    /// A port can't be opened.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// The operators' port can't be opened.
    #[error("admin.address {address}: {error}")]
    Admin {
        /// The port.
        address: SocketAddr,
        /// Why.
        error: ListenerError,
    },
}
