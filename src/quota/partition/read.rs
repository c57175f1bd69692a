//! Reading a partition, for as long as the gateway runs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Partition, TICK};
use crate::journal::{Claim, JournalError, Offset, Record, Tail};
use crate::quota::claims::Claims;
use crate::quota::owner::{Event, Place, Role};
use crate::request::UnixMillis;

/// Longest wait between attempts to read.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// Records taken in under one lock.
const READ_AT_ONCE: usize = 256;

impl Partition {
    /// Reads the partition for good, and keeps it. `renewal`: the age at which a claim is made anew.
    pub async fn follow(self: Arc<Self>, renewal: Option<Duration>) {
        let mut wait = TICK;
        loop {
            let error = match self.open_tail().await {
                Ok(tail) => self.read(tail, Claims::new(renewal)).await,
                Err(error) => error,
            };
            tracing::error!(partition = self.number, %error, "quotas of this partition can't be read");
            // Never past a record that isn't understood or doesn't fit; and not from a journal
            // that is gone.
            let stop = matches!(
                error,
                JournalError::Corrupt { .. }
                    | JournalError::AnotherAccountKey { .. }
                    | JournalError::Closed
            );
            self.set_error(Some(error));
            self.step([Event::Halt]);
            if stop {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn open_tail(&self) -> Result<Tail, JournalError> {
        let from = self.owner().ledger().next();
        match self.means.journal.tail(self.number, from).await {
            Err(JournalError::Restarted { .. }) => {
                self.forget_all(from);
                self.means.journal.tail(self.number, 0).await
            }
            opened => opened,
        }
    }

    /// The journal no longer has what stands between what was read and what comes: it was made
    /// anew, or this gateway was away for longer than it keeps anything. What is remembered can't
    /// be joined to what comes, and is read again as far as it is there.
    fn forget_all(&self, read: Offset) {
        tracing::error!(
            partition = self.number,
            read,
            "the journal has no longer what comes behind that offset: reading it from its beginning"
        );
        let mut owner = self.owner();
        *owner = owner.anew();
        self.replayed.store(false, Ordering::Release);
        self.place.send_replace(Place::Nowhere);
    }

    async fn read(self: &Arc<Self>, mut tail: Tail, mut claims: Claims) -> JournalError {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut share = self.share.clone();
        let mut batch = Vec::with_capacity(READ_AT_ONCE);
        loop {
            tokio::select! {
                Ok(()) = share.changed() => {
                    claims.renew(self);
                }
                count = tail.next_many(&mut batch, READ_AT_ONCE) => {
                    if count == 0 {
                        return JournalError::Closed;
                    }
                    if let Err(error) = self.take_in(&mut batch) {
                        return error;
                    }
                }
                _ = ticks.tick() => {
                    self.note_replayed(&tail);
                    self.step([Event::Tick]);
                    claims.renew(self);
                    self.deliver_leftovers();
                }
            }
        }
    }

    /// In this order: what the journal has delivered by then and is not in the tail any more has
    /// been taken in.
    fn note_replayed(&self, tail: &Tail) {
        if !self.is_replayed() && self.means.journal.is_replayed(self.number) && tail.is_empty() {
            self.replayed.store(true, Ordering::Release);
        }
    }

    fn take_in(
        self: &Arc<Self>,
        batch: &mut Vec<Result<(u64, Record), JournalError>>,
    ) -> Result<(), JournalError> {
        let mut horizon = None;
        let mut failed = Ok(());
        let events: Vec<_> = batch
            .drain(..)
            .map_while(|item| match item {
                Ok((offset, record)) => {
                    match &record {
                        Record::Horizon(latest) => horizon = Some(latest.ended),
                        Record::Claim(claim) => self.look_for_namesake(claim),
                        Record::Use(_) => {}
                    }
                    Some(Event::Read(offset, record))
                }
                Err(error) => {
                    failed = Err(error);
                    None
                }
            })
            .collect();
        self.step(events);
        if let Some(ended) = horizon
            && matches!(self.owner().role(), Role::Owning { .. })
        {
            self.forget(ended);
        }
        failed
    }

    /// Two processes of one name would take a partition from each other for ever, each holding the
    /// other's claims for its own.
    fn look_for_namesake(&self, claim: &Claim) {
        let own = self.nonces.lock().unwrap_or_else(PoisonError::into_inner).contains(&claim.nonce);
        if own || claim.owner != self.name || !self.means.others.is_fleet() || !self.is_replayed() {
            return;
        }
        if self.means.others.note_namesake() {
            tracing::error!(
                partition = self.number,
                name = &*self.name,
                "another process claims under this gateway's name: each gateway needs a \
                 `fleet.advertise` of its own"
            );
        }
    }

    /// The log says that these periods are over: the journal need not keep them.
    fn forget(self: &Arc<Self>, ended: UnixMillis) {
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            match this.means.journal.forget(this.number, ended).await {
                Ok(records) => {
                    tracing::debug!(partition = this.number, records, "ended periods removed");
                }
                Err(error) => {
                    tracing::warn!(partition = this.number, %error, "ended periods not removed");
                }
            }
        });
    }
}
