//! Giving a partition to another gateway, and where a partition's uses are counted.

use super::*;

#[test]
fn who_owns_a_partition_is_what_the_log_says_until_this_gateway_claims_it() {
    let mut desk = Desk::new();
    assert_eq!(desk.owner.place(), Place::Nowhere);
    desk.write(foreign_claim());
    let there = Place::There { owner: "other".into(), epoch: 0 };
    assert_eq!(desk.owner.place(), there);
    desk.step(Event::Claim { nonce: 1 });
    assert_eq!(desk.owner.place(), Place::Here, "asks wait here for the claim");
    desk.write_all();
    assert_eq!(desk.owner.place(), Place::Here);
}

#[test]
fn an_owner_in_trouble_with_its_journal_is_still_the_one_to_ask() {
    let mut desk = Desk::owning();
    desk.ask(strict(4));
    let lost = desk.sent.pop_front().unwrap();
    desk.step(Event::Unsure(lost));
    assert_eq!(desk.owner.role(), Role::Out(Out::WriteFailed));
    assert_eq!(desk.owner.place(), Place::Here);
}

#[test]
fn nothing_is_under_way_when_the_next_owner_comes_and_who_waits_is_sent_there() {
    let mut desk = Desk::owning();
    let early = desk.ask(strict(4));
    desk.step(Event::HandOver);
    let late = desk.ask(strict(4));
    let fast_one = desk.ask(fast(4, 2));
    desk.write_all();
    desk.admitted(early);
    assert_eq!((desk.answer(late), desk.answer(fast_one)), (None, None));
    assert_eq!(desk.owner.outstanding(), 0);
    desk.write(foreign_claim());
    for client in [late, fast_one] {
        assert_eq!(desk.answer(client), Some(&Answer::Unavailable(Why::NotOwner)));
    }
    assert_eq!(desk.used(), 1, "nobody was counted twice");
}

#[test]
fn what_was_served_or_given_back_is_still_written_while_the_partition_is_handed_over() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    desk.write_all();
    let (held, _) = desk.admitted(client);
    desk.step(Event::HandOver);
    desk.step(Event::Refund(held));
    desk.write_all();
    assert_eq!(desk.used(), 0);
}

#[test]
fn an_owner_whose_successor_never_comes_goes_on() {
    let mut desk = Desk::owning();
    desk.step(Event::HandOver);
    let client = desk.ask(strict(4));
    assert!(desk.sent.is_empty());
    desk.now.steady += HAND_OVER;
    desk.step(Event::Tick);
    desk.write_all();
    desk.admitted(client);
}

#[test]
fn what_an_owner_could_not_write_down_is_left_for_its_successor() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    desk.write_all();
    let (held, _) = desk.admitted(client);
    assert_eq!(desk.owner.leftovers(), [], "it writes itself");
    desk.ask(fast(9, 4));
    desk.write(foreign_claim());
    desk.step(Event::Refund(held.clone()));
    let left = desk.owner.leftovers();
    assert_eq!(left, [(held.clone(), 1, 1)], "one served, one given back");
    assert_eq!(desk.owner.leftovers(), [], "once");
    assert!(desk.owner.is_idle());
    // They came back undelivered, and this gateway owns the partition again.
    desk.step(Event::Settle(held, 1, 1));
    desk.sent.clear();
    desk.step(Event::Claim { nonce: 5 });
    desk.write_all();
    assert_eq!(desk.used(), 1);
}

#[test]
fn a_partition_is_given_away_only_with_nothing_on_its_way_and_can_be_taken_back() {
    let mut desk = Desk::owning();
    let early = desk.ask(strict(4));
    desk.step(Event::HandOver);
    desk.step(Event::Give("heir".into()));
    assert_eq!(desk.owner.place(), Place::Here, "a record is on its way");
    let late = desk.ask(strict(4));
    desk.write_all();
    let (held, _) = desk.admitted(early);
    desk.step(Event::Give("heir".into()));
    let Place::There { owner, .. } = desk.owner.place() else { panic!("it was given") };
    assert_eq!(&*owner, "heir");
    assert_eq!(desk.answer(late), Some(&Answer::Unavailable(Why::NotOwner)), "to be sent there");
    desk.step(Event::Refund(held.clone()));
    desk.step(Event::Tick);
    assert!(desk.sent.is_empty(), "nothing is written here any more");
    assert_eq!(desk.owner.leftovers(), [(held, 0, 1)]);

    desk.step(Event::TakeBack);
    assert_eq!(desk.owner.place(), Place::Here);
    desk.step(Event::Claim { nonce: 7 });
    desk.write_all();
    let client = desk.ask(strict(4));
    desk.write_all();
    desk.admitted(client);
}

#[test]
fn an_owner_claims_anew_with_nothing_under_way_and_who_waits_goes_on_waiting() {
    let mut desk = Desk::owning();
    let early = desk.ask(strict(4));
    desk.step(Event::Claim { nonce: 8 });
    assert_eq!(desk.owner.role(), Role::Owning { epoch: 0 }, "it has not let go");
    desk.step(Event::HandOver);
    desk.step(Event::Claim { nonce: 8 });
    assert_eq!(desk.owner.role(), Role::Owning { epoch: 0 }, "a use is on its way");
    let late = desk.ask(strict(4));
    desk.write_all();
    desk.admitted(early);
    desk.step(Event::Claim { nonce: 8 });
    assert_eq!((desk.owner.place(), desk.answer(late)), (Place::Here, None));
    desk.write_all();
    assert!(matches!(desk.owner.role(), Role::Owning { epoch } if epoch > 0));
    desk.admitted(late);
    assert_eq!(desk.used(), 2);
}

#[test]
fn an_owner_tells_a_claim_that_it_let_go_for_from_one_that_came_unasked() {
    let mut desk = Desk::owning();
    desk.step(Event::HandOver);
    desk.write(foreign_claim());
    assert_eq!(desk.owner.role(), Role::Out(Out::HandedOver));
    let mut desk = Desk::owning();
    desk.write(foreign_claim());
    assert_eq!(desk.owner.role(), Role::Out(Out::Superseded));
}
