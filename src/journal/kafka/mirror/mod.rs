//! A copy of the journal on this machine's disk, so that a restart reads from Kafka only what is
//! new: of each partition the last record under each key, and in the same write the offset to read
//! on from. What a crash loses of it is read from Kafka again. Whenever there is a doubt whether
//! it still tells what is in Kafka, it is thrown away.

mod feed;
mod keeper;
mod open;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

pub(super) use self::feed::{BACKLOG, Feed};
pub(super) use self::open::{Origin, open};

use self::keeper::Command;
use super::reader::{Follow, Line};
use super::replay::Replaying;
use crate::journal::store::Store;
use crate::journal::{JournalError, Offset};
use crate::observe::{Event, JournalEvent, Metrics};
use crate::request::UnixMillis;

/// Records read from disk at once.
const CHUNK: usize = 1024;

/// The copy. Dropped, it writes what it was given and closes.
pub(super) struct Mirror {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What its writer, its readers and those who feed it share.
struct Shared {
    directory: PathBuf,
    store: Store,
    partitions: Vec<State>,
    /// Records that were given and are not written yet.
    waiting: AtomicUsize,
    /// Nothing is written to it, nor read from it, until the next start.
    given_up: AtomicBool,
    metrics: Arc<Metrics>,
}

/// A partition. Each time that it is thrown away, a generation begins.
#[derive(Default)]
struct State {
    /// The offset to read on from in Kafka.
    next: AtomicU64,
    /// The generation that was asked for.
    generation: AtomicU64,
    /// The generation that is on disk.
    written: AtomicU64,
}

impl Mirror {
    /// For the one who reads Kafka.
    pub fn feed(&self, backlog: usize) -> Feed {
        Feed::new(Arc::clone(&self.shared), self.commands.clone(), backlog)
    }

    /// The offset from which Kafka is to be read after what is here; `None` if nothing is.
    pub fn next(&self, partition: u32) -> Option<Offset> {
        self.shared.next(partition).filter(|next| *next > 0)
    }

    /// Throws a partition away.
    pub fn clear(&self, partition: u32) {
        self.shared.clear(partition, &self.commands);
    }

    /// Delivers what is here to a tail, on a thread of its own, then hands it to Kafka's reader.
    pub fn pour(&self, follow: Follow, replaying: &Arc<Replaying>, line: Line) {
        let (shared, replaying) = (Arc::clone(&self.shared), Arc::clone(replaying));
        let (partition, sender) = (follow.partition, follow.sender.clone());
        let started = thread::Builder::new()
            .name("journal-tail".to_owned())
            .spawn(move || shared.pour(follow, &replaying, &line));
        if let Err(error) = started {
            let reason = error.to_string();
            let _ = sender.try_send(Err(JournalError::CannotRead { partition, reason }));
        }
    }

    /// Removes records whose period ended by then; says how many.
    pub async fn forget(&self, partition: u32, ended: UnixMillis) -> u64 {
        let (done, removed) = oneshot::channel();
        if self.commands.send(Command::Forget { partition, ended, done: Some(done) }).is_err() {
            return 0;
        }
        removed.await.unwrap_or(0)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            let _ = keeper.join();
        }
    }
}

impl Shared {
    fn state(&self, partition: u32) -> Option<&State> {
        self.partitions.get(partition as usize)
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn next(&self, partition: u32) -> Option<Offset> {
        let state = self.state(partition)?;
        let next = state.next.load(Ordering::Acquire);
        (!self.is_given_up() && state.is_current()).then_some(next)
    }

    fn clear(&self, partition: u32, commands: &Sender<Command>) {
        let Some(state) = self.state(partition) else { return };
        let generation = state.generation.fetch_add(1, Ordering::AcqRel) + 1;
        let _ = commands.send(Command::Clear { partition, generation });
    }

    /// Without it the next start reads more from Kafka; nothing else is lost.
    fn give_up(&self, reason: &str) {
        if !self.given_up.swap(true, Ordering::AcqRel) {
            let directory = self.directory.display();
            tracing::error!(
                %directory, reason,
                "the local copy of the journal is not kept on until the next start, which will \
                 take longer"
            );
            self.metrics.record(Event::Journal(JournalEvent::Mirror { kept: false }));
        }
    }

    fn pour(&self, mut follow: Follow, replaying: &Replaying, line: &Line) {
        while let Some(end) = self.next(follow.partition) {
            let chunk = match self.store.read(follow.partition, follow.from, CHUNK) {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.give_up(&error.to_string());
                    break;
                }
            };
            if chunk.is_empty() {
                // Its offset was asked for before the records were: none was missed.
                follow.from = follow.from.max(end);
                break;
            }
            for (offset, record) in chunk {
                if follow.sender.blocking_send(Ok((offset, record))).is_err() {
                    return;
                }
                follow.from = offset + 1;
                replaying.read_from_mirror(follow.partition, offset);
            }
        }
        // Whatever ended it: all that stood before this offset was delivered, or the last record
        // of its key stands behind it.
        line.follow(follow);
    }
}

impl State {
    fn is_current(&self) -> bool {
        self.generation.load(Ordering::Acquire) == self.written.load(Ordering::Acquire)
    }
}
