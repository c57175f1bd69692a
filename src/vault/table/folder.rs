use std::fs;
use std::path::{Path, PathBuf};

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::noted::OWED;
use crate::vault::change::TableError;

/// How the table stands on disk. A folder that says something else is begun anew.
const LAYOUT: &[u8] = b"2";
/// Where it says so among the notes.
const LAYOUT_NOTE: &[u8] = b"layout";
/// In the first layout, which did not say so, a shelf was a keyspace of its own.
const SHELF_OF_LAYOUT_1: &str = "shelf-";

const NOTES: &str = "notes";
const BLOCK_CACHE_BYTES: u64 = 8 << 20;
/// The least that the store allows: how much of its write-ahead log may wait to be moved.
const LOG_BYTES: u64 = 64 << 20;
/// Small, or the log would have to wait long for them.
const NOTES_IN_MEMORY: u64 = 4 << 20;

pub(super) fn notes_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(NOTES_IN_MEMORY)
}

/// Opens the folder of a table, with its notes. One of another layout starts empty, except for the
/// purges that it owes to others.
pub(super) fn open(path: &Path) -> Result<(Database, Keyspace), TableError> {
    let former = former(path);
    let (mut database, mut notes) = open_as_it_is(path)?;
    if is_of_another_layout(&database, &notes)? {
        tracing::warn!("the account cache on disk is of another release and starts empty");
        drop((database, notes));
        set_aside(path)?;
        (database, notes) = open_as_it_is(path)?;
    }
    notes.insert(LAYOUT_NOTE, LAYOUT)?;
    if former.exists() {
        if let Err(error) = take_over_owed(&former, &database, &notes) {
            tracing::error!(%error, "purges that other gateways are owed may be lost");
        }
        remove(&former)?;
    }
    Ok((database, notes))
}

fn former(path: &Path) -> PathBuf {
    path.with_extension("former")
}

/// The next [`open`] starts empty, except for the purges that are owed to others.
pub(in crate::vault) fn set_aside(path: &Path) -> Result<(), TableError> {
    let former = former(path);
    remove(&former)?;
    fs::rename(path, &former).map_err(TableError::Io)
}

fn open_as_it_is(path: &Path) -> Result<(Database, Keyspace), TableError> {
    let database = Database::builder(path)
        .cache_size(BLOCK_CACHE_BYTES)
        .max_journaling_size(LOG_BYTES)
        // What is sealed can't be made smaller.
        .journal_compression(CompressionType::None)
        .worker_threads(2)
        .open()?;
    let notes = database.keyspace(NOTES, notes_options)?;
    Ok((database, notes))
}

fn is_of_another_layout(database: &Database, notes: &Keyspace) -> Result<bool, TableError> {
    let names = database.list_keyspace_names();
    Ok(match notes.get(LAYOUT_NOTE)? {
        // An older release that was put back in between leaves the note and adds its own.
        Some(layout) => {
            *layout != *LAYOUT || names.iter().any(|name| name.starts_with(SHELF_OF_LAYOUT_1))
        }
        None => names.len() > 1,
    })
}

/// Durable when it returns.
fn take_over_owed(from: &Path, database: &Database, notes: &Keyspace) -> Result<(), TableError> {
    let (_former, former_notes) = open_as_it_is(from)?;
    let mut batch = database.batch();
    for owed in former_notes.prefix(OWED) {
        batch.insert(notes, owed.key()?, []);
    }
    batch.commit()?;
    Ok(database.persist(PersistMode::SyncAll)?)
}

fn remove(folder: &Path) -> Result<(), TableError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(TableError::Io(error)),
        _ => Ok(()),
    }
}
