//! Giving all partitions to the process that replaces this one, and taking them back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::others::{SUCCESSOR, Successor};
use super::owner::{Event, Out, Role};
use super::partition::Partition;
use super::service::{QuotaError, Quotas};
use crate::observe::ClaimReason;

/// Between looks at whether what is under way has come to its end.
const STEP: Duration = Duration::from_millis(2);

impl Quotas {
    /// Gives all partitions to another process and lets go of the journal, so that it can open it.
    /// What is under way is written first; whoever comes meanwhile, and whatever is given back
    /// later, is sent to that process. `false`: something did not come to its end in time; then
    /// [`take_back`](Self::take_back).
    pub async fn give_over(&self, to: Arc<dyn Successor>, within: Duration) -> bool {
        self.others.set_successor(Some(to));
        let deadline = Instant::now() + within;
        let is_kept = |partition: &&Arc<Partition>| !partition.is_given();
        loop {
            for partition in self.partitions.iter().filter(is_kept) {
                // Each time: a hand-over that nobody completes ends by itself.
                partition.step([Event::HandOver, Event::Give(SUCCESSOR.into())]);
            }
            if self.partitions.iter().all(|partition| partition.is_given()) {
                break;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(STEP).await;
        }
        // A disk that hangs must not leave nobody serving.
        timeout_at(deadline, self.journal.release()).await.is_ok()
    }

    /// The other process did not take over after all: opens the journal again and owns what it
    /// owned.
    ///
    /// # Errors
    /// The journal can't be opened yet, or a partition not be claimed in time. Both are tried on
    /// and on; until then rules answer by their `unavailable`.
    pub async fn take_back(&self, within: Duration) -> Result<(), QuotaError> {
        let regained = self.journal.regain().await;
        let deadline = Instant::now() + within;
        for partition in &self.partitions {
            if regained.is_ok() && matches!(partition.role_now(), Role::Out(Out::Halted)) {
                partition.claim(ClaimReason::Resumed);
            }
            // Only now: an owner that is out would refuse those who ask.
            partition.step([Event::TakeBack]);
        }
        let owned = self.until_owning(deadline).await;
        self.others.set_successor(None);
        regained?;
        owned
    }

    async fn until_owning(&self, deadline: Instant) -> Result<(), QuotaError> {
        for partition in &self.partitions {
            let mut role = partition.role();
            let owning = role.wait_for(|role| matches!(role, Role::Owning { .. }));
            if partition.is_shared_out() && timeout_at(deadline, owning).await.is_err() {
                return Err(QuotaError::NotOwned { partition: partition.number });
            }
        }
        Ok(())
    }
}
