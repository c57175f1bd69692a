use std::time::Duration;

use pingora_cache::CacheKey;
use tokio::sync::watch;
use tokio::time::timeout;

use super::change::Scope;
use super::feed::Progress;
use super::key::{Place, Ticket};
use super::{Vault, VaultError};
use crate::account::AccountKey;
use crate::observe::VaultOperation;
use crate::request::RouteId;

/// Longest wait for the feed to pass a purge that Kafka has.
const PASSING: Duration = Duration::from_secs(1);
/// Longest wait for Kafka after a request that changed an account. Answers about it come from its
/// owner, which is the gateway that purges; the others need to know only when they take over.
const CHANGE_PATIENCE: Duration = Duration::from_secs(1);

/// What a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeReport {
    /// Answers removed; one that stood in memory and on disk counts once. (When everything is
    /// purged, one that was refreshed may count twice.)
    pub entries: u64,
}

/// A purge counts for everything that was asked for before it: kept answers, and those that are
/// on their way from the backend and may show what was before the change. When it returns, it is
/// on disk: no crash brings an answer back. In a fleet Kafka has it as well, and no gateway will
/// miss it.
///
/// It returns [`VaultError::Unavailable`] when the disk fails; the answers are gone from memory
/// then, and from the disk as soon as it works again, but a crash before that could bring them
/// back. It returns [`VaultError::Owed`] when Kafka does not take it in time: it is done here, but
/// other gateways may still give the answers, until Kafka takes it. It is tried until then.
impl Vault {
    /// Removes all answers about an account.
    pub async fn purge_account(&self, account: &AccountKey) -> Result<PurgeReport, VaultError> {
        self.purge(Scope::Account(*account.as_bytes())).await
    }

    /// Removes all answers about an account that an unsafe method (RFC 9111 section 4.4) may have
    /// changed. Waits for Kafka no longer than a client may be kept waiting for its answer.
    pub async fn purge_changed(&self, account: &AccountKey) -> Result<PurgeReport, VaultError> {
        self.purge_within(Scope::Account(*account.as_bytes()), CHANGE_PATIENCE).await
    }

    /// Removes all answers of a route.
    pub async fn purge_route(&self, route: &RouteId) -> Result<PurgeReport, VaultError> {
        self.purge(Scope::Route(route.clone())).await
    }

    /// Removes the answer under a key that [`super::cache_key`] made.
    pub async fn purge_entry(&self, key: &CacheKey) -> Result<PurgeReport, VaultError> {
        let Some(ticket) = Ticket::of(key) else { return Ok(PurgeReport { entries: 0 }) };
        self.purge(Scope::Entry(Place::of(key, &ticket.name))).await
    }

    /// Removes everything.
    pub async fn purge_all(&self) -> Result<PurgeReport, VaultError> {
        self.purge(Scope::All).await
    }

    pub(super) async fn purge(&self, scope: Scope) -> Result<PurgeReport, VaultError> {
        let patience = self.feed.as_ref().map(|feed| feed.patience()).unwrap_or_default();
        self.purge_within(scope, patience).await
    }

    async fn purge_within(
        &self,
        scope: Scope,
        patience: Duration,
    ) -> Result<PurgeReport, VaultError> {
        self.epochs.turn(&scope);
        let in_memory = self.memory.remove(&scope);
        let only_there = in_memory.iter().filter(|entry| !entry.is_on_disk()).count() as u64;
        let removed = self.disk.remove(scope.clone()).await;
        // Again: a lookup between the first turn and the removal may have read the old answer
        // from disk under the new epoch.
        self.epochs.turn(&scope);
        let removed = removed?;
        let entries = only_there + removed.count;
        (0..entries).for_each(|_| self.count(VaultOperation::Purged));
        if let Some(progress) = removed.progress {
            delivered(progress, patience).await?;
        }
        Ok(PurgeReport { entries })
    }
}

/// Waits until Kafka has a purge.
async fn delivered(
    mut progress: watch::Receiver<Progress>,
    patience: Duration,
) -> Result<(), VaultError> {
    let taken = progress.wait_for(|progress| *progress != Progress::Sent);
    match timeout(patience, taken).await {
        Ok(Ok(progress)) if *progress != Progress::Late => {}
        _ => return Err(VaultError::Owed),
    }
    // Then it is as good as done. But what is filled before the feed has passed it counts as
    // from before the purge, so whoever waited for it had better wait for that too.
    let passed = progress.wait_for(|progress| *progress == Progress::Passed);
    let _ = timeout(PASSING, passed).await;
    Ok(())
}
