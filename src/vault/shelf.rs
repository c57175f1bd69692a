use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

use super::change::Put;
use crate::request::UnixMillis;

/// A shelf holds a tenth of the disk bound. Eight full ones and the one being filled leave a tenth
/// for what the store needs while it moves data.
const SHELVES: u64 = 10;
const FULL_SHELVES: u64 = 8;

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

pub(super) fn shelf_options(disk: u64) -> KeyspaceCreateOptions {
    // Sixteen files a shelf, each written once: values stand apart from keys and aren't moved.
    let values = KvSeparationOptions::default().compression(CompressionType::None);
    KeyspaceCreateOptions::default()
        .max_memtable_size((shelf_bytes(disk) / 16).clamp(1 << 20, 32 << 20))
        .with_kv_separation(Some(values))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
}

pub(super) fn shelf_name(number: u64) -> String {
    format!("shelf-{number}")
}

pub(super) fn shelf_number(name: &str) -> Option<u64> {
    name.strip_prefix("shelf-")?.parse().ok()
}
