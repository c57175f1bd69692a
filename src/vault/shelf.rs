use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

use super::change::Put;
use crate::request::UnixMillis;

/// A shelf holds a tenth of the disk bound. Eight full ones and the one being filled leave a tenth
/// for what the store needs while it moves data.
const SHELVES: u64 = 10;
const FULL_SHELVES: u64 = 8;
/// Keyspaces for shelves to stand in. Two shelves in a row together hold more than a full one, so
/// twice as many suffice, and the one being filled. When a larger bound has left small shelves in
/// the row, the oldest goes early.
pub(super) const SLOTS: u64 = 2 * FULL_SHELVES + 2;
/// What is moved from memory to a file at once.
const IN_MEMORY: u64 = 16 << 20;

/// Bytes on one shelf.
pub(super) fn shelf_bytes(disk: u64) -> u64 {
    disk / SHELVES
}

/// Bytes on all shelves beyond which the oldest goes.
pub(super) fn full_bytes(disk: u64) -> u64 {
    disk / SHELVES * FULL_SHELVES
}

/// A part of the table that is thrown away whole.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) number: u64,
    pub(super) answers: Keyspace,
}

/// What stands on a shelf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Written, with what was replaced or removed since: that still takes room.
    pub(super) bytes: u64,
    /// Answers.
    pub(super) entries: u64,
    /// When the last answer on it is over.
    pub(super) expires: UnixMillis,
}

impl Note {
    /// An empty shelf takes anything: a bound made smaller must not stop the writer.
    pub(super) fn fits(&self, put: &Put, disk: u64) -> bool {
        self.bytes == 0 || self.bytes + put.bytes() <= shelf_bytes(disk)
    }

    /// Whether nothing on it can still be given.
    pub(super) fn is_over(&self, now: UnixMillis) -> bool {
        self.entries == 0 || self.expires <= now
    }

    pub(super) fn add(&mut self, put: &Put, replaces: bool) {
        self.bytes += put.bytes();
        self.entries += u64::from(!replaces);
        self.expires = self.expires.max(put.expires);
    }

    pub(super) fn bytes_form(&self) -> Vec<u8> {
        [self.bytes, self.entries, self.expires.0].map(u64::to_be_bytes).concat()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks() else { return None };
        let [bytes, entries, expires] = numbers else { return None };
        Some(Self {
            bytes: u64::from_be_bytes(*bytes),
            entries: u64::from_be_bytes(*entries),
            expires: UnixMillis(u64::from_be_bytes(*expires)),
        })
    }
}

/// The same for every bound: the store remembers them with the slot.
pub(super) fn slot_options() -> KeyspaceCreateOptions {
    // Values are written once: they stand apart from keys and aren't moved.
    let values = KvSeparationOptions::default().compression(CompressionType::None);
    KeyspaceCreateOptions::default()
        .max_memtable_size(IN_MEMORY)
        .with_kv_separation(Some(values))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
}

/// Where a shelf stands: no two of `SLOTS` in a row in the same slot.
pub(super) fn slot_name(number: u64) -> String {
    format!("slot-{}", number % SLOTS)
}

/// The shelf that a note's key names.
pub(super) fn shelf_number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}
