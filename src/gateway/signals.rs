//! What makes a running gateway load its configuration again, or end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep};

use super::reload::{Reloaded, Reloader};
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::config::Watcher;

/// For other gateways to take this one's partitions. Kafka's group shares them out anew within
/// some heartbeats, unless it is in trouble.
const HAND_OVER: Duration = Duration::from_secs(10);

/// For what is left to do then: writing counts and closing files.
const LEEWAY: Duration = Duration::from_secs(15);

/// What the operating system may send. From here on none of them ends the process by itself, so
/// they are taken before anybody is told that the gateway is ready.
pub(super) struct Signals {
    pub hangup: Signal,
    pub stop: Stop,
}

/// SIGTERM and SIGINT.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Must be called within a runtime.
    pub fn take() -> io::Result<Self> {
        let [hangup, terminate, interrupt] =
            [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        let stop = Stop { terminate: terminate?, interrupt: interrupt? };
        Ok(Self { hangup: hangup?, stop })
    }
}

/// SIGHUP: the configuration again, and the access log's file again (logrotate).
pub(super) async fn reload_on_hangup(
    mut hangup: Signal,
    reloader: Arc<Reloader>,
    shared: Arc<Shared>,
) {
    while hangup.recv().await.is_some() {
        shared.access_log.reopen();
        // Refusals are logged, counted and shown by the reloader.
        if let Ok(Reloaded::Unchanged) = reloader.reload().await {
            tracing::info!("the configuration was read again: nothing has changed");
        }
    }
}

/// A changed file: the configuration again. After any reload the files to watch may be others.
pub(super) async fn reload_on_change(reloader: Arc<Reloader>) {
    loop {
        let changed = Arc::new(Notify::new());
        let tell = changed.clone();
        let watcher = match Watcher::start(reloader.files(), move || tell.notify_one()) {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "files are not watched; SIGHUP and the admin port reload");
                return;
            }
        };
        // What changed before the watch began it does not see.
        reloader.catch_up().await;
        while watcher.covers(&reloader.files()) {
            tokio::select! {
                () = changed.notified() => reloader.catch_up().await,
                () = reloader.reloaded.notified() => {}
            }
        }
    }
}

/// Ends the process in order: readiness fails, the load balancer gets time to see it, requests in
/// progress get time to finish, and an idle gateway ends at once.
pub(super) struct Drain {
    shared: Arc<Shared>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    stop: Mutex<Stop>,
}

impl Drain {
    pub fn new(stop: Stop, shared: Arc<Shared>, snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { shared, snapshot, stop: Mutex::new(stop) }
    }

    async fn until_idle(&self, within: Duration) {
        let end = Instant::now() + within;
        while self.shared.metrics.in_progress() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Drain {
    async fn recv(&self) -> ShutdownSignal {
        let mut stop = self.stop.lock().await;
        let Stop { terminate, interrupt } = &mut *stop;
        let wait = tokio::select! {
            _ = terminate.recv() => self.snapshot.load().config.observe.drain_wait,
            // A person at the keyboard waits for no load balancer.
            _ = interrupt.recv() => Duration::ZERO,
        };
        let timeout = self.snapshot.load().config.observe.drain_timeout;
        self.shared.supervisor.stopping(wait + HAND_OVER + timeout + LEEWAY);
        tracing::info!("stopping: readiness fails, requests in progress may finish");
        self.shared.start_draining();
        sleep(wait).await;
        // Before any port closes: what still comes is passed on to the partitions' new owners.
        self.shared.quotas.hand_over(HAND_OVER).await;
        self.until_idle(timeout).await;
        ShutdownSignal::GracefulTerminate
    }
}
