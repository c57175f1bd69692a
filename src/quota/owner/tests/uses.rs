//! Uses: fast ones, refunds, resets, clocks.

use super::*;

#[test]
fn fast_uses_are_admitted_at_once_up_to_the_bound_and_then_wait() {
    let mut desk = Desk::owning();
    let clients: Vec<u32> = (0..5).map(|_| desk.ask(fast(9, 3))).collect();
    let at_once: Vec<u64> =
        clients[..3].iter().map(|client| desk.admitted(*client).1.used).collect();
    assert_eq!(at_once, [1, 2, 3]);
    assert_eq!(desk.answer(clients[3]), None);
    desk.write_all();
    desk.admitted(clients[4]);
    assert_eq!(desk.used(), 5);
}

#[test]
fn fast_uses_are_refused_only_by_the_fold() {
    let mut desk = Desk::owning();
    let clients: Vec<u32> = (0..3).map(|_| desk.ask(fast(2, 9))).collect();
    assert_eq!(desk.answer(clients[2]), None, "two are unconfirmed");
    desk.write_all();
    assert!(matches!(desk.answer(clients[2]), Some(Answer::Exceeded(s)) if s.used == 2));
}

#[test]
fn fast_uses_that_were_on_their_way_are_counted_in_the_next_epoch() {
    let mut desk = Desk::owning();
    desk.ask(fast(9, 4));
    desk.step(Event::Flush);
    let lost = desk.sent.pop_front().unwrap();
    desk.step(Event::Unsure(lost));
    desk.step(Event::Claim { nonce: 2 });
    desk.write_all();
    assert_eq!(desk.used(), 1);
}

#[test]
fn a_use_is_given_back_in_its_own_period() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    desk.write_all();
    let (held, _) = desk.admitted(client);
    desk.step(Event::Refund(held.clone()));
    desk.write_all();
    assert_eq!(desk.used(), 0);
    desk.now.wall.0 += 10_000;
    desk.step(Event::Refund(held));
    assert!(desk.sent.is_empty(), "the period is over");
}

#[test]
fn a_use_is_given_back_in_a_later_epoch_of_the_same_gateway() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    desk.write_all();
    let (held, _) = desk.admitted(client);
    desk.write(foreign_claim());
    desk.step(Event::Refund(held));
    desk.step(Event::Claim { nonce: 8 });
    desk.write_all();
    assert_eq!(desk.used(), 0);
    let epochs = desk.log.iter().filter(|record| matches!(record, Record::Use(_))).count();
    assert_eq!(epochs, 2);
}

#[test]
fn a_refund_that_may_have_been_written_is_not_written_again() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    desk.write_all();
    desk.step(Event::Refund(desk.admitted(client).0));
    desk.step(Event::Flush);
    let late = desk.sent.pop_front().unwrap();
    desk.step(Event::Unsure(late.clone()));
    desk.step(Event::Claim { nonce: 2 });
    desk.write_all();
    desk.ask(strict(4));
    desk.write_all();
    assert_eq!(desk.used(), 2, "not given back");
    desk.write(late);
    assert_eq!(desk.used(), 1, "given back once");
}

#[test]
fn a_reset_starts_from_zero_and_ends_earlier_refunds() {
    let mut desk = Desk::owning();
    let clients: Vec<u32> = (0..4).map(|_| desk.ask(strict(4))).collect();
    desk.write_all();
    let (held, _) = desk.admitted(clients[0]);
    desk.step(Event::Reset(bucket(), Client(500, Wants::Answer)));
    let during = desk.ask(strict(4));
    assert_eq!(desk.answer(during), None, "waits for the reset");
    desk.write_all();
    assert_eq!(desk.answer(500), Some(&Answer::Reset));
    assert_eq!(desk.admitted(during).1.used, 1);
    desk.step(Event::Refund(held));
    desk.write_all();
    assert_eq!(desk.used(), 1, "the refund was of before the reset");
    desk.step(Event::Reset(bucket(), Client(501, Wants::Answer)));
    desk.write_all();
    assert_eq!(desk.used(), 0);
}

#[test]
fn a_clock_that_steps_back_opens_no_period_anew() {
    let mut desk = Desk::owning();
    for _ in 0..4 {
        desk.ask(strict(4));
    }
    desk.write_all();
    desk.now.wall.0 += 10_000;
    let fresh = desk.ask(strict(4));
    desk.write_all();
    assert_eq!(desk.admitted(fresh).1.used, 1);
    desk.now.wall.0 -= 10_000;
    let stepped = desk.ask(strict(4));
    desk.write_all();
    assert_eq!(desk.admitted(stepped).1.used, 2, "still in the later period");
}

#[test]
fn a_period_that_was_swept_is_not_opened_by_a_clock_that_steps_back() {
    let mut desk = Desk::owning();
    for _ in 0..4 {
        desk.ask(strict(4));
    }
    desk.write_all();
    desk.now.wall.0 += 25_000;
    desk.step(Event::Sweep(UnixMillis(1_015_000)));
    desk.write_all();
    assert_eq!(desk.owner.ledger().entries(), 0);
    desk.now.wall.0 -= 25_000;
    let back = desk.ask(strict(4));
    desk.write_all();
    let (held, _) = desk.admitted(back);
    assert!(held.period.start >= UnixMillis(1_010_000));
}

#[test]
fn who_is_gone_is_not_counted_and_who_was_served_is() {
    let mut desk = Desk::owning();
    desk.ask(strict(4));
    desk.ask_wanting(strict(4), Wants::Nothing);
    desk.ask_wanting(strict(4), Wants::Count);
    desk.write_all();
    assert_eq!(desk.used(), 2);
}

#[test]
fn uses_that_are_owed_are_written_once_the_partition_is_owned() {
    let mut desk = Desk::new();
    (0..6).for_each(|_| desk.step(Event::Owe(bucket(), strict(4))));
    desk.step(Event::Claim { nonce: 1 });
    desk.write_all();
    assert_eq!(desk.used(), 6, "also beyond the limit: they were served");
    assert!(desk.owner.is_idle());
}

#[test]
fn a_ledger_without_room_takes_no_new_use() {
    let mut desk = Desk::owning();
    desk.owner.bounds.entries = 0;
    let client = desk.ask(strict(4));
    assert_eq!(desk.answer(client), Some(&Answer::Unavailable(Why::Full)));
    desk.step(Event::Owe(bucket(), strict(4)));
    assert!(desk.sent.is_empty(), "nor one that was served all the same");
}
