use std::sync::Arc;

use tokio::sync::watch;

/// Whether the operators' port accepts; and whether all its answers are out.
#[derive(Clone)]
pub struct AdminGate(Arc<Gate>);

struct Gate {
    open: watch::Sender<bool>,
    /// Rounds of serving that are not over: each ends with its last connection.
    rounds: watch::Sender<usize>,
}

/// One round of serving; dropped, it is over.
pub struct AdminRound(Arc<Gate>);

impl Default for AdminGate {
    fn default() -> Self {
        Self(Arc::new(Gate { open: watch::Sender::new(true), rounds: watch::Sender::new(0) }))
    }
}

impl AdminGate {
    /// A round of serving begins.
    pub fn round(&self) -> AdminRound {
        self.0.rounds.send_modify(|rounds| *rounds += 1);
        AdminRound(self.0.clone())
    }

    /// Returns when nothing more is to be accepted.
    pub async fn until_shut(&self) {
        // Fails only without a sender, and this is one.
        let _ = self.0.open.subscribe().wait_for(|open| !open).await;
    }

    /// Returns when connections are to be accepted.
    pub async fn until_open(&self) {
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
    }

    pub(super) fn set_open(&self, open: bool) {
        self.0.open.send_replace(open);
    }

    /// Whether no connection is left of those that were accepted before it was shut.
    pub(in super::super) fn is_quiet(&self) -> bool {
        *self.0.rounds.borrow() == 0
    }
}

impl Drop for AdminRound {
    fn drop(&mut self) {
        self.0.rounds.send_modify(|rounds| *rounds = rounds.saturating_sub(1));
    }
}
