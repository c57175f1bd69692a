//! Every schedule of a small fleet is tried, on the product's own ledger and owner state machine:
//! two gateways that both claim one partition, appends that are late, lost or reported lost,
//! crashes, silence, compaction, records written twice, clocks that differ and step. The
//! invariants are those of the design's section on account state. Each rule of ownership is also
//! taken away in turn, by handing the state machine its records in the way that it would see them
//! without that rule; the checker must then find a schedule that admits one too many, or it proves
//! nothing.

mod fleet;
mod invariants;
mod schedule;
mod world;

use fleet::{Fleet, Rules};

fn holds(fleet: Fleet) {
    assert_eq!(fleet.check(), None);
}

fn breaks(fleet: Fleet) {
    let wrong = fleet.check().expect("a schedule that admits one too many");
    assert!(wrong.starts_with("I1"), "{wrong}");
}

#[test]
fn two_gateways_that_both_claim_never_admit_one_too_many() {
    holds(Fleet { asks: 3, ..Fleet::strict() });
}

#[test]
fn writes_of_unknown_outcome_never_admit_one_too_many() {
    holds(Fleet { unsure: 1, compaction: true, claims: 2, ..Fleet::strict() });
    holds(Fleet { unsure: 2, claims: 2, ..Fleet::strict() });
}

#[test]
fn lost_writes_and_silence_never_admit_one_too_many() {
    holds(Fleet { losses: 1, unsure: 1, claims: 2, ..Fleet::strict() });
}

#[test]
fn crashes_never_admit_one_too_many() {
    holds(Fleet { crashes: 1, claims: 2, compaction: true, ..Fleet::strict() });
    holds(Fleet { crashes: 1, unsure: 1, claims: 2, ..Fleet::strict() });
}

#[test]
fn compaction_and_repeated_writes_never_admit_one_too_many() {
    holds(Fleet { compaction: true, repeats: 1, claims: 2, ..Fleet::strict() });
    holds(Fleet { compaction: true, limit: 2, asks: 3, claims: 2, ..Fleet::strict() });
}

#[test]
fn crashes_lost_confirmations_refunds_and_compaction_together_admit_none_too_many() {
    let all = Fleet { crashes: 1, unsure: 1, claims: 2, ..Fleet::strict() };
    holds(Fleet { refunds: 1, compaction: true, ..all });
}

#[test]
fn a_crash_among_many_who_ask_admits_none_too_many() {
    let crowded = Fleet { limit: 2, asks: 4, claims: 2, ..Fleet::strict() };
    holds(Fleet { crashes: 1, compaction: true, ..crowded });
}

#[test]
fn refunds_are_counted_once() {
    holds(Fleet { refunds: 1, asks: 3, claims: 2, compaction: true, ..Fleet::strict() });
    holds(Fleet { refunds: 1, claims: 2, unsure: 1, ..Fleet::strict() });
}

#[test]
fn a_fast_rule_admits_at_most_its_bound_too_many_for_each_crash() {
    let fast = Fleet { fast: Some(1), asks: 3, claims: 2, ..Fleet::strict() };
    holds(Fleet { crashes: 1, ..fast.clone() });
    holds(Fleet { unsure: 1, ..fast });
}

#[test]
fn uses_that_gather_are_within_the_bound_of_a_fast_rule() {
    // Of three that may be unconfirmed, one gathers.
    let fast = Fleet { fast: Some(3), limit: 9, asks: 4, waiting: 2, ..Fleet::strict() };
    holds(Fleet { crashes: 1, claims: 2, ..fast.clone() });
    holds(Fleet { unsure: 1, claims: 2, asks: 3, ..fast });
}

#[test]
fn a_partition_that_is_handed_over_keeps_its_counts_and_what_is_given_back() {
    let handed = Fleet { hand_overs: 1, claims: 2, refunds: 1, asks: 3, ..Fleet::strict() };
    holds(handed.clone());
    holds(Fleet { compaction: true, asks: 2, ..handed.clone() });
    holds(Fleet { unsure: 1, asks: 2, waiting: 1, ..handed.clone() });
    holds(Fleet { fast: Some(1), asks: 2, ..handed });
}

#[test]
fn a_claim_that_is_renewed_admits_none_too_many() {
    let renewed = Fleet { hand_overs: 1, renewals: 1, claims: 2, asks: 2, ..Fleet::strict() };
    holds(renewed.clone());
    holds(Fleet { refunds: 1, claims: 1, asks: 3, ..renewed.clone() });
    holds(Fleet { unsure: 1, claims: 1, compaction: true, ..renewed.clone() });
    holds(Fleet { fast: Some(1), claims: 1, ..renewed });
}

#[test]
fn clocks_that_step_and_differ_open_no_period_anew() {
    holds(Fleet { clock_steps: 2, sweeps: 1, claims: 2, waiting: 1, ..Fleet::strict() });
    holds(Fleet { clock_steps: 3, sweeps: 1, claims: 1, waiting: 1, asks: 3, ..Fleet::strict() });
}

#[test]
fn a_reset_starts_anew_and_admits_no_more_than_the_limit_after_it() {
    holds(Fleet { resets: 1, refunds: 1, claims: 1, asks: 3, waiting: 1, ..Fleet::strict() });
    holds(Fleet { resets: 1, claims: 2, asks: 2, waiting: 1, ..Fleet::strict() });
}

#[test]
fn without_reading_up_to_the_claim_one_too_many_is_admitted() {
    breaks(Fleet { rules: Rules::ClaimWithoutReading, claims: 2, ..Fleet::strict() });
}

#[test]
fn without_reading_on_after_the_claim_one_too_many_is_admitted() {
    let rules = Rules::ActOnClaim;
    breaks(Fleet { rules, compaction: true, repeats: 1, claims: 2, ..Fleet::strict() });
}

#[test]
fn without_reading_the_use_back_one_too_many_is_admitted() {
    breaks(Fleet { rules: Rules::AdmitOnConfirmation, claims: 2, ..Fleet::strict() });
}

#[test]
fn without_counting_void_uses_one_too_many_is_admitted() {
    let rules = Rules::IgnoreVoid;
    breaks(Fleet { rules, compaction: true, limit: 2, asks: 4, claims: 2, ..Fleet::strict() });
}
