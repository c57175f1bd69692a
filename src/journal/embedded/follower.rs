//! Tails that are behind: they read from disk until they have seen all there is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::Shared;
use super::writer::Command;
use crate::journal::{JournalError, Offset, TailSender};

/// Records read from disk at once.
const CHUNK: usize = 1024;

/// The journal's side of a tail.
pub(super) struct Follower {
    pub partition: u32,
    /// First offset that it has not seen.
    pub next: Offset,
    pub sender: TailSender,
}

/// Reads from disk what a tail has not seen, on a thread of its own, then hands it to the writer.
pub(super) fn catch_up(shared: &Arc<Shared>, follower: Follower) {
    let (shared, sender) = (Arc::clone(shared), follower.sender.clone());
    let partition = follower.partition;
    let started = thread::Builder::new()
        .name("journal-tail".to_owned())
        .spawn(move || read_and_hand_over(&shared, follower));
    if let Err(error) = started {
        let reason = error.to_string();
        let _ = sender.try_send(Err(JournalError::CannotRead { partition, reason }));
    }
}

fn read_and_hand_over(shared: &Shared, mut follower: Follower) {
    loop {
        let end = shared.end(follower.partition).map_or(0, |end| end.load(Ordering::Acquire));
        let read = shared.with_store(|store| store.read(follower.partition, follower.next, CHUNK));
        match read {
            // The disk has failed: the writer keeps the tail until it is back.
            None => break,
            Some(Err(error)) => {
                let _ = follower.sender.blocking_send(Err(error));
                return;
            }
            Some(Ok(chunk)) if chunk.is_empty() => {
                follower.next = follower.next.max(end);
                break;
            }
            Some(Ok(chunk)) => {
                for (offset, record) in chunk {
                    follower.next = offset + 1;
                    if follower.sender.blocking_send(Ok((offset, record))).is_err() {
                        return;
                    }
                }
            }
        }
    }
    // Fails only if the journal was closed; the tail ends then.
    let _ = shared.commands.send(Command::Follow(follower));
}
