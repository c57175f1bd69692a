//! The one thread that writes: it takes all that waits, makes it durable at once, then answers
//! and feeds the tails.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::Shared;
use super::follower::{Follower, catch_up};
use super::open::{lock, open_store};
use crate::journal::store::{Store, StoredKey};
use crate::journal::{JournalError, Offset, Record, RecordKey};
use crate::observe::{Event, JournalEvent, Metrics};

/// Appends in one write at most.
const GROUP: usize = 4096;
/// Time between attempts to open the store again after the disk failed.
const REOPEN: Duration = Duration::from_millis(500);

pub(super) enum Command {
    Append(Append),
    Forget(Forget),
    /// A tail has read what was on disk and wants what comes.
    Follow(Follower),
    /// Another process opens the directory.
    Release(oneshot::Sender<()>),
    /// It doesn't after all.
    Regain(oneshot::Sender<Result<(), JournalError>>),
    Stop,
}

pub(super) struct Append {
    pub partition: u32,
    pub record: Record,
    /// Key and bytes of the record, made by the caller: this thread is the bottleneck.
    pub key: RecordKey,
    pub bytes: Vec<u8>,
    pub done: oneshot::Sender<Result<Offset, JournalError>>,
}

pub(super) struct Forget {
    pub partition: u32,
    pub keys: Vec<StoredKey>,
    pub done: oneshot::Sender<Result<u64, JournalError>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    inbox: Receiver<Command>,
    /// The offset that the next record gets, by partition.
    next: Vec<Offset>,
    /// Tails that have read all there is.
    live: Vec<Follower>,
    /// Tails that wait for the store to open again.
    stranded: Vec<Follower>,
    broken: Option<Broken>,
    metrics: Arc<Metrics>,
}

/// The disk failed; there is no store.
struct Broken {
    reason: String,
    tried: Instant,
    /// Another process has the directory: it is not tried.
    released: bool,
}

/// All that waited and is done together.
#[derive(Default)]
struct Work {
    appends: Vec<Append>,
    forgets: Vec<Forget>,
    follows: Vec<Follower>,
    release: Option<oneshot::Sender<()>>,
    regain: Option<oneshot::Sender<Result<(), JournalError>>>,
    stop: bool,
}

impl Writer {
    pub fn new(
        shared: Arc<Shared>,
        inbox: Receiver<Command>,
        next: Vec<Offset>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { shared, inbox, next, live: Vec::new(), stranded: Vec::new(), broken: None, metrics }
    }

    pub fn run(mut self) {
        loop {
            let Some(mut work) = self.wait() else { break };
            self.mend();
            if !work.appends.is_empty() || !work.forgets.is_empty() {
                self.write(std::mem::take(&mut work.appends), std::mem::take(&mut work.forgets));
            }
            if let Some(done) = work.release.take() {
                self.release();
                let _ = done.send(());
            }
            if let Some(done) = work.regain.take() {
                let _ = done.send(self.regain());
            }
            work.follows.into_iter().for_each(|follower| self.follow(follower));
            if work.stop {
                break;
            }
        }
        self.shared.set_store(None);
        self.shared.witness.sync();
    }

    /// Everything that waits; waits itself if nothing does.
    fn wait(&self) -> Option<Work> {
        let mut work = Work::default();
        let first = match &self.broken {
            None => self.inbox.recv().ok()?,
            Some(_) => match self.inbox.recv_timeout(REOPEN) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => return Some(work),
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        work.add(first);
        while work.appends.len() < GROUP
            && !work.is_last()
            && let Ok(command) = self.inbox.try_recv()
        {
            work.add(command);
        }
        Some(work)
    }

    fn write(&mut self, appends: Vec<Append>, forgets: Vec<Forget>) {
        if let Some(broken) = &self.broken {
            let error = JournalError::NotWritten(format!("the disk failed: {}", broken.reason));
            refuse(appends, forgets, &error);
            return;
        }
        let started = Instant::now();
        let (offsets, next) = self.place(&appends);
        let shared = Arc::clone(&self.shared);
        let written = shared
            .with_store(|store| commit(store, &appends, &offsets, &forgets, (&self.next, &next)))
            .unwrap_or(Err(JournalError::Closed));
        let (removed, commit) = match written {
            Ok(done) => done,
            Err(error) => {
                refuse(appends, forgets, &error);
                self.break_down(&error);
                return;
            }
        };
        self.shared.witness.note(commit);
        self.next = next;
        self.publish_ends();
        self.metrics.record(Event::Journal(JournalEvent::Committed {
            records: appends.len() as u64,
            seconds: started.elapsed().as_secs_f64(),
        }));
        self.feed(&appends, &offsets);
        for (append, offset) in appends.into_iter().zip(offsets) {
            // Nobody may be waiting any more.
            let _ = append.done.send(Ok(offset));
        }
        for (forget, removed) in forgets.into_iter().zip(removed) {
            let _ = forget.done.send(Ok(removed));
        }
    }

    /// An offset for each append, and the next offsets after that.
    fn place(&self, appends: &[Append]) -> (Vec<Offset>, Vec<Offset>) {
        let mut next = self.next.clone();
        let mut take = |partition: u32| {
            let next = next.get_mut(partition as usize)?;
            *next += 1;
            Some(*next - 1)
        };
        // The partition was checked before.
        let offsets =
            appends.iter().map(|append| take(append.partition).unwrap_or(Offset::MAX)).collect();
        (offsets, next)
    }

    fn publish_ends(&self) {
        for (end, next) in self.shared.ends.iter().zip(&self.next) {
            end.store(*next, Ordering::Release);
        }
    }

    /// Hands durable records to the tails. One that can't take them now reads them from disk.
    fn feed(&mut self, appends: &[Append], offsets: &[Offset]) {
        let mut behind = Vec::new();
        self.live.retain_mut(|follower| {
            for (append, offset) in appends.iter().zip(offsets) {
                if append.partition != follower.partition || *offset < follower.next {
                    continue;
                }
                match follower.sender.try_send(Ok((*offset, append.record.clone()))) {
                    Ok(()) => follower.next = offset + 1,
                    Err(TrySendError::Closed(_)) => return false,
                    Err(TrySendError::Full(_)) => {
                        behind.push(Follower { sender: follower.sender.clone(), ..*follower });
                        return false;
                    }
                }
            }
            true
        });
        behind.into_iter().for_each(|follower| catch_up(&self.shared, follower));
    }

    fn follow(&mut self, follower: Follower) {
        let end = self.next.get(follower.partition as usize).copied().unwrap_or_default();
        if self.broken.is_some() {
            self.stranded.push(follower);
        } else if follower.next >= end {
            self.live.push(follower);
        } else {
            catch_up(&self.shared, follower);
        }
    }

    /// fjall refuses all writes after one that failed, since it can't know what the disk kept.
    /// Closing and opening it reads what the disk has and goes on from there.
    fn break_down(&mut self, error: &JournalError) {
        tracing::error!(directory = %self.shared.directory.display(), %error, "the journal's disk failed");
        self.shared.set_store(None);
        self.broken =
            Some(Broken { reason: error.to_string(), tried: Instant::now(), released: false });
    }

    /// Everything that came before is durable.
    fn release(&mut self) {
        self.shared.set_store(None);
        self.shared.witness.sync();
        self.shared.set_lock(None);
        let reason = "another process takes over".to_owned();
        self.broken = Some(Broken { reason, tried: Instant::now(), released: true });
    }

    fn regain(&mut self) -> Result<(), JournalError> {
        let Some(broken) = &mut self.broken else { return Ok(()) };
        broken.released = false;
        self.reopen()
    }

    fn mend(&mut self) {
        let Some(broken) = &mut self.broken else { return };
        if broken.released || broken.tried.elapsed() < REOPEN {
            return;
        }
        broken.tried = Instant::now();
        if let Err(error) = self.reopen()
            && let Some(broken) = &mut self.broken
        {
            broken.reason = error.to_string();
        }
    }

    fn reopen(&mut self) -> Result<(), JournalError> {
        let (store, next) = reopen(&self.shared, self.next.len())?;
        tracing::info!(directory = %self.shared.directory.display(), "the journal is back");
        self.shared.set_store(Some(store));
        self.broken = None;
        self.next = next;
        self.publish_ends();
        // What was written without confirmation, or by another process, is read by all.
        let tails = self.live.drain(..).chain(self.stranded.drain(..));
        tails.for_each(|follower| catch_up(&self.shared, follower));
        Ok(())
    }
}

fn reopen(shared: &Shared, partitions: usize) -> Result<(Store, Vec<Offset>), JournalError> {
    if !shared.is_locked() {
        shared.set_lock(Some(lock(&shared.directory)?));
    }
    let store = open_store(&shared.directory, &shared.witness)?;
    let next = (0..partitions)
        .map(|partition| store.next_offset(u32::try_from(partition).unwrap_or(u32::MAX)))
        .collect::<Result<_, _>>()
        .map_err(|error| super::open::cannot_open(&shared.directory, &error))?;
    Ok((store, next))
}

/// Writes all of it as one; says how many records each forget removed, and the commit's number.
/// `next` are the next offsets before and after.
fn commit(
    store: &Store,
    appends: &[Append],
    offsets: &[Offset],
    forgets: &[Forget],
    next: (&[Offset], &[Offset]),
) -> Result<(Vec<u64>, u64), JournalError> {
    let not_written = |error: fjall::Error| JournalError::NotWritten(error.to_string());
    let mut group = store.group();
    let mut last: HashMap<(u32, &RecordKey), Offset> = HashMap::with_capacity(appends.len());
    let keys = appends.iter().map(|append| (append.partition, &append.key));
    last.extend(keys.zip(offsets.iter().copied()));
    for (append, offset) in appends.iter().zip(offsets) {
        let (partition, key) = (append.partition, &append.key);
        // Of several with one key in this group only the last is kept.
        if last.get(&(partition, key)) == Some(offset) {
            group.put(partition, key, *offset, &append.bytes).map_err(not_written)?;
        }
    }
    let mut removed = vec![0; forgets.len()];
    for (forget, removed) in forgets.iter().zip(&mut removed) {
        for stored in &forget.keys {
            let (partition, key) = (forget.partition, &stored.key);
            if let Some(offset) = store.find(partition, key).map_err(not_written)?
                && !last.contains_key(&(partition, key))
            {
                group.remove(partition, key, offset);
                *removed += 1;
            }
        }
    }
    for (partition, (before, after)) in (0..).zip(next.0.iter().zip(next.1)) {
        if before != after {
            group.set_next(partition, *after);
        }
    }
    let number = store.commit_number().map_err(not_written)? + 1;
    match group.commit(number) {
        Ok(()) => Ok((removed, number)),
        // Refused before anything was written: an earlier write had failed in the background.
        Err(fjall::Error::Poisoned) => Err(not_written(fjall::Error::Poisoned)),
        Err(error) => Err(JournalError::Unsure(error.to_string())),
    }
}

fn refuse(appends: Vec<Append>, forgets: Vec<Forget>, error: &JournalError) {
    for append in appends {
        let _ = append.done.send(Err(error.clone()));
    }
    for forget in forgets {
        let _ = forget.done.send(Err(error.clone()));
    }
}

impl Work {
    fn add(&mut self, command: Command) {
        match command {
            Command::Append(append) => self.appends.push(append),
            Command::Forget(forget) => self.forgets.push(forget),
            Command::Follow(follower) => self.follows.push(follower),
            Command::Release(done) => self.release = Some(done),
            Command::Regain(done) => self.regain = Some(done),
            Command::Stop => self.stop = true,
        }
    }

    /// Whether what comes next has to wait until this is done.
    fn is_last(&self) -> bool {
        self.stop || self.release.is_some() || self.regain.is_some()
    }
}
