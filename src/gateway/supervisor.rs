//! What the service manager is told (sd_notify(3)): that the gateway serves, loads its
//! configuration again, stops, and is alive. Without one (`NOTIFY_SOCKET` is not set) nothing is
//! said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::shared::Shared;
use super::starting::Starting;
use super::upgrade::Predecessor;
use crate::observe::Event;

/// Between looks at whether counts are read.
const LOOK: Duration = Duration::from_millis(100);
/// The same where requests wait for it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A start that reads counts may take as long as it goes on: the manager is asked for so much
/// more time again and again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Supervisor {
    /// It knows that the gateway serves. Nothing but that may be taken for it.
    told_ready: AtomicBool,
    /// It listens to another process now.
    replaced: AtomicBool,
}

impl Supervisor {
    fn ready(&self, status: &str) {
        self.told_ready.store(true, Ordering::Release);
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is being loaded again.
    pub fn reloading(&self) {
        if self.told_ready.load(Ordering::Acquire)
            && let Ok(now) = NotifyState::monotonic_usec_now()
        {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// The configuration was loaded again, or refused.
    pub fn reloaded(&self, outcome: Result<(), &str>) {
        if !self.told_ready.load(Ordering::Acquire) {
            return;
        }
        match outcome {
            Ok(()) => self.ready("serving"),
            Err(error) => {
                let first = error.lines().next().unwrap_or_default();
                self.ready(&format!("serving; the last reload was refused: {first}"));
            }
        }
    }

    /// The gateway stops, and needs at most so long for it.
    pub fn stopping(&self, within: Duration) {
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::Status("stopping: requests in progress may finish"),
            more_time(within),
        ]);
    }

    /// Another process is the service from now on, and speaks for it. It has to be this one that
    /// says so: the manager listens to nobody else yet.
    pub fn replaced_by(&self, process: u32) {
        self.tell(&[NotifyState::MainPid(process)]);
        self.replaced.store(true, Ordering::Release);
    }

    fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if !self.is_replaced() {
            tell(state);
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// A start is at this and goes on, before there is a gateway that could say so.
pub(super) fn tell_start(doing: &str) {
    tell(&[NotifyState::Status(&format!("starting: {doing}")), more_time(PATIENCE)]);
}

/// Announces the gateway once its counts are read, and says from then on that it is alive. Runs
/// where requests are served; each sign of life has also gone by way of `background`, so that
/// neither can be stuck without the manager's noticing. A process that takes over from another one
/// tells that one first, which tells the manager.
pub(super) async fn report(
    shared: Arc<Shared>,
    background: Handle,
    predecessor: Option<Predecessor>,
    starting: Starting,
) {
    // First of all: "starting" must not be told after "serving".
    starting.end().await;
    if let Some(predecessor) = predecessor {
        while !shared.quotas.unready().is_empty() {
            sleep(LOOK_AGAIN).await;
        }
        shared.metrics.record(Event::Upgrade { ok: true });
        predecessor.took().await;
    }
    announce(&shared).await;
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    while !shared.supervisor.is_replaced() {
        // Ends with an error only when the process ends.
        if background.spawn(async {}).await.is_ok() {
            shared.supervisor.tell(&[NotifyState::Watchdog]);
        }
        sleep(period / 3).await;
    }
}

async fn announce(shared: &Shared) {
    loop {
        let reasons = shared.quotas.unready();
        let Some(first) = reasons.first() else { return shared.supervisor.ready("serving") };
        let status = format!("starting: {first}");
        shared.supervisor.tell(&[NotifyState::Status(&status), more_time(PATIENCE)]);
        sleep(LOOK).await;
    }
}

fn more_time(span: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(span.as_micros()).unwrap_or(u32::MAX))
}
