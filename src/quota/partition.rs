//! One partition at work: the owner's state machine, fed by the journal's tail and by requests.

mod read;
mod take;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::claims::Restraint;
use super::gatherer::Gatherer;
use super::local::Local;
use super::others::{Others, SUCCESSOR};
use super::owner::{Ask, Bounds, Effect, Event, Now, Out, Owner, Place, Role};
use super::seat::{Pending, Seat, seat};
use super::window::Terms;
use crate::journal::{Bucket, Journal, JournalError, Record, Share};
use crate::observe::{ClaimReason, Metrics};
use crate::request::{Clock, UnixMillis, since_boot};

/// Time between looks at silence, at what waits to be sent and at a claim that failed.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// What all partitions work with.
#[derive(Clone)]
pub(super) struct Means {
    pub journal: Arc<dyn Journal>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub others: Arc<Others>,
    pub gatherer: Arc<Gatherer>,
}

/// One partition.
pub(super) struct Partition {
    pub number: u32,
    name: Arc<str>,
    owner: Mutex<Owner<Seat>>,
    pub local: Mutex<Local>,
    means: Means,
    /// Requests come on other runtimes, which may end first.
    runtime: Handle,
    role: watch::Sender<Role>,
    place: watch::Sender<Place>,
    share: watch::Receiver<Share>,
    /// All that was there when reading began has been taken in.
    replayed: AtomicBool,
    /// When and why it was claimed last.
    claimed: Mutex<Option<(UnixMillis, ClaimReason)>>,
    /// A take-over is under way.
    taking: AtomicBool,
    restraint: Mutex<Restraint>,
    /// Of all claims that this process has made.
    nonces: Mutex<Vec<u128>>,
    /// Deliveries to the owner that are under way.
    deliveries: AtomicUsize,
    error: Mutex<Option<JournalError>>,
}

impl Partition {
    pub fn new(number: u32, name: &Arc<str>, bounds: Bounds, means: &Means) -> Arc<Self> {
        Arc::new(Self {
            number,
            name: Arc::clone(name),
            owner: Mutex::new(Owner::new(Arc::clone(name), bounds)),
            local: Mutex::default(),
            means: means.clone(),
            runtime: Handle::current(),
            role: watch::Sender::new(Role::Out(Out::Idle)),
            place: watch::Sender::new(Place::Nowhere),
            share: means.journal.share(),
            replayed: AtomicBool::new(false),
            claimed: Mutex::default(),
            taking: AtomicBool::new(false),
            restraint: Mutex::default(),
            nonces: Mutex::default(),
            deliveries: AtomicUsize::new(0),
            error: Mutex::default(),
        })
    }

    /// The state, for a short look.
    pub fn owner(&self) -> MutexGuard<'_, Owner<Seat>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock.
    pub fn wall(&self) -> UnixMillis {
        self.means.clock.now()
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

    /// Whether this gateway owns it now.
    pub fn is_here(&self) -> bool {
        *self.place.borrow() == Place::Here
    }

    /// Whether this gateway has read its claim and no newer one.
    pub fn owns(&self) -> bool {
        matches!(self.role_now(), Role::Owning { .. })
    }

    /// Whether it was given to the process that replaces this one.
    pub fn is_given(&self) -> bool {
        matches!(&*self.place.borrow(), Place::There { owner, .. } if **owner == *SUCCESSOR)
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

    /// Whether a record can't be understood: nothing behind it is read, by any gateway.
    pub fn is_damaged(&self) -> bool {
        matches!(self.error(), Some(JournalError::Corrupt { .. }))
    }

    fn restraint(&self) -> MutexGuard<'_, Restraint> {
        self.restraint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_error(&self, error: Option<JournalError>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn now(&self) -> Now {
        Now { wall: self.means.clock.now(), steady: since_boot() }
    }

    /// Asks for one use each. All enter under one lock, so that requests that need the same
    /// buckets queue for them in the same order.
    pub fn ask(self: &Arc<Self>, charges: impl Iterator<Item = (Bucket, Terms)>) -> Vec<Pending> {
        let now = self.now();
        let mut effects = Vec::new();
        let mut owner = self.owner();
        let pending = charges
            .map(|(bucket, terms)| {
                let (answer, follow) = owner.ask_now(&bucket, &terms, now);
                effects.extend(follow);
                if let Some(answer) = answer {
                    return Pending::answered(self, answer);
                }
                let (waiter, pending) = seat(self, Some((bucket.clone(), terms)));
                effects.extend(owner.step(Event::Ask(Ask { bucket, terms, waiter }), now));
                pending
            })
            .collect();
        self.note(&owner);
        drop(owner);
        self.follow_up(effects);
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
        let mut owner = self.owner();
        let effects: Vec<_> = events.into_iter().flat_map(|event| owner.step(event, now)).collect();
        self.note(&owner);
        drop(owner);
        self.follow_up(effects);
    }

    fn follow_up(self: &Arc<Self>, effects: Vec<Effect<Seat>>) {
        let mut records = Vec::new();
        for effect in effects {
            match effect {
                Effect::Append(record) => records.push(record),
                Effect::Answer(seat, answer) => seat.deliver(self, answer),
                Effect::Gather => self.means.gatherer.note(self.number),
            }
        }
        if !records.is_empty() {
            self.append(records);
        }
    }

    /// Tells those who watch what the owner has become. Looked at for every use, so it must cost
    /// next to nothing where that is the same as before.
    fn note(&self, owner: &Owner<Seat>) {
        if *self.role.borrow() != owner.role() {
            let by_force = matches!(self.claimed(), Some((_, ClaimReason::OwnerUnreachable)));
            if by_force && owner.role() == Role::Out(Out::Superseded) {
                self.restraint().overruled(Instant::now());
            }
            self.role.send_replace(owner.role());
        }
        self.note_place(owner);
    }

    fn note_place(&self, owner: &Owner<Seat>) {
        if !self.is_replayed() {
            return;
        }
        let place = owner.place();
        if *self.place.borrow() != place {
            self.place.send_replace(place);
        }
    }

    fn append(self: &Arc<Self>, records: Vec<Record>) {
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            join_all(records.into_iter().map(|record| this.append_one(record))).await;
        });
    }

    /// A confirmed append needs no notice: the owner waits to read the record back.
    async fn append_one(self: &Arc<Self>, record: Record) {
        let appended = self.means.journal.append(self.number, record.clone()).await;
        let Err(error) = appended else { return };
        tracing::debug!(partition = self.number, %error, "a record was not confirmed");
        let ambiguous = error.is_ambiguous();
        self.set_error(Some(error));
        self.step([if ambiguous { Event::Unsure(record) } else { Event::NotWritten(record) }]);
    }
}
