use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;

use super::codec::Message;
use super::event::ChangeEvent;
use super::position::{Checkpoint, Source};

/// What the readers hand over.
#[derive(Debug)]
pub(in crate::vault) enum Handed {
    /// Where does the table stand? Answered with nothing while the disk is at fault.
    Begin {
        source: Source,
        generation: u64,
        identity: String,
        answer: SyncSender<Option<BTreeMap<u32, Checkpoint>>>,
    },
    /// Something may have been missed: throw the table away.
    StartOver { generation: u64 },
    /// Partitions are read from here on.
    Assigned { source: Source, generation: u64, starts: Vec<(u32, Checkpoint)> },
    /// Records.
    Batch(Batch),
    /// All that the topic had is handed over.
    AtEnd { source: Source, generation: u64 },
}

/// Records in the order of each partition, and up to where they were read.
#[derive(Debug)]
pub(in crate::vault) struct Batch {
    pub(super) source: Source,
    pub(super) generation: u64,
    pub(super) arrivals: Vec<Arrival>,
    /// By partition: the offset to read next, and the latest time of a record.
    pub(super) reached: BTreeMap<u32, (u64, u64)>,
}

#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Message(Message),
    Change(ChangeEvent),
}

impl Batch {
    pub(super) fn new(source: Source, generation: u64) -> Self {
        Self { source, generation, arrivals: Vec::new(), reached: BTreeMap::new() }
    }

    pub(super) fn read(&mut self, partition: u32, offset: u64, time: u64) {
        let (next, newest) = self.reached.entry(partition).or_default();
        *next = offset + 1;
        *newest = time.max(*newest);
    }

    pub(super) fn push(&mut self, arrival: Arrival) {
        self.arrivals.push(arrival);
    }

    pub(super) fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Bad records are read too.
    pub(super) fn is_empty(&self) -> bool {
        self.reached.is_empty()
    }
}
