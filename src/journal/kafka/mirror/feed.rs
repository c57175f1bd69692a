use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use super::Shared;
use super::keeper::{Command, Kept};
use crate::journal::{Offset, RecordKey};
use crate::request::UnixMillis;

/// Records that may wait to be written. During a replay Kafka is read no faster than that; records
/// as they come don't wait.
pub(in super::super) const BACKLOG: usize = 131_072;

/// Gives the mirror what is read from Kafka. A partition must be given from where the mirror ends
/// on: what begins behind that is not kept.
pub(in super::super) struct Feed {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    backlog: usize,
    partitions: Vec<Fed>,
    batch: Vec<Kept>,
}

#[derive(Clone, Copy)]
struct Fed {
    generation: u64,
    /// The first offset that it was not given.
    next: Offset,
    /// What is read now begins behind that.
    gap: bool,
}

impl Feed {
    pub(super) fn new(shared: Arc<Shared>, commands: Sender<Command>, backlog: usize) -> Self {
        let partitions = shared
            .partitions
            .iter()
            .map(|state| Fed {
                generation: state.generation.load(Ordering::Acquire),
                next: state.next.load(Ordering::Acquire),
                gap: false,
            })
            .collect();
        Self { shared, commands, backlog, partitions, batch: Vec::new() }
    }

    /// A partition is read from an offset on. `beginning`: no earlier record is there.
    pub fn begin(&mut self, partition: u32, from: Offset, beginning: bool) {
        let Some(state) = self.shared.state(partition) else { return };
        let Some(fed) = self.partitions.get_mut(partition as usize) else { return };
        let generation = state.generation.load(Ordering::Acquire);
        if fed.generation != generation {
            *fed = Fed { generation, next: 0, gap: false };
        }
        fed.gap = from > fed.next && !(fed.next == 0 && beginning);
    }

    /// A record was read; without payload it takes its key away.
    pub fn keep(&mut self, partition: u32, offset: Offset, key: &[u8], payload: Option<&[u8]>) {
        let Some(fed) = self.partitions.get_mut(partition as usize) else { return };
        if fed.gap || offset < fed.next || self.shared.is_given_up() {
            return;
        }
        fed.next = offset + 1;
        self.batch.push(Kept {
            partition,
            generation: fed.generation,
            offset,
            key: RecordKey::from_bytes(key),
            bytes: payload.map(<[u8]>::to_vec),
        });
    }

    /// The journal says that these periods are over: what was kept of them is removed. Every gateway
    /// has a mirror of every partition, also of those that it does not own.
    pub fn forget(&mut self, partition: u32, ended: UnixMillis) {
        self.flush();
        let _ = self.commands.send(Command::Forget { partition, ended, done: None });
    }

    /// Whether more should be read of a partition that can wait.
    pub fn has_room(&self) -> bool {
        self.shared.is_given_up() || self.shared.waiting.load(Ordering::Acquire) < self.backlog
    }

    /// Hands over what was kept.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let waiting = self.shared.waiting.fetch_add(batch.len(), Ordering::AcqRel);
        // Of a replay there is never so much.
        if waiting >= 2 * self.backlog {
            self.shared.give_up("more is written to the journal than this disk takes");
        }
        let _ = self.commands.send(Command::Keep(batch));
    }

    /// A partition no longer is what it was.
    pub fn clear(&mut self, partition: u32) {
        self.shared.clear(partition, &self.commands);
    }
}
