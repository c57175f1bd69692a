//! Opening a directory: lock, store, what crashes leave behind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, RwLock};
use std::thread;

use tokio::sync::watch;

use super::torn::{Cut, Torn};
use super::witness::Witness;
use super::writer::Writer;
use super::{Embedded, QUEUE, Shared};
use crate::journal::JournalError;
use crate::journal::store::Store;
use crate::observe::Metrics;
use crate::request::UnixMillis;

pub(super) fn open(
    directory: &Path,
    partitions: u32,
    metrics: Arc<Metrics>,
) -> Result<Embedded, JournalError> {
    let failed = |error: io::Error| cannot_open(directory, &error);
    fs::create_dir_all(directory).map_err(failed)?;
    let lock = lock(directory)?;
    let witness = Witness::open(directory).map_err(failed)?;
    let store = open_store(directory, &witness)?;
    settle(&store, directory, partitions)?;
    let next = (0..partitions)
        .map(|partition| store.next_offset(partition))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| cannot_open(directory, &error))?;
    let (commands, inbox) = sync_channel(QUEUE);
    let shared = Arc::new(Shared {
        directory: directory.to_owned(),
        store: RwLock::new(Some(store)),
        witness,
        lock: Mutex::new(Some(lock)),
        ends: next.iter().copied().map(AtomicU64::new).collect(),
        commands,
    });
    let writer = Writer::new(Arc::clone(&shared), inbox, next, metrics);
    let writer = thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || writer.run())
        .map_err(failed)?;
    let forgotten = Mutex::new(vec![UnixMillis::default(); partitions as usize]);
    let share = watch::Sender::new(Arc::new((0..partitions).collect()));
    Ok(Embedded { shared, writer: Some(writer), share, forgotten })
}

/// One process for each directory, ever: two would hand out the same offsets.
pub(super) fn lock(directory: &Path) -> Result<File, JournalError> {
    let failed = |error: io::Error| cannot_open(directory, &error);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(JournalError::Locked { directory: directory.to_owned() })
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Opens the store and makes sure that it has all that was ever confirmed.
pub(super) fn open_store(directory: &Path, witness: &Witness) -> Result<Store, JournalError> {
    let path = directory.join("store");
    let confirmed = witness.confirmed().map_err(|error| cannot_open(directory, &error))?;
    if confirmed == 0 && !path.join("version").exists() && path.exists() {
        // A crash in the middle of making it. Nothing was ever written to it.
        fs::remove_dir_all(&path).map_err(|error| cannot_open(directory, &error))?;
    }
    match Store::open(&path) {
        Err(error @ (fjall::Error::JournalRecovery(_) | fjall::Error::Unrecoverable)) => {
            tracing::warn!(directory = %directory.display(), %error, "the last write may be torn");
            open_without_torn_write(directory, &path, confirmed)
        }
        other => whole(directory, confirmed, other),
    }
}

/// What lies behind the last whole write goes first: where that was all that was torn, the last
/// whole write is a confirmed one.
fn open_without_torn_write(
    directory: &Path,
    path: &Path,
    confirmed: u64,
) -> Result<Store, JournalError> {
    let failed = |error: io::Error| cannot_open(directory, &error);
    let mut outcome = Err(cannot_open(directory, &"its log is damaged"));
    for torn in Torn::STEPS {
        let Some(cut) = Cut::off(torn, path).map_err(failed)? else { continue };
        outcome = whole(directory, confirmed, Store::open(path));
        if outcome.is_ok() {
            tracing::warn!(
                kept = %cut.kept().display(),
                "cut off a write that was in progress when the machine or its disk stopped; it \
                 was never confirmed"
            );
            break;
        }
        cut.take_back().map_err(failed)?;
    }
    outcome
}

fn whole(
    directory: &Path,
    confirmed: u64,
    opened: Result<Store, fjall::Error>,
) -> Result<Store, JournalError> {
    let directory = directory.to_owned();
    let store = opened.map_err(|error| match error {
        fjall::Error::Locked => JournalError::Locked { directory: directory.clone() },
        other => cannot_open(&directory, &other),
    })?;
    let found = store.commit_number().map_err(|error| cannot_open(&directory, &error))?;
    if found < confirmed {
        return Err(JournalError::ConfirmedLost { directory, found, confirmed });
    }
    Ok(store)
}

/// Checks or sets the number of partitions, and removes claims and horizons that newer ones
/// replaced: nobody is reading them now, which can't be said at any other time.
fn settle(store: &Store, directory: &Path, partitions: u32) -> Result<(), JournalError> {
    let failed = |error: fjall::Error| cannot_open(directory, &error);
    let mut group = store.group();
    match store.partitions().map_err(failed)? {
        None => group.set_partitions(partitions),
        Some(stored) if stored == u64::from(partitions) => {}
        Some(stored) => {
            let stored = u32::try_from(stored).unwrap_or(u32::MAX);
            let directory = directory.to_owned();
            return Err(JournalError::Partitions { directory, stored, asked: partitions });
        }
    }
    for partition in 0..partitions {
        group.remove_replaced(partition).map_err(failed)?;
    }
    let number = store.commit_number().map_err(failed)? + 1;
    group.commit(number).map_err(failed)
}

pub(super) fn cannot_open(directory: &Path, reason: &impl ToString) -> JournalError {
    JournalError::CannotOpen { directory: directory.to_owned(), reason: reason.to_string() }
}
