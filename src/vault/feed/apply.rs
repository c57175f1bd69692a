//! What the table makes of records that arrive.

use std::collections::{BTreeMap, HashMap};

use pingora_cache::key::HashBinary;

use super::batch::{Arrival, Batch, What};
use super::codec::{Message, PurgeNumber};
use super::event::ChangeEvent;
use super::follower::Follower;
use super::position::{Source, Target};
use super::{DataClasses, Noted};
use crate::observe::{CacheFeedEvent, CacheFeedRecord, VaultOperation};
use crate::request::UnixMillis;
use crate::vault::change::{Change, Changed, Partition, Put, Scope, TableError};
use crate::vault::key::Place;
use crate::vault::record::{self, Label};
use crate::vault::table::Table;
use crate::vault::writer::Writer;

/// Purges of more than an account that may be on their way at once.
const WIDE_REMEMBERED: usize = 100;

/// Changes to the table that are applied together.
#[derive(Default)]
struct Step {
    changes: Vec<Change>,
    /// When what it puts was asked for.
    puts: HashMap<Place, UnixMillis>,
}

/// What becomes of an answer that arrives.
enum Verdict {
    Put(Put, UnixMillis),
    Skip(CacheFeedRecord),
}

/// An answer as it arrived.
struct Answer {
    partition: u32,
    offset: u64,
    place: Place,
    base: u64,
    record: Vec<u8>,
}

impl Writer {
    /// Memory forgets a version that was asked for before.
    fn outdated(&self, place: &Place, asked: UnixMillis) {
        let hash: HashBinary = place.hash;
        if self.memory().get(&hash).is_some_and(|entry| entry.asked < asked) {
            self.memory().forget(&hash);
        }
    }
}

impl Follower {
    pub(super) fn batch(&mut self, batch: Batch, writer: &mut Writer) {
        if !self.behind && !writer.has_caught_up() {
            self.behind = true;
        }
        let mut step = Step::default();
        for arrival in batch.arrivals {
            let Arrival { partition, offset, what } = arrival;
            match what {
                What::Change(event) => self.change(&event, &mut step, writer),
                What::Message(Message::Purge(scope, number)) => {
                    self.note_purge(partition, offset, &scope, number);
                    let scope = self.narrowed(scope, number, partition);
                    self.remove(scope, &mut step, writer);
                    self.count(CacheFeedRecord::Purge);
                }
                What::Message(Message::Answer { place, base, record }) => {
                    let answer = Answer { partition, offset, place, base, record };
                    match self.judge(answer, &step, writer) {
                        Verdict::Put(put, asked) => {
                            step.puts.insert(put.place, asked);
                            step.changes.push(Change::Put(put));
                            self.count(CacheFeedRecord::Answer);
                        }
                        Verdict::Skip(why) => self.count(why),
                    }
                }
            }
        }
        self.finish(batch.source, batch.reached, step, writer);
    }

    fn count(&self, outcome: CacheFeedRecord) {
        self.feed.record(CacheFeedEvent::Read(outcome));
    }

    fn note_purge(
        &mut self,
        partition: u32,
        offset: u64,
        scope: &Scope,
        number: Option<PurgeNumber>,
    ) {
        let lane = self.answers.entry(partition).or_default();
        lane.checkpoint.purged = offset + 1;
        let Some(target) = Target::of(scope) else { return };
        lane.purges.add(target, offset);
        // If it is this gateway's own, its producer may not have told yet, and what stands behind
        // it must not be taken for something from before.
        if let Some(number) = number {
            self.feed.owed().written(target, number, (partition, offset));
        }
    }

    /// A purge of more than an account has a record in every partition. The first that arrives
    /// removes everything it names, at the price of one: no partition is behind it yet. (After a
    /// restart one may be; its answers are fetched again.) Each later one removes what its own
    /// partition has brought since, and nothing that stands behind it.
    fn narrowed(&mut self, scope: Scope, number: Option<PurgeNumber>, partition: u32) -> Scope {
        let route = match &scope {
            Scope::Route(route) => Some(route.clone()),
            Scope::All => None,
            _ => return scope,
        };
        if let Some(number) = number
            && !self.wide.contains(&number)
        {
            self.wide.push_back(number);
            if self.wide.len() > WIDE_REMEMBERED {
                self.wide.pop_front();
            }
            return scope;
        }
        Scope::Part(route, Partition { number: partition, of: self.feed.kafka.partitions })
    }

    /// Removes from memory and from the table, in this order and with the epochs turned before and
    /// after, as a purge that is asked for here.
    fn remove(&mut self, scope: Scope, step: &mut Step, writer: &mut Writer) {
        writer.forget(&scope);
        step.changes.push(Change::Remove(scope.clone()));
        self.apply(step, writer);
        writer.turn(&scope);
    }

    fn change(&mut self, event: &ChangeEvent, step: &mut Step, writer: &mut Writer) {
        let spared = self.feed.classes.load().spared(event);
        let changed = Changed { account: *event.account.as_bytes(), at: event.at, spared };
        let notes = DataClasses::keys_of_change(event)
            .map(|key| Change::Note(Noted::Changed { key, at: event.at }));
        step.changes.extend(notes);
        self.remove(Scope::Changed(changed), step, writer);
        self.count(CacheFeedRecord::Change);
    }

    /// Applies what is gathered. When the table can't take it, the rest goes by it as well, and is
    /// read again when it can.
    fn apply(&mut self, step: &mut Step, writer: &mut Writer) {
        let Step { changes, puts } = std::mem::take(step);
        if self.behind || changes.is_empty() {
            return;
        }
        match writer.change(changes) {
            Some(applied) => {
                writer.count(VaultOperation::Purged, applied.removed);
                // Memory may have versions from before. A lookup that read one just now puts it
                // back: it is still good by its own time, and no purge.
                puts.iter().for_each(|(place, asked)| writer.outdated(place, *asked));
            }
            None => self.behind = true,
        }
    }

    fn finish(
        &mut self,
        source: Source,
        reached: BTreeMap<u32, (u64, u64)>,
        mut step: Step,
        writer: &mut Writer,
    ) {
        let lanes = self.lanes(source);
        for (partition, (next, newest)) in &reached {
            let lane = lanes.entry(*partition).or_default();
            lane.checkpoint.next = *next;
            lane.checkpoint.newest = lane.checkpoint.newest.max(*newest);
            lane.seen = lane.seen.max(*next);
            let (partition, checkpoint) = (*partition, lane.checkpoint);
            step.changes.push(Change::Note(Noted::Position { source, partition, checkpoint }));
        }
        self.apply(&mut step, writer);
        for (partition, (next, _)) in reached {
            self.feed.standing.reached(source, partition, next);
            if source == Source::Answers && !self.behind {
                self.feed.owed().passed(partition, next);
            }
        }
    }

    /// Whether an answer that arrives is taken over.
    fn judge(&self, answer: Answer, step: &Step, writer: &mut Writer) -> Verdict {
        use CacheFeedRecord::{Held, Over, Unreadable, Void};
        let now = self.feed.clock.now();
        let Ok(label @ Label { route: Some(route), .. }) = record::label(&answer.record) else {
            return Verdict::Skip(Unreadable);
        };
        // One in a partition that is not its own would escape its purges.
        if self.partition_of(&answer.place) != answer.partition {
            return Verdict::Skip(Unreadable);
        }
        if label.expires <= now || label.asked.plus(self.feed.kafka.cache_retention) <= now {
            return Verdict::Skip(Over);
        }
        if self.is_purged(&answer, &label) {
            return Verdict::Skip(Void);
        }
        if self.behind {
            return Verdict::Skip(Held);
        }
        let Some(table) = writer.table() else { return Verdict::Skip(Held) };
        match self.stands(&table, &answer.place, &label, step) {
            Ok(Some(why)) => Verdict::Skip(why),
            Ok(None) => {
                let (place, expires) = (answer.place, label.expires);
                Verdict::Put(Put { place, route, expires, record: answer.record }, label.asked)
            }
            Err(error) => {
                drop(table);
                writer.broke(&error);
                Verdict::Skip(Held)
            }
        }
    }

    fn is_purged(&self, answer: &Answer, label: &Label) -> bool {
        let targets = Target::all_of(&answer.place, label.route);
        let lane = self.answers.get(&answer.partition);
        // A base beyond the answer itself is of another life of the topic.
        answer.base > answer.offset
            || lane.is_none_or(|lane| lane.purges.hits(&targets, answer.base))
            || self.feed.owed().covers(answer.partition, answer.offset, &targets)
    }

    /// What in the table speaks against taking an answer over.
    fn stands(
        &self,
        table: &Table,
        place: &Place,
        label: &Label,
        step: &Step,
    ) -> Result<Option<CacheFeedRecord>, TableError> {
        let keys = self.feed.classes.load().keys_of_answer(&place.account, label.route);
        if table.changed(&keys)?.is_some_and(|at| label.asked <= at) {
            return Ok(Some(CacheFeedRecord::Void));
        }
        let there = match step.puts.get(place) {
            Some(asked) => Some(*asked),
            None => table
                .get(place)?
                .map(|record| record::label(&record).map_or(UnixMillis(0), |there| there.asked)),
        };
        Ok(there.is_some_and(|there| there >= label.asked).then_some(CacheFeedRecord::Known))
    }
}
