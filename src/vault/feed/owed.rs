use std::collections::{BTreeMap, HashMap};

use tokio::sync::watch;

use super::codec::{PurgeNumber, purge_key};
use super::position::{Target, partition_of};
use crate::vault::change::Scope;

/// Purges that may be owed one by one. With more, the purge of everything is owed instead.
const MOST_OWED: usize = 10_000;

/// How far a purge has come on its way to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vault) enum Progress {
    /// On its way.
    Sent,
    /// Kafka did not take it in time. It is tried again until it does.
    Late,
    /// Kafka has it: no gateway will miss it.
    Written,
    /// This gateway has followed the topic past it: what it fills from now on is no longer taken
    /// for something from before the purge.
    Passed,
}

/// The purges of this gateway that its own feed has not passed yet.
///
/// They are kept until then for two reasons. One that Kafka has not taken is owed to the fleet and
/// sent again. And an answer from before it that the topic still brings must not be taken over
/// here, where the purge is done already.
#[derive(Debug)]
pub(in crate::vault) struct Owed {
    partitions: u32,
    due: HashMap<Target, Due>,
    /// Whether the last record that was to be delivered was not.
    away: bool,
    /// Keys of purges that need not be remembered on disk any more.
    settled: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Due {
    key: Vec<u8>,
    /// Tells a purge from an earlier one of the same scope that is still on its way.
    number: PurgeNumber,
    /// Partitions that the feed has yet to pass it in.
    left: BTreeMap<u32, Stand>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Unsent,
    OnItsWay,
    Written(u64),
}

/// One record of a purge on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::vault) struct Sending {
    pub(super) target: Target,
    pub(super) number: PurgeNumber,
    pub(super) partition: u32,
    pub(super) key: Vec<u8>,
}

impl Owed {
    pub(super) fn new(partitions: u32) -> Self {
        Self { partitions, due: HashMap::new(), away: false, settled: Vec::new() }
    }

    /// Takes on a purge. Who waits for it follows its progress; the sender goes when a purge of
    /// everything takes its place.
    pub(super) fn owe(&mut self, scope: &Scope) -> Option<watch::Receiver<Progress>> {
        let (target, key) = (Target::of(scope)?, purge_key(scope)?);
        if self.due.len() >= MOST_OWED && !self.due.contains_key(&target) {
            self.settled.extend(self.due.drain().map(|(_, due)| due.key));
            return self.owe(&Scope::All);
        }
        let partitions = match partition_of(scope, self.partitions) {
            Some(partition) => partition..partition + 1,
            None => 0..self.partitions,
        };
        let left: BTreeMap<_, _> = partitions.map(|number| (number, Stand::Unsent)).collect();
        let now = if self.away { Progress::Late } else { Progress::Sent };
        let due = self.due.entry(target).or_insert_with(|| Due {
            key,
            number: PurgeNumber::default(),
            left: BTreeMap::new(),
            progress: watch::Sender::new(now),
        });
        due.number = uuid::Uuid::new_v4().into_bytes();
        due.left = left;
        due.progress.send_replace(now);
        Some(due.progress.subscribe())
    }

    /// What is to be sent, for the first time or again. It counts as on its way.
    pub(super) fn take_unsent(&mut self) -> Vec<Sending> {
        let mut unsent = Vec::new();
        for (target, due) in &mut self.due {
            for (partition, stand) in &mut due.left {
                if *stand == Stand::Unsent {
                    *stand = Stand::OnItsWay;
                    let (target, number) = (*target, due.number);
                    let key = due.key.clone();
                    unsent.push(Sending { target, number, partition: *partition, key });
                }
            }
        }
        unsent
    }

    /// Kafka has one record of a purge. This is told by its producer, and by the record itself when
    /// the feed brings it back, which may be earlier.
    pub(super) fn written(
        &mut self,
        target: Target,
        number: PurgeNumber,
        (partition, offset): (u32, u64),
    ) {
        self.away = false;
        let Some(due) = self.due.get_mut(&target).filter(|due| due.number == number) else {
            return;
        };
        if let Some(stand) = due.left.get_mut(&partition) {
            *stand = Stand::Written(offset);
        }
        if due.left.values().all(|stand| matches!(stand, Stand::Written(_))) {
            due.progress.send_replace(Progress::Written);
        }
    }

    /// It was not taken in time; whether it was written all the same isn't known and doesn't
    /// matter, since a purge may be done twice.
    pub(super) fn late(&mut self, sent: &Sending) {
        self.away = true;
        let Some(due) = self.due.get_mut(&sent.target) else { return };
        if due.number == sent.number
            && let Some(stand) = due.left.get_mut(&sent.partition)
            && *stand == Stand::OnItsWay
        {
            *stand = Stand::Unsent;
            due.progress.send_replace(Progress::Late);
        }
    }

    pub(super) fn set_away(&mut self, away: bool) {
        self.away = away;
    }

    /// The feed has followed a partition up to an offset.
    pub(super) fn passed(&mut self, partition: u32, next: u64) {
        self.leave(|number, stand| {
            number == partition && matches!(stand, Stand::Written(offset) if offset < next)
        });
    }

    /// The topic is read from its start again: what was written to it will be met again, or is
    /// gone together with all that stood before.
    pub(super) fn start_over(&mut self) {
        self.leave(|_, stand| matches!(stand, Stand::Written(_)));
    }

    fn leave(&mut self, gone: impl Fn(u32, Stand) -> bool) {
        self.due.retain(|_, due| {
            due.left.retain(|partition, stand| !gone(*partition, *stand));
            if due.left.is_empty() {
                due.progress.send_replace(Progress::Passed);
                self.settled.push(std::mem::take(&mut due.key));
            }
            !due.left.is_empty()
        });
    }

    /// Whether a purge of this gateway is still to come in a partition, behind the offset at which
    /// the feed brings an answer now, and removes that answer.
    pub(super) fn covers(&self, partition: u32, offset: u64, targets: &[Target]) -> bool {
        let comes = |target: &Target| {
            let stand = self.due.get(target).and_then(|due| due.left.get(&partition));
            stand.is_some_and(|stand| !matches!(stand, Stand::Written(at) if *at < offset))
        };
        !self.due.is_empty() && targets.iter().any(comes)
    }

    /// Keys of purges that are done, once.
    pub(super) fn take_settled(&mut self) -> Vec<Vec<u8>> {
        let settled = std::mem::take(&mut self.settled);
        // One may have been asked for again meanwhile.
        let again = |key: &Vec<u8>| self.due.values().any(|due| due.key == *key);
        settled.into_iter().filter(|key| !again(key)).collect()
    }

    /// Keys of all purges that Kafka has not taken.
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.unwritten().map(|due| due.key.clone()).collect()
    }

    /// Purges that Kafka has not taken.
    pub(super) fn count(&self) -> u64 {
        self.unwritten().count() as u64
    }

    fn unwritten(&self) -> impl Iterator<Item = &Due> {
        let written = |stand: &Stand| matches!(stand, Stand::Written(_));
        self.due.values().filter(move |due| !due.left.values().all(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RouteId;
    use crate::vault::testing::place;

    fn account(number: u8) -> Scope {
        Scope::Account([number; 16])
    }

    fn tell(owed: &mut Owed, sent: &Sending, offset: u64) {
        owed.written(sent.target, sent.number, (sent.partition, offset));
    }

    fn targets(number: u8) -> Vec<Target> {
        let place = crate::vault::key::Place { account: [number; 16], hash: [0; 16] };
        Target::all_of(&place, None)
    }

    #[test]
    fn a_purge_is_done_when_it_is_written_and_the_feed_has_passed_it() {
        let mut owed = Owed::new(1);
        let told = owed.owe(&account(1)).unwrap();
        let sent = owed.take_unsent();
        assert_eq!(sent.len(), 1);
        assert_eq!(owed.take_unsent(), []);
        assert!(owed.covers(0, 9, &targets(1)) && !owed.covers(0, 9, &targets(2)));
        owed.passed(0, 5);
        tell(&mut owed, &sent[0], 5);
        assert_eq!(*told.borrow(), Progress::Written);
        assert_eq!(owed.count(), 0);
        assert!(owed.covers(0, 4, &targets(1)), "answers before it may still come");
        assert!(!owed.covers(0, 6, &targets(1)), "it is not to come for what stands behind it");
        owed.passed(0, 6);
        assert_eq!(*told.borrow(), Progress::Passed);
        assert!(!owed.covers(0, 4, &targets(1)));
        assert_eq!(owed.take_settled(), [sent[0].key.clone()]);
    }

    #[test]
    fn a_purge_that_the_feed_brings_before_its_producer_tells_is_done_as_well() {
        let mut owed = Owed::new(1);
        let told = owed.owe(&account(1)).unwrap();
        let sent = owed.take_unsent();
        tell(&mut owed, &sent[0], 5);
        owed.passed(0, 6);
        assert_eq!(*told.borrow(), Progress::Passed);
        // What the producer says then changes nothing any more, nor does a time-out of the same.
        tell(&mut owed, &sent[0], 5);
        let told = owed.owe(&account(2)).unwrap();
        let sent = owed.take_unsent();
        tell(&mut owed, &sent[0], 6);
        owed.late(&sent[0]);
        assert_eq!((*told.borrow(), owed.take_unsent().len()), (Progress::Written, 0));
    }

    #[test]
    fn one_that_is_late_is_sent_again_and_later_ones_are_late_at_once() {
        let mut owed = Owed::new(1);
        let told = owed.owe(&account(1)).unwrap();
        let sent = owed.take_unsent();
        owed.late(&sent[0]);
        assert_eq!(*told.borrow(), Progress::Late);
        let second = owed.owe(&account(2)).unwrap();
        assert_eq!(
            *second.borrow(),
            Progress::Late,
            "nobody waits while Kafka is known to be away"
        );
        let again = owed.take_unsent();
        assert_eq!(again.len(), 2);
        again.iter().for_each(|sent| tell(&mut owed, sent, 7));
        assert_eq!(*told.borrow(), Progress::Written);
        assert_eq!(*owed.owe(&account(3)).unwrap().borrow(), Progress::Sent);
    }

    #[test]
    fn an_earlier_purge_of_the_same_scope_does_not_stand_for_a_later_one() {
        let mut owed = Owed::new(1);
        owed.owe(&account(1));
        let first = owed.take_unsent();
        let told = owed.owe(&account(1)).unwrap();
        tell(&mut owed, &first[0], 1);
        assert_eq!(*told.borrow(), Progress::Sent);
        let second = owed.take_unsent();
        tell(&mut owed, &second[0], 2);
        assert_eq!(*told.borrow(), Progress::Written);
    }

    #[test]
    fn a_purge_of_a_route_goes_to_every_partition() {
        let mut owed = Owed::new(3);
        let told = owed.owe(&Scope::Route(RouteId::new("cards"))).unwrap();
        let sent = owed.take_unsent();
        assert_eq!(sent.iter().map(|sent| sent.partition).collect::<Vec<_>>(), [0, 1, 2]);
        sent.iter().take(2).for_each(|sent| tell(&mut owed, sent, 1));
        assert_eq!(*told.borrow(), Progress::Sent);
        tell(&mut owed, &sent[2], 1);
        assert_eq!(*told.borrow(), Progress::Written);
        (0..3).for_each(|partition| owed.passed(partition, 2));
        assert_eq!(*told.borrow(), Progress::Passed);
    }

    #[test]
    fn too_many_become_one_of_everything() {
        let mut owed = Owed::new(2);
        for number in 0..=MOST_OWED as u64 {
            owed.owe(&Scope::Entry(place(number)));
        }
        assert_eq!(owed.count(), 1);
        assert_eq!(owed.keys(), [b"*".to_vec()]);
        assert_eq!(owed.take_unsent().len(), 2);
        assert_eq!(owed.take_settled().len(), MOST_OWED);
    }
}
