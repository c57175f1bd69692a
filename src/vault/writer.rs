use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::broken::Broken;
use super::change::{Applied, Change, Put, Scope, TableError};
use super::complete::Complete;
use super::disk::{Shared, open_or_start_over};
use super::entry::Entry;
use super::feed::{Follower, Handed};
use super::layout::route_tag;
use super::memory::Memory;
use super::queue::{Removal, Removed, Work};
use super::record;
use super::table::Table;
use crate::observe::{Event, VaultOperation};

/// Answers written in one batch.
const TOGETHER: usize = 256;
/// Longest time for which an answer survives a crash of the process but not of the machine.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often what is over is looked for.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for look-ups at the end.
const LAST_LOOKUPS: Duration = Duration::from_secs(2);
/// Longest wait for the store to catch up with moving its data.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(30);

/// The one thread that changes the table: seals and writes answers, removes what is purged, takes
/// over what a feed brings, makes room, and gets a disk that failed back into use.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Since when something waits for a sync.
    unsynced: Option<Instant>,
    tidied: Instant,
    broken: Option<Broken>,
    /// In a fleet.
    follower: Option<Follower>,
}

/// Waits for look-ups that still read: only then are the files free for another process.
fn let_go(mut table: Arc<Table>) {
    let until = Instant::now() + LAST_LOOKUPS;
    while let Err(still_read) = Arc::try_unwrap(table) {
        if Instant::now() >= until {
            return;
        }
        table = still_read;
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (feed, table) = (shared.feed.clone(), shared.table.load_full());
        let follower = feed.map(|feed| Follower::new(feed, table.as_deref()));
        let broken = table.is_none().then(|| Broken::from_the_start(&shared.path));
        let mut writer = Self { shared, unsynced: None, tidied: Instant::now(), broken, follower };
        writer.as_follower(|follower, writer| follower.tidy(writer));
        writer
    }

    /// Lends itself to the follower.
    fn as_follower(&mut self, work: impl FnOnce(&mut Follower, &mut Self)) {
        if let Some(mut follower) = self.follower.take() {
            work(&mut follower, self);
            self.follower = Some(follower);
        }
    }

    /// `None` while the disk is at fault.
    pub(super) fn table(&self) -> Option<Arc<Table>> {
        self.shared.table.load_full()
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    pub(super) fn turn(&self, scope: &Scope) {
        self.shared.epochs.turn(scope);
    }

    /// Makes memory and fills in progress forget.
    pub(super) fn forget(&self, scope: &Scope) {
        self.turn(scope);
        self.shared.memory.remove(scope);
    }

    pub(super) fn count(&self, operation: VaultOperation, times: u64) {
        for _ in 0..times {
            self.shared.metrics.record(Event::Vault { operation });
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let work = self.shared.queue.take(self.patience(), TOGETHER);
            let last = work.last;
            self.work(work);
            if last {
                break;
            }
        }
        self.as_follower(|follower, writer| follower.close(writer));
        self.sync();
        if let Some(table) = self.shared.table.swap(None) {
            let_go(table);
        }
    }

    fn patience(&self) -> Duration {
        match self.unsynced {
            Some(since) => SYNC_EVERY.saturating_sub(since.elapsed()),
            None => SYNC_EVERY,
        }
    }

    fn work(&mut self, work: Work) {
        self.mend();
        self.remove(work.removals);
        self.follow(work.handed);
        self.write(&work.entries);
        self.shared.queue.finished(&work.entries);
        self.tidy();
        let due = self.unsynced.is_some_and(|since| since.elapsed() >= SYNC_EVERY);
        if due || !work.barriers.is_empty() {
            self.sync();
        }
        for barrier in work.barriers {
            // Who waits may have gone.
            let _ = barrier.send(());
        }
    }

    /// Removes before it writes: an entry that was queued before a purge carries an older epoch
    /// and is not written.
    fn remove(&mut self, removals: Vec<Removal>) {
        if removals.is_empty() {
            return;
        }
        let mut removed = Vec::new();
        for removal in removals {
            let scope = removal.scope.clone();
            let everywhere = self.follower.as_ref().filter(|_| removal.everywhere);
            let (progress, noted) = everywhere.map(|f| f.owe(&scope)).unwrap_or_default();
            let changes = noted.into_iter().chain([Change::Remove(scope)]).collect();
            match self.change(changes) {
                Some(applied) => {
                    removed.push((removal, Removed { count: applied.removed, progress }));
                }
                None => self.owe(removal.scope),
            }
        }
        // Kafka and the disk work at the same time.
        self.as_follower(|follower, writer| follower.pay(writer));
        if self.sync() {
            for (removal, done) in removed {
                // Who waits may have gone.
                let _ = removal.done.map(|told| told.send(done));
            }
        } else {
            removed.into_iter().for_each(|(removal, _)| self.owe(removal.scope));
        }
    }

    fn follow(&mut self, handed: Vec<Handed>) {
        self.as_follower(|follower, writer| {
            follower.look_after(writer);
            handed.into_iter().for_each(|handed| follower.take_on(handed, writer));
        });
    }

    fn write(&mut self, entries: &[Arc<Entry>]) {
        if entries.is_empty() {
            return;
        }
        let takes_it = self.has_caught_up();
        let ring = self.shared.ring.load_full();
        let now = self.shared.clock.now();
        let mut puts = Vec::with_capacity(entries.len());
        let mut written = Vec::with_capacity(entries.len());
        for entry in entries {
            let purged = self.shared.epochs.now(entry.name.stripes) != entry.epoch;
            if purged || entry.is_over(now) {
                continue;
            }
            match record::seal(&ring, entry) {
                Ok(record) => {
                    let (place, expires) = (entry.place, entry.expires);
                    if let Some(follower) = &self.follower {
                        follower.send(&place, &record);
                    }
                    let route = route_tag(&entry.name.route);
                    puts.push(Change::Put(Put { place, route, expires, record }));
                    written.push(entry);
                }
                Err(error) => {
                    tracing::warn!(%error, "an answer can't be written");
                    self.not_written(1);
                }
            }
        }
        match takes_it.then(|| self.change(puts)).flatten() {
            Some(_) => written.iter().for_each(|entry| entry.mark_on_disk()),
            None => self.not_written(written.len()),
        }
    }

    fn not_written(&self, count: usize) {
        self.shared.not_written.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Waits while the store is behind with moving data; `false` if that doesn't end.
    pub(super) fn has_caught_up(&mut self) -> bool {
        if let Some(Err(error)) = self.table().map(|table| table.shorten_log()) {
            self.broke(&error);
        }
        let until = Instant::now() + BACKLOG_PATIENCE;
        while let Some(table) = self.shared.table.load_full() {
            if !table.is_behind() {
                return true;
            }
            // The store's own threads die of a disk fault; only using it tells.
            let alive = table.probe();
            drop(table);
            match alive {
                Err(error) => self.broke(&error),
                Ok(()) if Instant::now() >= until => return false,
                Ok(()) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        false
    }

    fn tidy(&mut self) {
        let bound = self.shared.bound.load(Ordering::Relaxed);
        let Some(table) = self.shared.table.load_full() else { return };
        let crowded = table.size().0 > bound;
        if !crowded && self.tidied.elapsed() < TIDY_EVERY {
            return;
        }
        self.tidied = Instant::now();
        let made = table.make_room(self.shared.clock.now(), bound);
        drop(table);
        match made {
            Ok(evicted) => self.count(VaultOperation::Evicted, evicted),
            Err(error) => self.broke(&error),
        }
        self.as_follower(|follower, writer| follower.tidy(writer));
    }

    /// `None`: the disk is at fault.
    pub(super) fn change(&mut self, changes: Vec<Change>) -> Option<Applied> {
        let table = self.shared.table.load_full()?;
        let applied = table.apply(changes, self.shared.bound.load(Ordering::Relaxed));
        drop(table);
        match applied {
            Ok(applied) => {
                self.unsynced.get_or_insert_with(Instant::now);
                self.count(VaultOperation::Evicted, applied.evicted);
                self.shared.not_written.fetch_add(applied.too_large, Ordering::Relaxed);
                Some(applied)
            }
            Err(error) => {
                self.broke(&error);
                None
            }
        }
    }

    /// Whether everything so far is durable.
    fn sync(&mut self) -> bool {
        let Some(table) = self.shared.table.load_full() else { return false };
        let synced = table.sync();
        drop(table);
        self.unsynced = None;
        match synced {
            Ok(()) => true,
            Err(error) => {
                self.broke(&error);
                false
            }
        }
    }

    pub(super) fn broke(&mut self, error: &TableError) {
        tracing::error!(%error, "the account cache lost its disk and goes on in memory");
        self.shared.fault();
        self.unsynced = None;
        let table = self.shared.table.swap(None);
        self.broken = Some(Broken::holding(table));
    }

    fn owe(&mut self, scope: Scope) {
        let Some(broken) = &mut self.broken else { return };
        broken.owe(scope, &self.shared.path);
    }

    /// Tries to get the disk back into use, now and then.
    fn mend(&mut self) {
        let Some(mut broken) = self.broken.take_if(|broken| Instant::now() >= broken.retry) else {
            return;
        };
        match self.reopen(&mut broken) {
            Some(table) => {
                tracing::info!("the account cache has its disk again");
                self.shared.table.store(Some(Arc::new(table)));
                self.as_follower(|follower, _| follower.lacks_something());
            }
            None => {
                broken.wait_longer();
                self.broken = Some(broken);
            }
        }
    }

    fn reopen(&self, broken: &mut Broken) -> Option<Table> {
        if let Some(table) = broken.table.take() {
            match Arc::try_unwrap(table) {
                Ok(table) => drop(table),
                Err(still_read) => {
                    broken.table = Some(still_read);
                    return None;
                }
            }
        }
        let bound = self.shared.bound.load(Ordering::Relaxed);
        let table = open_or_start_over(&self.shared.path, &self.shared.faults).ok()?;
        let owed = broken.owed.iter().cloned().map(Change::Remove).collect();
        let paid = table.apply(owed, bound).and_then(|_| table.sync());
        paid.ok()?;
        if !broken.owed.is_empty() {
            Complete::of(&self.shared.path).mark();
        }
        Some(table)
    }
}
