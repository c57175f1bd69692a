//! Uses that nobody waits for share a record.

use super::*;

#[test]
fn fast_uses_gather_until_the_flush() {
    let mut desk = Desk::owning();
    let clients: Vec<u32> = (0..3).map(|_| desk.ask(fast(99, 10))).collect();
    clients.iter().for_each(|client| drop(desk.admitted(*client)));
    assert!(desk.sent.is_empty(), "nobody waits for a record");
    assert_eq!(desk.flushes, 1, "asked for once");
    desk.step(Event::Flush);
    assert_eq!(desk.sent.len(), 1, "one record for all");
    desk.write_all();
    assert_eq!(desk.used(), 3);
    assert!(desk.owner.is_idle());
    desk.ask(fast(99, 10));
    assert_eq!(desk.flushes, 1, "asked for again");
}

#[test]
fn half_of_what_may_be_unconfirmed_is_sent_at_once() {
    for (unconfirmed, gather) in [(1, 0), (2, 0), (3, 1), (10, 4), (11, 5)] {
        let mut desk = Desk::owning();
        (0..gather).for_each(|_| _ = desk.ask(fast(99, unconfirmed)));
        assert!(desk.sent.is_empty(), "{gather} of {unconfirmed}");
        desk.ask(fast(99, unconfirmed));
        assert_eq!(desk.sent.len(), 1, "{gather} and one of {unconfirmed}");
    }
}

#[test]
fn while_one_half_is_on_its_way_the_other_is_served() {
    let mut desk = Desk::owning();
    let clients: Vec<u32> = (0..11).map(|_| desk.ask(fast(99, 10))).collect();
    clients[..10].iter().for_each(|client| drop(desk.admitted(*client)));
    assert_eq!(desk.answer(clients[10]), None, "ten are unconfirmed");
    assert_eq!(desk.sent.len(), 1);
    let first = desk.sent.pop_front().unwrap();
    desk.write(first);
    assert_eq!(desk.sent.len(), 1, "who waits takes the other half along");
    desk.write_all();
    desk.admitted(clients[10]);
    assert_eq!(desk.used(), 11);
}

#[test]
fn who_waits_takes_along_what_gathered() {
    let mut desk = Desk::owning();
    desk.ask(fast(99, 10));
    let waiting = desk.ask(strict(99));
    assert_eq!(desk.sent.len(), 1);
    desk.write_all();
    assert_eq!(desk.admitted(waiting).1.used, 2);
    assert_eq!(desk.log.len(), 3, "claim, mark, both uses");
}

#[test]
fn a_reset_waits_for_no_flush() {
    let mut desk = Desk::owning();
    desk.ask(fast(99, 10));
    desk.write_all();
    desk.ask(fast(99, 10));
    desk.step(Event::Reset(bucket(), Client(500, Wants::Answer)));
    assert_eq!(desk.flushes, 1, "of the use that gathers");
    desk.flushes = 0;
    desk.write_all();
    assert_eq!(desk.answer(500), Some(&Answer::Reset));
    assert_eq!(desk.used(), 0);
}

#[test]
fn at_the_limit_nobody_waits_for_a_flush() {
    let mut desk = Desk::owning();
    (0..2).for_each(|_| _ = desk.ask(fast(2, 10)));
    assert!(desk.sent.is_empty());
    let undecided = desk.ask(fast(2, 10));
    assert_eq!(desk.sent.len(), 1, "the fold must say that the limit is reached");
    desk.flushes = 0;
    desk.write_all();
    assert!(matches!(desk.answer(undecided), Some(Answer::Exceeded(s)) if s.used == 2));
}

#[test]
fn refunds_gather_and_make_room_for_the_next_that_asks() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(1));
    desk.write_all();
    let (held, _) = desk.admitted(client);
    desk.step(Event::Refund(held));
    assert!(desk.sent.is_empty());
    assert!(desk.owner.gives_back(&bucket()));
    let next = desk.ask(strict(1));
    assert_eq!(desk.answer(next), None, "not refused for a use that is being given back");
    assert_eq!(desk.sent.len(), 1);
    desk.write_all();
    assert_eq!(desk.admitted(next).1.used, 1);
}

#[test]
fn a_tick_sends_what_no_flush_did() {
    let mut desk = Desk::owning();
    desk.ask(fast(99, 10));
    desk.step(Event::Tick);
    assert_eq!(desk.sent.len(), 1);
    assert!(!desk.owner.is_gathering());
}

#[test]
fn a_tick_after_the_period_sends_what_gathered_in_it() {
    let mut desk = Desk::owning();
    desk.ask(fast(99, 10));
    desk.now.wall.0 += 10_000;
    desk.step(Event::Tick);
    desk.now.wall.0 -= 10_000;
    desk.write_all();
    assert_eq!(desk.used(), 1, "the clock may step back");
}

#[test]
fn what_gathered_under_a_lost_claim_is_counted_under_the_next() {
    let mut desk = Desk::owning();
    desk.ask(fast(99, 10));
    desk.write(foreign_claim());
    desk.step(Event::Flush);
    assert!(desk.sent.is_empty(), "not its own any more");
    desk.step(Event::Claim { nonce: 8 });
    desk.write_all();
    assert_eq!(desk.used(), 1);
}
