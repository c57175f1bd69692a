//! One partition at work: the owner's state machine, fed by the journal's tail and by requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::charge::Charge;
use super::local::Local;
use super::owner::{Ask, Bounds, Effect, Event, Now, Out, Owner, Role};
use super::seat::{Pending, Seat, seat};
use crate::journal::{Bucket, Journal, JournalError, Record, Tail};
use crate::request::{Clock, UnixMillis};

/// Time between looks at silence, at what waits to be sent and at a claim that failed.
const TICK: Duration = Duration::from_millis(250);
/// How long uses gather that nobody waits for, at most.
const GATHER: Duration = Duration::from_millis(10);
/// Longest wait between claims, and between attempts to read.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// Records taken in under one lock.
const READ_AT_ONCE: usize = 256;

/// One partition.
pub(super) struct Partition {
    pub number: u32,
    owner: Mutex<Owner<Seat>>,
    pub local: Mutex<Local>,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    started: Instant,
    /// Requests come on other runtimes, which may end first.
    runtime: Handle,
    role: watch::Sender<Role>,
    error: Mutex<Option<JournalError>>,
}

impl Partition {
    pub fn new(
        number: u32,
        name: &Arc<str>,
        bounds: Bounds,
        journal: &Arc<dyn Journal>,
        clock: &Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            owner: Mutex::new(Owner::new(Arc::clone(name), bounds)),
            local: Mutex::default(),
            journal: Arc::clone(journal),
            clock: Arc::clone(clock),
            started: Instant::now(),
            runtime: Handle::current(),
            role: watch::Sender::new(Role::Out(Out::Idle)),
            error: Mutex::default(),
        })
    }

    /// The state, for a short look.
    pub fn owner(&self) -> MutexGuard<'_, Owner<Seat>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock.
    pub fn wall(&self) -> UnixMillis {
        self.clock.now()
    }

    /// What the gateway is to the partition, as it changes.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// What last went wrong.
    pub fn error(&self) -> Option<JournalError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<JournalError>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.now(), steady: self.started.elapsed() }
    }

    /// Asks for one use each. All enter under one lock, so that requests that need the same
    /// buckets queue for them in the same order.
    pub fn ask(self: &Arc<Self>, charges: &[&Charge]) -> Vec<Pending> {
        let (asks, pending): (Vec<_>, Vec<_>) = charges
            .iter()
            .map(|charge| {
                let (bucket, terms) = (charge.bucket().clone(), *charge.terms());
                let (waiter, pending) = seat(self, Some((bucket.clone(), terms)));
                (Event::Ask(Ask { bucket, terms, waiter }), pending)
            })
            .unzip();
        self.step(asks);
        pending
    }

    /// Sets a bucket's count to zero.
    pub fn reset(self: &Arc<Self>, bucket: Bucket) -> Pending {
        let (waiter, pending) = seat(self, None);
        self.step([Event::Reset(bucket, waiter)]);
        pending
    }

    /// Takes events in and does what follows from them.
    pub fn step(self: &Arc<Self>, events: impl IntoIterator<Item = Event<Seat>>) {
        let now = self.now();
        let effects: Vec<_> = {
            let mut owner = self.owner();
            let effects = events.into_iter().flat_map(|event| owner.step(event, now)).collect();
            self.role
                .send_if_modified(|role| std::mem::replace(role, owner.role()) != owner.role());
            effects
        };
        for effect in effects {
            match effect {
                Effect::Append(record) => self.append(record),
                Effect::Answer(seat, answer) => seat.deliver(self, answer),
                Effect::Gather => self.flush_soon(),
            }
        }
    }

    /// All partitions flush at the same moments, so that what they gathered shares one durable
    /// write.
    fn flush_soon(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let passed = self.started.elapsed().subsec_nanos() % GATHER.subsec_nanos();
        self.runtime.spawn(async move {
            tokio::time::sleep(GATHER.saturating_sub(Duration::from_nanos(passed.into()))).await;
            this.step([Event::Flush]);
        });
    }

    /// A confirmed append needs no notice: the owner waits to read the record back.
    fn append(self: &Arc<Self>, record: Record) {
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            let Err(error) = this.journal.append(this.number, record.clone()).await else { return };
            tracing::debug!(partition = this.number, %error, "a record was not confirmed");
            let ambiguous = error.is_ambiguous();
            this.set_error(Some(error));
            this.step([if ambiguous { Event::Unsure(record) } else { Event::NotWritten(record) }]);
        });
    }

    /// Reads the partition for good, and keeps it.
    pub async fn follow(self: Arc<Self>) {
        let mut wait = TICK;
        loop {
            let from = self.owner().ledger().next();
            let error = match self.journal.tail(self.number, from).await {
                Ok(tail) => self.read(tail).await,
                Err(error) => error,
            };
            tracing::error!(partition = self.number, %error, "quotas of this partition can't be read");
            // Never past a record that isn't understood; and not from a journal that is gone.
            let stop = matches!(error, JournalError::Corrupt { .. } | JournalError::Closed);
            self.set_error(Some(error));
            self.step([Event::Halt]);
            if stop {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn read(self: &Arc<Self>, mut tail: Tail) -> JournalError {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut claims = Claims::default();
        let mut batch = Vec::with_capacity(READ_AT_ONCE);
        loop {
            tokio::select! {
                count = tail.next_many(&mut batch, READ_AT_ONCE) => {
                    if count == 0 {
                        return JournalError::Closed;
                    }
                    if let Err(error) = self.take_in(&mut batch) {
                        return error;
                    }
                }
                _ = ticks.tick() => {
                    self.step([Event::Tick]);
                    claims.renew(self);
                }
            }
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
                    if let Record::Horizon(latest) = record {
                        horizon = Some(latest.ended);
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

    /// The log says that these periods are over: the journal need not keep them.
    fn forget(self: &Arc<Self>, ended: UnixMillis) {
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            match this.journal.forget(this.number, ended).await {
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

/// When to claim.
#[derive(Default)]
struct Claims {
    failed: u32,
    not_before: Option<Instant>,
}

impl Claims {
    /// Claims the partition if nobody else has, after a wait that grows with each failure.
    fn renew(&mut self, partition: &Arc<Partition>) {
        let role = partition.owner().role();
        match role {
            Role::Owning { .. } => {
                *self = Self::default();
                return;
            }
            Role::Claiming { .. } | Role::Settling { .. } | Role::Out(Out::Superseded) => return,
            Role::Out(
                Out::Idle | Out::ClaimFailed | Out::WriteFailed | Out::Silent | Out::Halted,
            ) => {}
        }
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return;
        }
        let wait = TICK.saturating_mul(1 << self.failed.min(4)).min(LONGEST_WAIT);
        self.not_before = Some(Instant::now() + wait);
        self.failed += 1;
        partition.step([Event::Claim { nonce: uuid::Uuid::new_v4().as_u128() }]);
    }
}
