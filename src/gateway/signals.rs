//! What makes a running gateway load its configuration again, or end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep};

use super::reload::{Reloaded, Reloader};
use super::shared::Shared;
use super::upgrade::{Predecessor, Upgrader};
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
    pub upgrade: Signal,
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
        let (hangup, upgrade) =
            (signal(SignalKind::hangup())?, signal(SignalKind::user_defined2())?);
        let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        let stop = Stop { terminate: terminate?, interrupt: interrupt? };
        Ok(Self { hangup, upgrade, stop })
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

/// SIGUSR2: the program that now stands at this one's place takes over.
pub(super) async fn upgrade_on_signal(mut signal: Signal, upgrader: Arc<Upgrader>) {
    while signal.recv().await.is_some() {
        // What came of it is logged and counted.
        let _ = upgrader.upgrade().await;
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

/// For clients that may be sending a request just now, on connections that wait for one or have
/// only begun. Closed under their hands it would fail, and not all clients send it again.
const LINGER: Duration = Duration::from_secs(1);

/// The same where another process serves and nobody waits for this one to end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Ends the process in order: readiness fails, the load balancer gets time to see it, requests in
/// progress get time to finish, and an idle gateway ends at once.
pub(super) struct Drain {
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    upgrader: Arc<Upgrader>,
    predecessor: Option<Predecessor>,
    stop: Mutex<Stop>,
}

impl Drain {
    pub fn new(
        stop: Stop,
        shared: Arc<Shared>,
        reloader: Arc<Reloader>,
        upgrader: Arc<Upgrader>,
        predecessor: Option<Predecessor>,
    ) -> Self {
        Self { shared, reloader, upgrader, predecessor, stop: Mutex::new(stop) }
    }

    /// Waits until something is over, no longer than to the end given.
    async fn until(&self, end: Instant, over: impl Fn(&Self) -> bool) {
        while !over(self) && Instant::now() < end {
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_idle(&self) -> bool {
        self.shared.metrics.in_progress() == 0
    }

    fn is_empty(&self) -> bool {
        self.is_idle() && self.reloader.ports().connections() == 0
    }

    /// The same, and nobody needs this process to pass anything on either.
    fn is_over(&self) -> bool {
        let predecessor_gone = self.predecessor.as_ref().is_none_or(Predecessor::is_gone);
        self.is_empty() && self.upgrader.admin().is_quiet() && predecessor_gone
    }

    /// SIGTERM or SIGINT.
    async fn end(&self, wait: Duration) {
        let config = self.reloader.config();
        let timeout = config.observe.drain_timeout;
        self.shared.supervisor.stopping(wait + HAND_OVER + timeout + LEEWAY);
        tracing::info!("stopping: readiness fails, requests in progress may finish");
        self.shared.start_draining();
        sleep(wait).await;
        if self.upgrader.keeps_sockets() {
            self.reloader.ports().shut().await;
        }
        // Before any port closes: what still comes is passed on to the partitions' new owners.
        self.shared.quotas.hand_over(HAND_OVER).await;
        let end = Instant::now() + timeout;
        self.until(end, Self::is_idle).await;
        self.until(Instant::now() + LINGER, Self::is_empty).await;
        self.until(end, Self::is_idle).await;
    }

    /// Another process serves; clients are told to turn to it as they are answered.
    async fn leave(&self) {
        self.shared.start_draining();
        let begun = Instant::now();
        let end = begun + self.reloader.config().observe.drain_timeout;
        self.until(end.min(begun + LAST_REQUESTS), Self::is_over).await;
        self.reloader.ports().close_idle();
        self.until(end, Self::is_over).await;
    }
}

#[async_trait]
impl ShutdownSignalWatch for Drain {
    async fn recv(&self) -> ShutdownSignal {
        let mut stop = self.stop.lock().await;
        let Stop { terminate, interrupt } = &mut *stop;
        let wait = tokio::select! {
            _ = terminate.recv() => Some(self.reloader.config().observe.drain_wait),
            // A person at the keyboard waits for no load balancer.
            _ = interrupt.recv() => Some(Duration::ZERO),
            _ = self.upgrader.until_replaced() => None,
        };
        match (wait, self.upgrader.stop().await) {
            (Some(wait), None) => self.end(wait).await,
            (_, _) => self.leave().await,
        }
        ShutdownSignal::GracefulTerminate
    }
}
