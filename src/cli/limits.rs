//! What the operating system allows the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::cgroup;
use crate::config::model::Config;

/// Where nothing bounds open files: what Linux allows a process by default (`fs.nr_open`).
const MOST: u64 = 1_048_576;
/// For files, Kafka, identity providers and pooled connections to backends.
const OWN: u64 = 1_024;
/// Memory beside that of kept answers: the program, verified tokens, the store's buffers, and
/// some ten thousand connections and hundred thousand accounts (docs/performance.md).
const OWN_MEMORY: u64 = 256 << 20;

/// Allows as many open files as the system grants, and says so where connections would run out of
/// them.
pub(super) fn raise_open_files(config: &Config) {
    let granted = getrlimit(Resource::Nofile);
    let most = granted.maximum.unwrap_or(MOST);
    let raised = Rlimit { current: Some(most), maximum: granted.maximum };
    if granted.current.is_some_and(|current| current < most)
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(MOST);
    let connections: usize = config.listeners.iter().map(|one| one.limits.max_connections).sum();
    // Each may need another one to a backend.
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(2) + OWN;
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "too few open files are allowed for the listeners' max_connections: raise LimitNOFILE \
             (systemd), `ulimit -Hn` or the container's nofile, or lower max_connections"
        );
    }
}

/// Says so where answers in memory leave too little for the rest: Linux would kill the process when
/// they have come.
pub(super) fn warn_of_little_memory(config: &Config) {
    let wanted = config.cache.memory.saturating_add(OWN_MEMORY);
    if let Some(allowed) = cgroup::memory().filter(|allowed| *allowed < wanted) {
        tracing::warn!(
            allowed,
            wanted,
            "the control group allows less memory than the gateway may need: lower `cache.memory`, \
             or raise MemoryMax (systemd) or the container's memory limit"
        );
    }
}
