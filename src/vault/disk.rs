use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use pingora_cache::key::HashBinary;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::change::{Faults, Scope, TableError};
use super::complete::Complete;
use super::entry::Entry;
use super::epochs::Epochs;
use super::feed::Feed;
use super::key::Place;
use super::memory::Memory;
use super::queue::{Queue, Removal, Removed};
use super::record::{self, RecordError};
use super::seal::{KeyRing, SealError};
use super::table::{Table, set_aside};
use super::view::{EntryView, Tier};
use super::writer::Writer;
use super::{Parts, VaultError};
use crate::account::AccountKey;
use crate::observe::{Event, Metrics, VaultOperation};
use crate::request::Clock;

/// Longest wait for the disk before a lookup goes on as a miss: beyond this the backend is the
/// better bet.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(500);
/// Lookups on disk at once. More would only wait for each other, and each holds a thread.
const LOOKUPS_AT_ONCE: usize = 64;
/// Longest wait for a purge to be durable.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for the last writes.
const CLOSING_PATIENCE: Duration = Duration::from_secs(10);
/// Answers of an account that a view shows.
const VIEW_LIMIT: usize = 1000;

/// Answers on disk: looked up with a time limit, written by one thread of its own.
pub(super) struct Disk {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    pub(super) lookups: Arc<Semaphore>,
}

/// What requests and the writing thread share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) queue: Queue,
    /// `None` while the disk is at fault.
    pub(super) table: ArcSwapOption<Table>,
    pub(super) ring: ArcSwap<KeyRing>,
    pub(super) bound: AtomicU64,
    pub(super) epochs: Arc<Epochs>,
    pub(super) memory: Arc<Memory>,
    /// In a fleet.
    pub(super) feed: Option<Arc<Feed>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) faults_seen: AtomicU64,
    pub(super) not_written: AtomicU64,
    pub(super) faults: Faults,
}

/// Why a lookup has no answer from the disk, other than that it isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskFault;

impl Disk {
    pub(super) fn open(
        path: &Path,
        bound: u64,
        queue_bound: u64,
        ring: KeyRing,
        parts: Parts,
    ) -> Result<Self, VaultError> {
        let faults = Faults::default();
        let table = match open_complete(path, &faults) {
            Ok(table) => Some(Arc::new(table)),
            Err(error) if error.is_full_disk() => {
                tracing::error!(%error, "the account cache begins in memory alone");
                None
            }
            Err(error) => return Err(error),
        };
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            queue: Queue::new(queue_bound),
            table: ArcSwapOption::new(table),
            ring: ArcSwap::from_pointee(ring),
            bound: AtomicU64::new(bound),
            epochs: parts.epochs,
            memory: parts.memory,
            feed: parts.feed,
            clock: parts.clock,
            metrics: parts.metrics,
            faults_seen: AtomicU64::new(0),
            not_written: AtomicU64::new(0),
            faults,
        });
        let thread = start_writing(&shared);
        let followed = shared.feed.as_ref().map_or(Ok(()), |feed| feed.follow(&shared));
        let thread = thread.and_then(|thread| followed.map(|()| thread));
        let thread = thread.map_err(|error| VaultError::File { path: path.to_owned(), error })?;
        Ok(Self {
            shared,
            writer: Mutex::new(Some(thread)),
            lookups: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)),
        })
    }

    pub(super) fn set_bounds(&self, disk: u64, queue: u64) {
        self.shared.bound.store(disk, Ordering::Relaxed);
        self.shared.queue.set_bound(queue);
    }

    pub(super) fn set_keys(&self, ring: KeyRing) {
        self.shared.ring.store(Arc::new(ring));
    }

    /// Queues an answer; never waits. When the disk can't keep up, it stays in memory alone.
    pub(super) fn put(&self, entry: Arc<Entry>) {
        if !self.shared.queue.put(entry) {
            self.shared.not_written.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An answer that is not on disk yet.
    pub(super) fn waiting(&self, hash: &HashBinary) -> Option<Arc<Entry>> {
        self.shared.queue.get(hash)
    }

    /// An answer on disk that is not over yet, remembered under `epoch`.
    pub(super) async fn find(&self, place: Place, epoch: u64) -> Result<Option<Entry>, DiskFault> {
        if self.shared.feed.as_ref().is_some_and(|feed| feed.holds_back()) {
            return Ok(None);
        }
        let Some(table) = self.shared.table.load_full() else { return Err(self.shared.fault()) };
        let (shared, lookups) = (self.shared.clone(), self.lookups.clone());
        let lookup = async move {
            let permit = lookups.acquire_owned().await.map_err(|_| DiskFault)?;
            let read = spawn_blocking(move || {
                // Held by the thread, not by the request: one that gave up still has a thread.
                let _permit = permit;
                shared.read(&table, place, epoch)
            });
            read.await.map_err(|_panicked| DiskFault)?
        };
        match timeout(LOOKUP_PATIENCE, lookup).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(DiskFault)) | Err(_) => Err(self.shared.fault()),
        }
    }

    /// What a view shows of an account's answers on disk.
    pub(super) async fn of_account(&self, account: AccountKey) -> Vec<(HashBinary, EntryView)> {
        let Some(table) = self.shared.table.load_full() else { return Vec::new() };
        let shared = self.shared.clone();
        let read = spawn_blocking(move || shared.read_account(&table, &account));
        read.await.unwrap_or_default()
    }

    /// Removes answers here, and sends the purge on its way to the other gateways of a fleet.
    /// Returns once it is durable here.
    pub(super) async fn remove(&self, scope: Scope) -> Result<Removed, VaultError> {
        let (done, removed) = oneshot::channel();
        if !self.shared.queue.remove(Removal { scope, everywhere: true, done: Some(done) }) {
            return Err(VaultError::Unavailable);
        }
        match timeout(REMOVAL_PATIENCE, removed).await {
            Ok(Ok(removed)) => Ok(removed),
            Ok(Err(_)) | Err(_) => Err(VaultError::Unavailable),
        }
    }

    /// Returns when all that was queued before is durable, or given up.
    pub(super) async fn flush(&self) {
        // An error says that the queue is closed: then nothing is left to wait for.
        let _ = self.shared.queue.barrier().await;
    }

    /// Takes the files back after [`Disk::close`]. Where that fails, memory has to do.
    pub(super) fn regain(&self) -> Result<(), VaultError> {
        let path = &self.shared.path;
        // Without its files no purge reaches them: then the next start must not believe them.
        let table = open_complete(path, &self.shared.faults)
            .inspect_err(|_| Complete::of(path).unmark())?;
        self.shared.table.store(Some(Arc::new(table)));
        self.shared.queue.reopen();
        let thread = start_writing(&self.shared)
            .map_err(|error| VaultError::File { path: path.clone(), error })?;
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Writes what is queued and lets go of the files. A disk that hangs must not keep the process
    /// from ending.
    pub(super) fn close(&self) {
        if let Some(feed) = &self.shared.feed {
            feed.close();
        }
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let until = Instant::now() + CLOSING_PATIENCE;
        if let Some(writer) = writer {
            while !writer.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Bytes and answers.
    pub(super) fn size(&self) -> (u64, u64) {
        self.shared.table.load().as_ref().map_or((0, 0), |table| table.size())
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    fn read(&self, table: &Table, place: Place, epoch: u64) -> Result<Option<Entry>, DiskFault> {
        let record = table.get(&place).map_err(|error| {
            tracing::warn!(%error, "a kept answer can't be read");
            DiskFault
        })?;
        let Some(record) = record else { return Ok(None) };
        if record::label(&record).is_ok_and(|label| label.expires <= self.clock.now()) {
            return Ok(None);
        }
        match record::open(&self.ring.load(), place, &record, epoch) {
            Ok(entry) => {
                entry.mark_on_disk();
                Ok(Some(entry))
            }
            // Keys may be put back; what they sealed must still be there then.
            Err(RecordError::Sealed(SealError::UnknownKey)) => Ok(None),
            // Nor does a later release's record go because this release can't read it.
            Err(RecordError::Version(_)) => Ok(None),
            Err(error) => {
                tracing::warn!(%error, "a kept answer is damaged and is dropped");
                let scope = Scope::Entry(place);
                self.queue.remove(Removal { scope, everywhere: false, done: None });
                Err(DiskFault)
            }
        }
    }

    fn read_account(&self, table: &Table, account: &AccountKey) -> Vec<(HashBinary, EntryView)> {
        let (ring, now) = (self.ring.load(), self.clock.now());
        let mut views = Vec::new();
        let read = table.of_account(account.as_bytes(), VIEW_LIMIT, |place, record| {
            let entry = record::open(&ring, place, record, 0);
            if let Some(entry) = entry.ok().filter(|entry| !entry.is_over(now)) {
                views.push((place.hash, EntryView::of(&entry, Tier::Disk)));
            }
        });
        if let Err(error) = read {
            tracing::warn!(%error, "the kept answers of an account can't be read");
            self.fault();
        }
        views
    }

    /// Counts a fault of the disk.
    pub(super) fn fault(&self) -> DiskFault {
        self.faults_seen.fetch_add(1, Ordering::Relaxed);
        self.metrics.record(Event::Vault { operation: VaultOperation::Fault });
        DiskFault
    }
}

fn start_writing(shared: &Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    let writer = Writer::new(shared.clone());
    Builder::new().name("vault".into()).spawn(move || writer.run())
}

/// Opens the table, or an empty one if it lacks a purge.
fn open_complete(path: &Path, faults: &Faults) -> Result<Table, VaultError> {
    let complete = Complete::of(path);
    if path.exists() && !complete.is_marked() {
        tracing::warn!("the account cache on disk lacks a purge and starts empty");
        set_aside(path).map_err(|why| table_error(path, why))?;
    }
    let table = open_or_start_over(path, faults)?;
    complete.mark();
    Ok(table)
}

/// Opens the table. One that is damaged is put aside and an empty one is begun: it is a cache, and
/// must not keep the gateway from starting. What a full or read-only disk refuses is an error.
pub(super) fn open_or_start_over(path: &Path, faults: &Faults) -> Result<Table, VaultError> {
    let why = match Table::open(path, faults.clone()) {
        Ok(table) => return Ok(table),
        Err(TableError::Locked) => return Err(VaultError::Locked(path.to_owned())),
        Err(TableError::Io(error)) if !is_damage(&error) => {
            return Err(VaultError::File { path: path.to_owned(), error });
        }
        Err(error) => error,
    };
    let aside = path.with_extension("damaged");
    tracing::error!(
        %why, aside = %aside.display(),
        "the account cache can't be read; it is put aside and begun anew"
    );
    let moved = std::fs::remove_dir_all(&aside)
        .or_else(|error| (error.kind() == std::io::ErrorKind::NotFound).then_some(()).ok_or(error))
        .and_then(|()| std::fs::rename(path, &aside));
    moved.map_err(|error| VaultError::File { path: path.to_owned(), error })?;
    Table::open(path, faults.clone()).map_err(|why| table_error(path, why))
}

fn table_error(path: &Path, why: TableError) -> VaultError {
    let path = path.to_owned();
    match why {
        TableError::Io(error) => VaultError::File { path, error },
        why => VaultError::Table { path, why: why.to_string() },
    }
}

/// Whether an error of the file system comes from what stands in the files.
fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
    // A file that is missing, or there too early, is what a crash during the first start leaves.
    matches!(error.kind(), NotFound | AlreadyExists | InvalidData | InvalidInput | UnexpectedEof)
}
