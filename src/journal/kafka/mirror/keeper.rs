//! The thread that writes the mirror.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};

use tokio::sync::oneshot;

use super::Shared;
use crate::journal::store::Store;
use crate::journal::{Offset, RecordKey};
use crate::request::UnixMillis;

/// Records in one write.
const GROUP: usize = 8192;
/// Keys removed in one write, so that records don't wait long behind it.
const REMOVE_AT_ONCE: usize = 4096;

pub(super) enum Command {
    Keep(Vec<Kept>),
    Clear { partition: u32, generation: u64 },
    Forget { partition: u32, ended: UnixMillis, done: Option<oneshot::Sender<u64>> },
    Stop,
}

/// A record as it stands in Kafka.
pub(super) struct Kept {
    pub partition: u32,
    pub generation: u64,
    pub offset: Offset,
    pub key: RecordKey,
    /// `None`: the key was taken away.
    pub bytes: Option<Vec<u8>>,
}

/// Ended records that are being removed.
struct Forgetting {
    partition: u32,
    ended: UnixMillis,
    removed: u64,
    done: Option<oneshot::Sender<u64>>,
}

pub(super) struct Keeper {
    shared: Arc<Shared>,
    inbox: Receiver<Command>,
    kept: Vec<Kept>,
    forgetting: VecDeque<Forgetting>,
    /// Up to where ended records were already looked for, by partition.
    forgotten: Vec<UnixMillis>,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, inbox: Receiver<Command>) -> Self {
        let forgotten = vec![UnixMillis::default(); shared.partitions.len()];
        Self { shared, inbox, kept: Vec::new(), forgetting: VecDeque::new(), forgotten }
    }

    pub fn run(mut self) {
        loop {
            let going_on = self.take_commands();
            self.write();
            if !going_on {
                break;
            }
            self.forget_some();
        }
        // A step of each; what is left goes with the next horizon.
        for _ in 0..self.forgetting.len() {
            self.forget_some();
        }
    }

    /// Takes what waits, and waits itself if there is nothing to do. False: the end.
    fn take_commands(&mut self) -> bool {
        let mut next = if self.forgetting.is_empty() {
            self.inbox.recv().map_err(|RecvError| TryRecvError::Disconnected)
        } else {
            self.inbox.try_recv()
        };
        loop {
            match next {
                Ok(Command::Keep(batch)) => self.kept.extend(batch),
                Ok(Command::Clear { partition, generation }) => {
                    self.write();
                    self.clear(partition, generation);
                }
                Ok(Command::Forget { partition, ended, done }) => {
                    self.forgetting.push_back(Forgetting { partition, ended, removed: 0, done });
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
            if self.kept.len() >= GROUP {
                return true;
            }
            next = self.inbox.try_recv();
        }
    }

    fn write(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if kept.is_empty() {
            return;
        }
        if !self.shared.is_given_up() {
            match self.try_write(&kept) {
                Ok(next) => self.publish(&next),
                Err(error) => self.shared.give_up(&error.to_string()),
            }
        }
        self.shared.waiting.fetch_sub(kept.len(), Ordering::AcqRel);
    }

    /// Writes the last record of each key, and with them the next offsets.
    fn try_write(&self, kept: &[Kept]) -> Result<HashMap<u32, Offset>, fjall::Error> {
        let mut last: HashMap<(u32, &RecordKey), &Kept> = HashMap::with_capacity(kept.len());
        let mut next = HashMap::new();
        for kept in kept {
            let current = self
                .shared
                .state(kept.partition)
                .is_some_and(|state| state.written.load(Ordering::Acquire) == kept.generation);
            if current {
                last.insert((kept.partition, &kept.key), kept);
                next.insert(kept.partition, kept.offset + 1);
            }
        }
        let store = &self.shared.store;
        let mut group = store.loose_group();
        for ((partition, key), kept) in last {
            match &kept.bytes {
                Some(bytes) => group.put(partition, key, kept.offset, bytes)?,
                None => {
                    if let Some(offset) = store.find(partition, key)? {
                        group.remove(partition, key, offset);
                    }
                }
            }
        }
        for (partition, offset) in &next {
            group.set_next(*partition, *offset);
        }
        group.write()?;
        Ok(next)
    }

    fn publish(&self, next: &HashMap<u32, Offset>) {
        for (partition, offset) in next {
            if let Some(state) = self.shared.state(*partition) {
                state.next.store(*offset, Ordering::Release);
            }
        }
    }

    fn clear(&mut self, partition: u32, generation: u64) {
        if self.shared.is_given_up() {
            return;
        }
        if let Err(error) = clear(&self.shared.store, partition) {
            self.shared.give_up(&error.to_string());
            return;
        }
        if let Some(until) = self.forgotten.get_mut(partition as usize) {
            *until = UnixMillis::default();
        }
        if let Some(state) = self.shared.state(partition) {
            state.next.store(0, Ordering::Release);
            state.written.store(generation, Ordering::Release);
        }
    }

    /// A part of what is to be removed.
    fn forget_some(&mut self) {
        let Some(mut forgetting) = self.forgetting.pop_front() else { return };
        let removed = if self.shared.is_given_up() { Ok(0) } else { self.remove(&forgetting) };
        let removed = removed.unwrap_or_else(|error| {
            self.shared.give_up(&error.to_string());
            0
        });
        forgetting.removed += removed as u64;
        if removed == REMOVE_AT_ONCE {
            self.forgetting.push_front(forgetting);
            return;
        }
        if let Some(until) = self.forgotten.get_mut(forgetting.partition as usize) {
            *until = forgetting.ended.max(*until);
        }
        if let Some(done) = forgetting.done {
            // Nobody may be waiting any more.
            let _ = done.send(forgetting.removed);
        }
    }

    fn remove(&self, forgetting: &Forgetting) -> Result<usize, fjall::Error> {
        let Forgetting { partition, ended, .. } = *forgetting;
        let after = self.forgotten.get(partition as usize).copied().unwrap_or_default();
        let store = &self.shared.store;
        let keys = store.ended(partition, after, ended, REMOVE_AT_ONCE)?;
        let mut group = store.loose_group();
        for stored in &keys {
            group.remove(partition, &stored.key, stored.offset);
        }
        group.write()?;
        Ok(keys.len())
    }
}

/// Removes all of a partition. Its next offset goes first: a crash in between leaves records that
/// count for nothing.
pub(super) fn clear(store: &Store, partition: u32) -> Result<(), fjall::Error> {
    let mut group = store.loose_group();
    group.set_next(partition, 0);
    group.write()?;
    loop {
        let keys = store.some(partition, REMOVE_AT_ONCE)?;
        if keys.is_empty() {
            return Ok(());
        }
        let mut group = store.loose_group();
        for stored in &keys {
            group.remove(partition, &stored.key, stored.offset);
        }
        group.write()?;
    }
}
