//! The journal of one process alone: fjall underneath, one fsync for all who wait.

mod follower;
mod open;
mod torn;
mod witness;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use self::follower::Follower;
use self::witness::Witness;
use self::writer::Command;
use super::store::{self, Store, StoredKey};
use super::{Journal, JournalError, Offset, Record, Share, Tail};
use crate::observe::Metrics;
use crate::request::UnixMillis;

/// Commands that may wait for the writer. More at once than any machine serves requests; beyond
/// it an append fails at once rather than late.
const QUEUE: usize = 16_384;
/// Keys let go of in one write, so that appends don't wait long behind it.
const FORGET_AT_ONCE: usize = 1024;

/// A journal in a directory of this process alone.
///
/// A thread takes all appends that wait, writes them as one fjall batch, makes the batch durable
/// with one fsync and only then answers and feeds tails. When the disk fails (full, read-only,
/// broken), appends fail and the thread tries to open the store anew until it works; nothing
/// needs to be restarted.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    /// All partitions, always: there is nobody to share with.
    share: watch::Sender<Share>,
    /// Up to where ended records were already looked for, by partition.
    forgotten: Mutex<Vec<UnixMillis>>,
}

/// What the writer's thread, the readers' threads and the journal's callers share.
struct Shared {
    directory: PathBuf,
    /// `None` while the disk has failed and after the end.
    store: RwLock<Option<Store>>,
    witness: Witness,
    /// Locks the directory while it is open.
    lock: Mutex<Option<File>>,
    /// One past the last durable offset, by partition.
    ends: Vec<AtomicU64>,
    commands: SyncSender<Command>,
}

impl Embedded {
    /// Opens or makes the journal in a directory.
    ///
    /// # Errors
    /// [`JournalError::Locked`], [`Partitions`](JournalError::Partitions),
    /// [`ConfirmedLost`](JournalError::ConfirmedLost) and
    /// [`CannotOpen`](JournalError::CannotOpen), each saying what to do.
    pub fn open(
        directory: &Path,
        partitions: u32,
        metrics: Arc<Metrics>,
    ) -> Result<Self, JournalError> {
        open::open(directory, partitions, metrics)
    }

    fn end_of(&self, partition: u32) -> Result<Offset, JournalError> {
        let end = self.shared.end(partition).ok_or(JournalError::NoSuchPartition(partition))?;
        Ok(end.load(Ordering::Acquire))
    }

    fn enqueue(&self, command: Command) -> Result<(), JournalError> {
        self.shared.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => {
                JournalError::NotWritten(format!("{QUEUE} writes are waiting already"))
            }
            TrySendError::Disconnected(_) => JournalError::Closed,
        })
    }

    /// Ended keys of a partition, a bounded number of them.
    async fn ended(
        &self,
        partition: u32,
        ended: UnixMillis,
    ) -> Result<Vec<StoredKey>, JournalError> {
        let after = {
            let forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
            forgotten.get(partition as usize).copied().unwrap_or_default()
        };
        let shared = Arc::clone(&self.shared);
        let scan = move || {
            shared.with_store(|store| {
                store
                    .ended(partition, after, ended, FORGET_AT_ONCE)
                    .map_err(|error| store::cannot_read(partition, &error))
            })
        };
        let found = tokio::task::spawn_blocking(scan).await;
        found.map_err(|_| JournalError::Closed)?.unwrap_or_else(|| {
            let reason = "the disk has failed".to_owned();
            Err(JournalError::CannotRead { partition, reason })
        })
    }
}

#[async_trait]
impl Journal for Embedded {
    fn partitions(&self) -> u32 {
        u32::try_from(self.shared.ends.len()).unwrap_or(u32::MAX)
    }

    async fn append(&self, partition: u32, record: Record) -> Result<Offset, JournalError> {
        self.end_of(partition)?;
        let (key, bytes) = (record.key(), record.encode());
        if !store::fits(&key) {
            return Err(JournalError::NotWritten("its names are too long".to_owned()));
        }
        let (done, answer) = oneshot::channel();
        self.enqueue(Command::Append(writer::Append { partition, record, key, bytes, done }))?;
        answer.await.unwrap_or_else(|_| Err(JournalError::Unsure("the journal stopped".to_owned())))
    }

    async fn tail(&self, partition: u32, from: Offset) -> Result<Tail, JournalError> {
        self.end_of(partition)?;
        let (sender, tail) = Tail::channel();
        follower::catch_up(&self.shared, Follower { partition, next: from, sender });
        Ok(tail)
    }

    async fn end(&self, partition: u32) -> Result<Offset, JournalError> {
        self.end_of(partition)
    }

    async fn forget(&self, partition: u32, ended: UnixMillis) -> Result<u64, JournalError> {
        self.end_of(partition)?;
        let mut total = 0;
        loop {
            let keys = self.ended(partition, ended).await?;
            let last = keys.len() < FORGET_AT_ONCE;
            if !keys.is_empty() {
                let (done, answer) = oneshot::channel();
                self.enqueue(Command::Forget(writer::Forget { partition, keys, done }))?;
                total += answer.await.unwrap_or(Err(JournalError::Closed))?;
            }
            if last {
                let mut forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(until) = forgotten.get_mut(partition as usize) {
                    *until = ended.max(*until);
                }
                return Ok(total);
            }
        }
    }

    fn share(&self) -> watch::Receiver<Share> {
        self.share.subscribe()
    }

    async fn resign(&self) {}

    async fn release(&self) {
        let (done, released) = oneshot::channel();
        // What is full or gone has nothing to wait for.
        if self.enqueue(Command::Release(done)).is_ok() {
            let _ = released.await;
        }
    }

    async fn regain(&self) -> Result<(), JournalError> {
        let (done, regained) = oneshot::channel();
        self.enqueue(Command::Regain(done))?;
        regained.await.unwrap_or(Err(JournalError::Closed))
    }

    /// Nothing comes from afar: claims are made at once, and read behind all that was there.
    fn is_replayed(&self, _partition: u32) -> bool {
        true
    }

    fn trouble(&self) -> Option<String> {
        let failed = self.shared.with_store(|_| ()).is_none();
        failed.then(|| "the quota journal's disk has failed".to_owned())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Both fail only if the thread has ended already.
        let _ = self.shared.commands.send(Command::Stop);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn end(&self, partition: u32) -> Option<&AtomicU64> {
        self.ends.get(partition as usize)
    }

    /// Uses the store; `None` while there is none.
    fn with_store<T>(&self, work: impl FnOnce(&Store) -> T) -> Option<T> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(work)
    }

    fn is_locked(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Keeps other processes out, or no longer.
    fn set_lock(&self, lock: Option<File>) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
    }

    fn set_store(&self, store: Option<Store>) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("directory", &self.directory).finish_non_exhaustive()
    }
}
