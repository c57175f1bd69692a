//! Any bytes are a journal record that is written as it was read, or are refused; and any records
//! make a ledger whose numbers agree. The input is one record, or several, each with its length
//! before it in one byte.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use tollgate::journal::{Record, Use};
use tollgate::quota::Ledger;

fuzz_target!(|bytes: &[u8]| {
    check_record(bytes);
    let records: Vec<Record> = frames(bytes).filter_map(check_record).collect();
    check_ledger(&records);
});

fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first()?;
        let (frame, behind) = rest.split_at_checked(usize::from(*length))?;
        bytes = behind;
        Some(frame)
    })
}

fn check_record(bytes: &[u8]) -> Option<Record> {
    let record = Record::decode(bytes).ok()?;
    assert_eq!(record.encode(), bytes);
    // Of another length it is none, and each byte means something.
    assert!(Record::decode(&[bytes, &[0]].concat()).is_err());
    let mut changed = bytes.to_vec();
    for at in 0..bytes.len() {
        assert!(Record::decode(&bytes[..at]).is_err());
        changed[at] ^= 1;
        assert_ne!(Record::decode(&changed).as_ref(), Ok(&record));
        changed[at] ^= 1;
    }
    let key = record.key();
    assert!(!key.as_bytes().is_empty() && key.as_bytes().len() <= bytes.len() + 16);
    Some(record)
}

fn fold<'r>(records: impl Iterator<Item = (usize, &'r Record)>) -> Ledger {
    let mut ledger = Ledger::default();
    records.for_each(|(offset, record)| ledger.apply(offset as u64, record));
    check_numbers(&ledger);
    ledger
}

fn check_ledger(records: &[Record]) {
    let ledger = fold(records.iter().enumerate());
    let resets = |record: &Record| matches!(record, Record::Use(used) if used.round > 0);
    // A reset that is over itself no longer holds; those who write one see to it that it lasts.
    if records.iter().any(resets) {
        return;
    }
    assert_eq!(fold(records.iter().enumerate().rev()), ledger, "the order counts");
    let twice = records.iter().enumerate().flat_map(|one| [one, one]);
    assert_eq!(fold(twice), ledger, "a repeat counts");
}

fn check_numbers(ledger: &Ledger) {
    let uses = ledger.uses();
    assert_eq!(uses.len(), ledger.entries());
    let accounts: BTreeSet<_> = uses.iter().map(|used| used.bucket.account).collect();
    assert_eq!(accounts.len(), ledger.accounts());
    assert!(!ledger.has_ended(ledger.horizon()));
    for used in &uses {
        check_use(ledger, used);
    }
}

fn check_use(ledger: &Ledger, used: &Use) {
    let bucket = ledger.bucket(&used.bucket);
    assert_eq!(bucket.counted(used.period, used.epoch), (used.admitted, used.refunded));
    assert_eq!(bucket.round(), used.round);
    assert!(bucket.ends() >= used.period.ends && bucket.floor() >= used.period.start);
    let periods: Vec<_> = bucket.periods().collect();
    assert!(periods.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(periods.iter().any(|(period, _)| *period == used.period));
}
