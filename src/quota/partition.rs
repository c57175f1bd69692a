//! One partition at work: the owner's state machine, fed by the journal's tail and by requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::claims::Claims;
use super::local::Local;
use super::owner::{Ask, Bounds, Effect, Event, Now, Out, Owner, Place, Role};
use super::remote;
use super::seat::{Pending, Seat, seat};
use super::window::Terms;
use crate::account::Fleet;
use crate::journal::{Bucket, Journal, JournalError, Offset, Record, Share, Tail};
use crate::observe::{ClaimReason, Event as Happening, Metrics};
use crate::request::{Clock, UnixMillis, since_boot};

/// Time between looks at silence, at what waits to be sent and at a claim that failed.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// How long uses gather that nobody waits for, at most.
const GATHER: Duration = Duration::from_millis(10);
/// Longest wait between attempts to read.
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
    /// Requests come on other runtimes, which may end first.
    runtime: Handle,
    role: watch::Sender<Role>,
    place: watch::Sender<Place>,
    share: watch::Receiver<Share>,
    /// All that was there when reading began has been taken in.
    replayed: AtomicBool,
    /// When and why it was claimed last.
    claimed: Mutex<Option<(UnixMillis, ClaimReason)>>,
    metrics: Arc<Metrics>,
    /// The other gateways; `None`: there are none.
    fleet: Option<Arc<Fleet>>,
    /// A take-over is under way.
    taking: AtomicBool,
    error: Mutex<Option<JournalError>>,
}

impl Partition {
    pub fn new(
        number: u32,
        name: &Arc<str>,
        bounds: Bounds,
        journal: &Arc<dyn Journal>,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        fleet: Option<Arc<Fleet>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            owner: Mutex::new(Owner::new(Arc::clone(name), bounds)),
            local: Mutex::default(),
            journal: Arc::clone(journal),
            clock: Arc::clone(clock),
            runtime: Handle::current(),
            role: watch::Sender::new(Role::Out(Out::Idle)),
            place: watch::Sender::new(Place::Nowhere),
            share: journal.share(),
            replayed: AtomicBool::new(false),
            claimed: Mutex::default(),
            metrics: Arc::clone(metrics),
            fleet,
            taking: AtomicBool::new(false),
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

    /// What the gateway is to the partition now.
    pub fn role_now(&self) -> Role {
        *self.role.borrow()
    }

    /// Where its uses are counted, as it changes. Nowhere until all that was there when reading
    /// began has been read: claims before that may be of gateways that are long gone.
    pub fn place(&self) -> watch::Receiver<Place> {
        self.place.subscribe()
    }

    /// Where its uses are counted now.
    pub fn place_now(&self) -> Place {
        self.place.borrow().clone()
    }

    /// Whether all that was there when reading began has been read.
    pub fn is_replayed(&self) -> bool {
        self.replayed.load(Ordering::Acquire)
    }

    /// Whether this gateway should own it, as the journal shares partitions out.
    pub fn is_shared_out(&self) -> bool {
        self.share.borrow().contains(&self.number)
    }

    /// When and why this gateway claimed it last.
    pub fn claimed(&self) -> Option<(UnixMillis, ClaimReason)> {
        *self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What last went wrong.
    pub fn error(&self) -> Option<JournalError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<JournalError>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.now(), steady: since_boot() }
    }

    /// Asks for one use each. All enter under one lock, so that requests that need the same
    /// buckets queue for them in the same order.
    pub fn ask(self: &Arc<Self>, charges: impl Iterator<Item = (Bucket, Terms)>) -> Vec<Pending> {
        let (asks, pending): (Vec<_>, Vec<_>) = charges
            .map(|(bucket, terms)| {
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
            self.note_place(&owner);
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

    fn note_place(&self, owner: &Owner<Seat>) {
        if !self.is_replayed() {
            return;
        }
        let place = owner.place();
        self.place.send_if_modified(|known| {
            let is_news = *known != place;
            *known = place;
            is_news
        });
    }

    /// Takes the partition from an owner that can't be reached, unless somebody else has by then.
    /// It harms nobody if the owner is alive after all: the log decides.
    pub fn take_over(self: &Arc<Self>, epoch: Offset, after: Duration) {
        if self.taking.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
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
            this.taking.store(false, Ordering::Release);
        });
    }

    /// Claims the partition once its owner has finished what is under way, so that nothing of that
    /// becomes void.
    pub fn claim_from(self: &Arc<Self>, owner: Arc<str>, reason: ClaimReason) {
        let Some(fleet) = self.fleet.clone() else { return self.claim(reason) };
        if self.taking.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            remote::let_go(&fleet, &owner, this.number).await;
            this.claim(reason);
            this.taking.store(false, Ordering::Release);
        });
    }

    /// Has the owner write down what this gateway admitted or gave back and can't write itself.
    fn deliver_leftovers(self: &Arc<Self>) {
        let (Some(fleet), Place::There { owner, .. }) = (&self.fleet, self.place_now()) else {
            return;
        };
        let uses = self.owner().leftovers();
        if uses.is_empty() {
            return;
        }
        let (this, fleet) = (Arc::clone(self), Arc::clone(fleet));
        self.runtime.spawn(async move { remote::deliver(&fleet, &this, &owner, uses).await });
    }

    /// Claims the partition.
    pub fn claim(self: &Arc<Self>, reason: ClaimReason) {
        tracing::info!(partition = self.number, reason = reason.word(), "claiming a partition");
        self.metrics.record(Happening::Claimed { reason });
        *self.claimed.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((self.clock.now(), reason));
        self.step([Event::Claim { nonce: uuid::Uuid::new_v4().as_u128() }]);
    }

    /// All partitions flush at the same moments, so that what they gathered shares one durable
    /// write.
    fn flush_soon(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let passed = since_boot().subsec_nanos() % GATHER.subsec_nanos();
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
            let error = match self.open_tail().await {
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

    async fn open_tail(&self) -> Result<Tail, JournalError> {
        let from = self.owner().ledger().next();
        match self.journal.tail(self.number, from).await {
            Err(JournalError::Restarted { .. }) => {
                self.forget_all(from);
                self.journal.tail(self.number, 0).await
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

    async fn read(self: &Arc<Self>, mut tail: Tail) -> JournalError {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut claims = Claims::default();
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
        if !self.is_replayed() && self.journal.is_replayed(self.number) && tail.is_empty() {
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
