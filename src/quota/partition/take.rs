//! Taking a partition, and what is left to do when another has it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Partition;
use crate::journal::Offset;
use crate::observe::{ClaimReason, Event as Happening};
use crate::quota::owner::{Event, Place};
use crate::quota::remote;

impl Partition {
    /// Takes the partition from an owner that can't be reached, unless somebody else has by then.
    /// It harms nobody if the owner is alive after all: the log decides.
    pub fn take_over(self: &Arc<Self>, epoch: Offset, after: Duration) {
        if self.restraint().holds(Instant::now()) {
            return;
        }
        self.take_once(|this| async move {
            tokio::time::sleep(after).await;
            let same = matches!(this.place_now(), Place::There { epoch: now, .. } if now == epoch);
            if same {
                tracing::warn!(
                    partition = this.number,
                    epoch,
                    "its owner can't be reached: taking it"
                );
                this.claim(ClaimReason::OwnerUnreachable);
            }
        });
    }

    /// Claims the partition once its owner has finished what is under way, so that nothing of that
    /// becomes void.
    pub fn claim_from(self: &Arc<Self>, owner: Arc<str>, reason: ClaimReason) {
        if !self.means.others.is_fleet() {
            return self.claim(reason);
        }
        self.take_once(|this| async move {
            remote::let_go(&this.means.others, &owner, this.number).await;
            this.claim(reason);
        });
    }

    /// Claims what this gateway owns once more, when nothing is under way: for a journal that lets
    /// go of old records, claims among them. Without one, who starts would not know the owner.
    pub fn claim_anew(self: &Arc<Self>) {
        self.take_once(|this| async move {
            // What is given back may be on its way again by then.
            while remote::come_to_rest(&this).await && this.owns() {
                this.claim(ClaimReason::Renewed);
            }
        });
    }

    /// Begins to take the partition, unless that is under way.
    fn take_once<F>(self: &Arc<Self>, take: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.taking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, taken) = (Arc::clone(self), take(Arc::clone(self)));
        self.runtime.spawn(async move {
            taken.await;
            this.taking.store(false, Ordering::Release);
        });
    }

    /// Has the owner write down what this gateway admitted or gave back and can't write itself.
    pub fn deliver_leftovers(self: &Arc<Self>) {
        let Place::There { owner, .. } = self.place_now() else { return };
        if !self.means.others.reaches(&owner) {
            return;
        }
        // Before they are taken out: whoever asks whether all is written never sees them nowhere.
        self.deliveries.fetch_add(1, Ordering::AcqRel);
        let uses = self.owner().leftovers();
        if uses.is_empty() {
            self.deliveries.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            remote::deliver(&this.means.others, &this, &owner, uses).await;
            this.deliveries.fetch_sub(1, Ordering::AcqRel);
        });
    }

    /// Whether all that was counted and given back here is written, by this gateway or the owner.
    pub fn is_idle(&self) -> bool {
        self.owner().is_idle() && self.deliveries.load(Ordering::Acquire) == 0
    }

    /// Claims the partition.
    pub fn claim(self: &Arc<Self>, reason: ClaimReason) {
        tracing::info!(partition = self.number, reason = reason.word(), "claiming a partition");
        self.means.metrics.record(Happening::Claimed { reason });
        *self.claimed.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((self.means.clock.now(), reason));
        let nonce = uuid::Uuid::new_v4().as_u128();
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).push(nonce);
        self.step([Event::Claim { nonce }]);
    }
}
