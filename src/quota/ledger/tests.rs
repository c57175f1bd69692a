use proptest::prelude::*;

use super::*;
use crate::journal::Horizon;

fn bucket(account: u8, dimensions: &str) -> Bucket {
    let label = Label { rule: "daily".into(), dimensions: dimensions.into() };
    Bucket { account: [account; 16], label: Arc::new(label) }
}

fn period(number: u64) -> Period {
    Period { start: UnixMillis(number * 100), ends: UnixMillis(number * 100 + 100) }
}

fn used(account: u8, number: u64, epoch: Offset, admitted: u64, refunded: u64) -> Use {
    let bucket = bucket(account, "client=app");
    Use { bucket, period: period(number), round: 0, epoch, admitted, refunded }
}

fn fold(records: impl IntoIterator<Item = Record>) -> Ledger {
    let mut ledger = Ledger::default();
    records.into_iter().zip(0..).for_each(|(record, offset)| ledger.apply(offset, &record));
    ledger
}

fn periods(ledger: &Ledger, bucket: &Bucket) -> Vec<(Period, u64)> {
    ledger.bucket(bucket).periods().collect()
}

#[test]
fn an_account_of_one_bucket_takes_64_bytes_in_the_table() {
    assert_eq!(size_of::<(AccountBytes, Entries)>(), 64);
}

#[test]
fn epochs_add_up_and_within_an_epoch_the_largest_numbers_hold() {
    let ledger = fold([
        Record::Use(used(1, 5, 10, 2, 0)),
        Record::Use(used(1, 5, 10, 3, 1)),
        Record::Use(used(1, 5, 10, 2, 0)),
        Record::Use(used(1, 5, 20, 4, 0)),
    ]);
    assert_eq!(periods(&ledger, &bucket(1, "client=app")), [(period(5), 6)]);
    assert_eq!(periods(&ledger, &bucket(1, "client=other")), []);
    assert_eq!(periods(&ledger, &bucket(2, "client=app")), []);
    assert_eq!((ledger.accounts(), ledger.entries(), ledger.next()), (1, 2, 4));
}

#[test]
fn a_use_of_one_epoch_may_be_given_back_in_another() {
    let ledger = fold([Record::Use(used(1, 5, 10, 3, 0)), Record::Use(used(1, 5, 20, 0, 1))]);
    assert_eq!(periods(&ledger, &bucket(1, "client=app")), [(period(5), 2)]);
}

#[test]
fn void_uses_count() {
    let claim = |nonce| Record::Claim(Claim { owner: "gw".into(), nonce });
    let void = used(1, 5, 0, 1, 0);
    let ledger = fold([claim(1), claim(2), Record::Use(void)]);
    assert_eq!(periods(&ledger, &bucket(1, "client=app")), [(period(5), 1)]);
    assert_eq!(ledger.claim().map(|(epoch, claim)| (epoch, claim.nonce)), Some((1, 2)));
}

#[test]
fn a_later_round_starts_from_zero_and_ends_the_earlier_ones() {
    let reset = Use { round: 1, admitted: 0, ..used(1, 5, 20, 0, 0) };
    let late = used(1, 6, 10, 9, 0);
    let ledger = fold([
        Record::Use(used(1, 4, 10, 2, 0)),
        Record::Use(used(1, 5, 10, 3, 0)),
        Record::Use(reset.clone()),
        Record::Use(late),
        Record::Use(Use { admitted: 1, ..reset }),
    ]);
    assert_eq!(periods(&ledger, &bucket(1, "client=app")), [(period(5), 1)]);
    assert_eq!(ledger.bucket(&bucket(1, "client=app")).round(), 1);
    assert_eq!(ledger.entries(), 1);
}

#[test]
fn what_is_over_is_forgotten_with_its_labels_and_does_not_come_back() {
    let mut ledger = fold([
        Record::Use(used(1, 4, 0, 2, 0)),
        Record::Use(used(1, 5, 0, 3, 0)),
        Record::Use(Use { bucket: bucket(2, "client=gone"), ..used(2, 4, 0, 1, 0) }),
    ]);
    assert!(ledger.has_ended(UnixMillis(500)) && !ledger.has_ended(UnixMillis(499)));
    let horizon = |ended| Record::Horizon(Horizon { epoch: 0, ended: UnixMillis(ended) });
    ledger.apply(3, &horizon(500));
    assert_eq!((ledger.accounts(), ledger.entries()), (1, 1));
    assert!(ledger.labels.find(&bucket(2, "client=gone").label).is_none());
    ledger.apply(4, &Record::Use(used(1, 4, 0, 9, 0)));
    ledger.apply(5, &horizon(100));
    assert_eq!(periods(&ledger, &bucket(1, "client=app")), [(period(5), 3)]);
    assert_eq!(ledger.horizon(), UnixMillis(500));
}

#[test]
fn an_account_shows_each_of_its_buckets() {
    let other = Use { bucket: bucket(1, "client=other"), ..used(1, 5, 0, 7, 0) };
    let ledger = fold([
        Record::Use(used(1, 5, 0, 1, 0)),
        Record::Use(other),
        Record::Use(used(1, 6, 0, 2, 0)),
        Record::Use(used(2, 6, 0, 2, 0)),
    ]);
    let mut shown: Vec<_> = ledger
        .account(&[1; 16])
        .iter()
        .map(|(label, counted)| (label.dimensions.to_string(), counted.len()))
        .collect();
    shown.sort();
    assert_eq!(shown, [("client=app".to_owned(), 2), ("client=other".to_owned(), 1)]);
}

/// Writes a partition's log as owners do: numbers grow with each record of the same key, and a
/// reset lasts as long as all that it replaces.
#[derive(Default)]
struct Scribe {
    log: Vec<Record>,
    numbers: HashMap<(u8, u64, Offset, u32), (u64, u64)>,
    rounds: [(u32, u64); 3],
    epoch: Offset,
    horizon: u64,
}

impl Scribe {
    fn claim(&mut self) {
        self.epoch = self.log.len() as Offset;
        let nonce = u128::from(self.epoch);
        self.log.push(Record::Claim(Claim { owner: "gw".into(), nonce }));
        self.horizon = 0;
    }

    fn horizon(&mut self, number: u64) {
        self.horizon = self.horizon.max(number * 100);
        let ended = UnixMillis(self.horizon);
        self.log.push(Record::Horizon(Horizon { epoch: self.epoch, ended }));
    }

    fn write(&mut self, account: u8, number: u64, uses: u64, refunds: u64) {
        let (round, latest) = &mut self.rounds[usize::from(account)];
        *latest = number.max(*latest);
        let key = (account, number, self.epoch, *round);
        let (admitted, refunded) = self.numbers.entry(key).or_default();
        *admitted += uses;
        *refunded += refunds;
        let used = used(account, number, self.epoch, *admitted, *refunded);
        self.log.push(Record::Use(Use { round: *round, ..used }));
    }

    fn reset(&mut self, account: u8) {
        let (round, latest) = &mut self.rounds[usize::from(account)];
        *round += 1;
        let latest = *latest;
        self.write(account, latest, 0, 0);
    }
}

fn logs() -> impl Strategy<Value = Vec<Record>> {
    let step = (0..20u8, 0..3u8, 0..3u64, 0..4u64, 0..2u64);
    proptest::collection::vec(step, 1..60).prop_map(|steps| {
        let mut scribe = Scribe::default();
        scribe.claim();
        for (what, account, number, uses, refunds) in steps {
            match what {
                0 => scribe.claim(),
                1 => scribe.horizon(number),
                2 => scribe.reset(account),
                _ => scribe.write(account, number, uses, refunds),
            }
        }
        scribe.log
    })
}

fn apply_all<'r>(log: impl IntoIterator<Item = &'r (Offset, Record)>) -> Ledger {
    let mut ledger = Ledger::default();
    log.into_iter().for_each(|(offset, record)| ledger.apply(*offset, record));
    ledger
}

fn numbered(log: Vec<Record>) -> Vec<(Offset, Record)> {
    (0..).zip(log).collect()
}

proptest! {
    #[test]
    fn order_and_repeats_change_nothing(
        log in logs(),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        seed in any::<u64>(),
    ) {
        let log = numbered(log);
        let mut shuffled: Vec<_> = picks.iter().map(|pick| pick.get(&log).clone()).collect();
        shuffled.extend(log.iter().cloned());
        let mix = |offset: Offset| (offset ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        shuffled.sort_by_key(|(offset, _)| mix(*offset));
        prop_assert_eq!(apply_all(&log), apply_all(&shuffled));
    }

    #[test]
    fn compaction_changes_nothing(log in logs()) {
        let log = numbered(log);
        let last: HashMap<_, _> = log.iter().map(|(offset, record)| (record.key(), *offset)).collect();
        let kept = log.iter().filter(|(offset, record)| last.get(&record.key()) == Some(offset));
        prop_assert_eq!(apply_all(&log), apply_all(kept));
    }

    #[test]
    fn forgetting_what_ended_before_the_horizon_changes_nothing(log in logs()) {
        let log = numbered(log);
        let whole = apply_all(&log);
        let live = |record: &Record| record.ends().is_none_or(|ends| ends > whole.horizon());
        let kept = apply_all(log.iter().filter(|(_, record)| live(record)));
        prop_assert_eq!((kept.horizon(), kept.uses()), (whole.horizon(), whole.uses()));
    }

    #[test]
    fn entries_and_labels_are_kept_count_of(log in logs()) {
        let ledger = apply_all(&numbered(log));
        prop_assert_eq!(ledger.entries(), ledger.uses().len());
        let accounts: std::collections::BTreeSet<_> =
            ledger.uses().into_iter().map(|used| used.bucket.account).collect();
        prop_assert_eq!(ledger.accounts(), accounts.len());
        let labelled = ledger.labels.find(&bucket(0, "client=app").label).is_some();
        prop_assert_eq!(labelled, ledger.entries() > 0);
    }
}
