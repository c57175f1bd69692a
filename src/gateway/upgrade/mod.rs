//! Replacing the process by a new one, without a request failing.
//!
//! The old process starts the program that now stands at its place, hands it the listening sockets
//! and has it read and check everything that needs no state. Only then does it stop accepting
//! (connections wait in the sockets meanwhile), write what is under way, let go of the state
//! directory and give the word. The new one opens the state and serves. From then on the old one
//! only ends what it has begun; what that still counts or gives back, it sends to the new one. If
//! the new process fails anywhere on the way, the old one takes everything back and serves on.

mod admin_gate;
mod line;
mod origin;
mod predecessor;
mod program;
mod successor;

pub use admin_gate::{AdminGate, AdminRound};
pub use origin::{Origin, OriginError};
pub use predecessor::Predecessor;
pub use program::Program;
pub use successor::Successor;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::process::Child;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::timeout;

use self::line::{Estate, Handed, MAIN, PREPARE, Prepared, TAKE};
use self::successor::{ENDING, Trouble, how_it_ended};
use super::reload::Reloader;
use super::shared::Shared;
use crate::observe::Event;

/// For the new process to read and check all that needs no state.
const PREPARATION: Duration = Duration::from_secs(60);
/// For uses under way to be written.
const GIVING: Duration = Duration::from_secs(5);
/// For the new process to open the state and serve. Requests wait meanwhile.
const TAKING: Duration = Duration::from_secs(30);
/// For the new process to hear that it is the main one.
const LAST_WORD: Duration = Duration::from_secs(5);
/// To own again what was given.
const RETAKING: Duration = Duration::from_secs(10);

/// The sockets on which a process listens, as the one that takes over gets them.
pub(super) struct Belongings {
    /// By the addresses that the configuration has.
    pub sockets: Vec<(SocketAddr, TcpListener)>,
    /// Whether the service manager holds them too.
    pub kept: bool,
}

/// Has another process take over.
pub struct Upgrader {
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    program: Program,
    belongings: Belongings,
    admin: AdminGate,
    turn: Mutex<()>,
    /// The process ends for another reason.
    stopping: Notify,
    stopped: AtomicBool,
    /// The process that has taken over.
    heir: watch::Sender<Option<u32>>,
}

/// A process has taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upgraded {
    /// Its number.
    pub process: u32,
    /// Its version.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The process that was replaced and ends what it has begun.
    pub replaced: u32,
}

impl Upgrader {
    pub(super) fn new(
        shared: Arc<Shared>,
        reloader: Arc<Reloader>,
        program: Program,
        belongings: Belongings,
    ) -> Self {
        Self {
            shared,
            reloader,
            program,
            belongings,
            admin: AdminGate::default(),
            turn: Mutex::default(),
            stopping: Notify::new(),
            stopped: AtomicBool::new(false),
            heir: watch::Sender::new(None),
        }
    }

    /// Whether the service manager holds the sockets too: then connections wait through a restart.
    pub(super) fn keeps_sockets(&self) -> bool {
        self.belongings.kept
    }

    /// Whether the operators' port accepts.
    pub fn admin(&self) -> &AdminGate {
        &self.admin
    }

    /// Returns once another process has taken over: its number.
    pub(super) async fn until_replaced(&self) -> u32 {
        let mut heir = self.heir.subscribe();
        loop {
            let process = *heir.borrow_and_update();
            match process {
                Some(process) => return process,
                // Fails only without a sender, and this is one.
                None => _ = heir.changed().await,
            }
        }
    }

    /// The process is to end. Returns when no upgrade is under way any more, nor can begin; says
    /// whether one has succeeded.
    pub(super) async fn stop(&self) -> Option<u32> {
        self.stopping.notify_one();
        let _turn = self.turn.lock().await;
        self.stopped.store(true, Ordering::Release);
        *self.heir.borrow()
    }

    /// Has the program at this one's place take over. Must run to its end once begun, on the
    /// runtime for background work.
    ///
    /// # Errors
    /// A text that says why it did not. This process serves on then, as before.
    pub async fn upgrade(&self) -> Result<Upgraded, String> {
        let Ok(_turn) = self.turn.try_lock() else {
            return Err("an upgrade is under way already".to_owned());
        };
        let outcome = self.try_upgrade().await;
        match &outcome {
            Ok(done) => tracing::info!(
                process = done.process,
                version = done.version,
                "another process has taken over; this one ends what it has begun"
            ),
            Err(reason) => {
                self.shared.metrics.record(Event::Upgrade { ok: false });
                tracing::error!(%reason, "the upgrade has failed; this process serves on");
            }
        }
        outcome
    }

    async fn try_upgrade(&self) -> Result<Upgraded, String> {
        self.refuse_where_it_can_not_be()?;
        tracing::info!(program = %self.program.path.display(), "upgrading");
        let (successor, mut child) = self.launch().await?;
        let process = child.id().unwrap_or_default();
        let ready = tokio::select! {
            ready = self.prepared(&successor, &mut child) => ready,
            () = self.stopping.notified() => Err("the gateway is stopping".to_owned()),
        };
        let successor = Arc::new(successor);
        let taken = match ready {
            Ok(prepared) => self.hand_over(&successor, &mut child).await.map(|()| prepared),
            Err(reason) => {
                end(&mut child).await;
                Err(reason)
            }
        };
        let Prepared { version, commit } = taken?;
        self.shared.supervisor.replaced_by(process);
        // It waits for this word only to speak to the service manager.
        match timeout(LAST_WORD, successor.ask(MAIN, Vec::new())).await {
            Ok(Ok(_)) => {}
            Ok(Err(Trouble::Refused(why) | Trouble::Broken(why))) => {
                tracing::warn!(why, "the new process did not hear that it is the main one");
            }
            Err(_) => tracing::warn!("the new process does not answer that it is the main one"),
        }
        self.heir.send_replace(Some(process));
        Ok(Upgraded { process, version, commit, replaced: std::process::id() })
    }

    fn refuse_where_it_can_not_be(&self) -> Result<(), String> {
        if let Some(process) = *self.heir.borrow() {
            return Err(format!("process {process} has taken over already"));
        }
        if self.stopped.load(Ordering::Acquire) {
            return Err("the gateway is stopping".to_owned());
        }
        if self.reloader.config().kafka.is_some() {
            return Err("gateways of a fleet hand their accounts to each other: restart them one \
                        after the other"
                .to_owned());
        }
        if std::process::id() == 1 {
            return Err("this is process 1 of a container, which ends with it: start a new \
                        container instead"
                .to_owned());
        }
        Ok(())
    }

    async fn launch(&self) -> Result<(Successor, Child), String> {
        let (addresses, sockets): (Vec<_>, Vec<_>) = self
            .belongings
            .sockets
            .iter()
            .map(|(address, socket)| socket.try_clone().map(|socket| (*address, socket)))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|error| format!("the sockets can't be handed over: {error}"))?
            .into_iter()
            .unzip();
        let state = Estate::of(&self.reloader.config());
        let handed = Handed { addresses, kept: self.belongings.kept, state };
        Successor::launch(&self.program, &handed, &sockets).await
    }

    /// Waits until the new process could take over.
    async fn prepared(&self, successor: &Successor, child: &mut Child) -> Result<Prepared, String> {
        let answer = timeout(PREPARATION, successor.ask(PREPARE, Vec::new())).await;
        let answer = answer.map_err(|_| {
            format!("the new process was not ready within {} s", PREPARATION.as_secs())
        })?;
        match answer {
            Ok(answer) => serde_json::from_slice(&answer)
                .map_err(|error| format!("the new process does not say what it is: {error}")),
            Err(Trouble::Refused(reason)) => Err(reason),
            Err(Trouble::Broken(_)) => Err(how_it_ended(child).await),
        }
    }

    /// From here on the state is nobody's until the new process has it, or this one again.
    async fn hand_over(&self, successor: &Arc<Successor>, child: &mut Child) -> Result<(), String> {
        self.shared.begin_giving(successor.clone());
        self.admin.set_open(false);
        self.reloader.ports().shut().await;
        let taken = match self.give(successor).await {
            Ok(()) => taken(successor, child).await,
            Err(reason) => Err(reason),
        };
        match taken {
            Ok(()) => successor.serves(),
            Err(_) => {
                end(child).await;
                self.take_back().await;
                successor.failed();
                self.shared.end_giving();
                self.reloader.ports().open();
                self.admin.set_open(true);
            }
        }
        taken
    }

    async fn give(&self, successor: &Arc<Successor>) -> Result<(), String> {
        let vault = self.shared.vault;
        let closing = tokio::task::spawn_blocking(|| vault.close());
        let given = self.shared.quotas.give_over(successor.clone(), GIVING).await;
        closing.await.map_err(|error| error.to_string())?;
        match given {
            true => Ok(()),
            false => Err("uses under way could not be written in time".to_owned()),
        }
    }

    async fn take_back(&self) {
        if let Err(error) = self.shared.quotas.take_back(RETAKING).await {
            tracing::error!(%error, "the quotas could not be taken back; it is tried on");
        }
        let vault = self.shared.vault;
        match tokio::task::spawn_blocking(|| vault.regain()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the account cache goes on in memory"),
            Err(error) => tracing::error!(%error, "the account cache goes on in memory"),
        }
    }
}

/// Waits until the new process serves.
async fn taken(successor: &Successor, child: &mut Child) -> Result<(), String> {
    match timeout(TAKING, successor.ask(TAKE, Vec::new())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Trouble::Refused(reason))) => Err(reason),
        Ok(Err(Trouble::Broken(_))) => Err(how_it_ended(child).await),
        Err(_) => Err(format!("the new process did not serve within {} s", TAKING.as_secs())),
    }
}

/// Ends a process that failed, and waits until it is gone: nobody else may have the state then.
async fn end(child: &mut Child) {
    if timeout(ENDING, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        tracing::error!(%error, "the new process can't be ended");
    }
}
