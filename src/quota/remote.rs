//! Errands between gateways: sent from here, and done for others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::QuotaError;
use super::charge::Charge;
use super::errand::{Errand, Reply, WireAnswer, WireCharge, WireUse};
use super::others::Others;
use super::owner::{Answer, Event, Held, Place, Why};
use super::partition::Partition;
use super::service::Quotas;
use crate::account::{AccountKey, CallError};
use crate::journal::AccountBytes;

/// For an owner to finish what is under way in a partition that another is about to claim. One
/// that is alive needs some milliseconds.
const LET_GO: Duration = Duration::from_secs(1);
/// Between looks at whether it has.
const LET_GO_STEP: Duration = Duration::from_millis(2);
/// For the delivery of uses that another owner must count.
pub(super) const DELIVERY: Duration = Duration::from_secs(5);

/// Has the owner of a partition finish what is under way. One that can't be asked is past caring.
pub(super) async fn let_go(others: &Others, owner: &str, partition: u32) {
    if let Err(error) = others.send(owner, &Errand::LetGo { partition }, LET_GO).await {
        tracing::debug!(partition, owner, %error, "claiming without the owner's word");
    }
}

/// Begins nothing new in a partition and waits, for a while, until nothing is under way; says
/// whether that is so.
pub(super) async fn come_to_rest(partition: &Arc<Partition>) -> bool {
    partition.step([Event::HandOver]);
    let deadline = Instant::now() + LET_GO;
    while partition.owner().outstanding() > 0 && Instant::now() < deadline {
        tokio::time::sleep(LET_GO_STEP).await;
    }
    partition.owner().outstanding() == 0
}

/// Uses that this gateway admitted or gave back, and another must write down.
pub(super) async fn deliver(
    others: &Others,
    partition: &Arc<Partition>,
    owner: &str,
    uses: Vec<(Held, u64, u64)>,
) {
    let wire = uses.iter().map(|(held, served, refunds)| WireUse::of(held, *served, *refunds));
    let errand = Errand::Settle { uses: wire.collect() };
    let keep_refunds = match others.send(owner, &errand, DELIVERY).await {
        Ok(Reply::Done) => return,
        // What may have been given back is not given back again: that could admit too many.
        Err(CallError::NoAnswer(_)) => false,
        Ok(_) | Err(CallError::NotReached(_) | CallError::Refused(_)) => true,
    };
    let kept = uses.into_iter().map(|(held, served, refunds)| {
        Event::Settle(held, served, if keep_refunds { refunds } else { 0 })
    });
    partition.step(kept);
}

impl Quotas {
    /// Asks the owner of a partition for a use of each bucket.
    pub(super) async fn reserve_elsewhere(&self, owner: &str, charges: &[&Charge]) -> Vec<Answer> {
        let wire = charges.iter().map(|charge| WireCharge::of(charge.bucket(), charge.terms()));
        let errand = Errand::Reserve { charges: wire.collect() };
        let (answers, why) = match self.others.send(owner, &errand, self.patience.answer).await {
            Ok(Reply::Reserved { answers }) => (answers, Why::Unsure),
            Ok(Reply::NotOwner) | Err(CallError::NotReached(_) | CallError::Refused(_)) => {
                (Vec::new(), Why::NotOwner)
            }
            Ok(_) | Err(CallError::NoAnswer(_)) => (Vec::new(), Why::Unsure),
        };
        let mut answers = answers.into_iter();
        let answer = |charge: &&Charge| {
            answers
                .next()
                .and_then(|answer| answer.answer(charge.bucket()))
                .unwrap_or(Answer::Unavailable(why))
        };
        charges.iter().map(answer).collect()
    }

    /// Sets all counts of an account to zero, durably, by its owner; says of how many buckets.
    ///
    /// # Errors
    /// If it is not confirmed in time.
    pub async fn reset(&self, account: &AccountKey) -> Result<usize, QuotaError> {
        let place = self.partition_of(account).map(|partition| partition.place_now());
        let Some(Place::There { owner, .. }) = place.filter(|_| self.others.is_fleet()) else {
            return self.reset_here(account).await;
        };
        let errand = Errand::Reset { account: *account.as_bytes() };
        match self.others.send(&owner, &errand, self.patience.answer).await {
            Ok(Reply::Reset { buckets }) => Ok(buckets),
            _ => Err(QuotaError::NotConfirmed),
        }
    }

    /// Does what another gateway of the fleet asks.
    ///
    /// # Errors
    /// The errand is none that this version knows.
    pub async fn do_errand(&self, errand: &[u8]) -> Result<Bytes, serde_json::Error> {
        let parsed = serde_json::from_slice(errand)?;
        if let Some(successor) = self.others.successor() {
            return match successor.call(errand.to_vec(), self.patience.answer).await {
                Ok(reply) => Ok(reply),
                Err(CallError::NoAnswer(_)) => serde_json::to_vec(&Reply::Failed).map(Bytes::from),
                Err(_) => serde_json::to_vec(&Reply::NotOwner).map(Bytes::from),
            };
        }
        let reply = match parsed {
            Errand::LetGo { partition } => self.do_let_go(partition).await,
            Errand::Reset { account } => self.do_reset(account).await,
            Errand::Reserve { charges } => self.do_reserve(charges).await,
            Errand::Settle { uses } => self.do_settle(uses),
        };
        serde_json::to_vec(&reply).map(Bytes::from)
    }

    /// The partition of an account, if it is this gateway's.
    fn own_partition_of(&self, account: &AccountBytes) -> Option<&Arc<Partition>> {
        let partition = self.partition_of(&AccountKey::from_bytes(*account));
        partition.filter(|partition| partition.is_here())
    }

    async fn do_let_go(&self, partition: u32) -> Reply {
        let Some(partition) = self.partitions.get(partition as usize) else { return Reply::Failed };
        if !partition.is_here() {
            return Reply::NotOwner;
        }
        come_to_rest(partition).await;
        Reply::Done
    }

    async fn do_reset(&self, account: AccountBytes) -> Reply {
        if self.own_partition_of(&account).is_none() {
            return Reply::NotOwner;
        }
        let account = AccountKey::from_bytes(account);
        self.reset_here(&account).await.map_or(Reply::Failed, |buckets| Reply::Reset { buckets })
    }

    async fn do_reserve(&self, charges: Vec<WireCharge>) -> Reply {
        let charges: Vec<_> = charges.into_iter().map(WireCharge::charge).collect();
        let Some((first, _)) = charges.first() else { return Reply::Failed };
        let Some(partition) = self.own_partition_of(&first.account) else {
            return Reply::NotOwner;
        };
        let deadline = Instant::now() + self.patience.answer;
        let mut answers = Vec::with_capacity(charges.len());
        for mut pending in partition.ask(charges.into_iter()) {
            answers.push(WireAnswer::of(pending.answer(deadline).await));
        }
        Reply::Reserved { answers }
    }

    fn do_settle(&self, uses: Vec<WireUse>) -> Reply {
        let own = |used: &WireUse| self.own_partition_of(used.account());
        let Some(partitions) = uses.iter().map(own).collect::<Option<Vec<_>>>() else {
            return Reply::NotOwner;
        };
        for (partition, used) in partitions.iter().zip(uses) {
            let (served, refunds) = (used.served, used.refunds);
            partition.step([Event::Settle(used.held(), served, refunds)]);
        }
        Reply::Done
    }
}
