use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::journal::Label;
use crate::quota::window::Frame;

/// A waiter that is always there, by number.
#[derive(Clone, Copy, Debug)]
struct Client(u32, Wants);

impl Waiter for Client {
    fn wants(&self) -> Wants {
        self.1
    }
}

/// An owner with its own log: appends wait in `sent` until they are written and read.
struct Desk {
    owner: Owner<Client>,
    sent: VecDeque<Record>,
    log: Vec<Record>,
    answers: Vec<(u32, Answer)>,
    now: Now,
    clients: u32,
}

const SILENCE: Duration = Duration::from_secs(5);

impl Desk {
    fn new() -> Self {
        let bounds = Bounds { silence: SILENCE, entries: 1000 };
        Self {
            owner: Owner::new("gw".into(), bounds),
            sent: VecDeque::new(),
            log: Vec::new(),
            answers: Vec::new(),
            now: Now { wall: UnixMillis(1_000_000), steady: Duration::ZERO },
            clients: 0,
        }
    }

    fn owning() -> Self {
        let mut desk = Self::new();
        desk.step(Event::Claim { nonce: 7 });
        desk.write_all();
        assert_eq!(desk.owner.role(), Role::Owning { epoch: 0 });
        desk
    }

    fn step(&mut self, event: Event<Client>) {
        for effect in self.owner.step(event, self.now) {
            match effect {
                Effect::Append(record) => self.sent.push_back(record),
                Effect::Answer(client, answer) => self.answers.push((client.0, answer)),
            }
        }
    }

    fn ask(&mut self, terms: Terms) -> u32 {
        self.ask_wanting(terms, Wants::Answer)
    }

    fn ask_wanting(&mut self, terms: Terms, wants: Wants) -> u32 {
        self.clients += 1;
        let waiter = Client(self.clients, wants);
        self.step(Event::Ask(Ask { bucket: bucket(), terms, waiter }));
        self.clients
    }

    fn write(&mut self, record: Record) {
        let offset = self.log.len() as Offset;
        self.log.push(record.clone());
        self.step(Event::Read(offset, record));
    }

    fn write_all(&mut self) {
        while let Some(record) = self.sent.pop_front() {
            self.write(record);
        }
    }

    fn answer(&self, client: u32) -> Option<&Answer> {
        self.answers.iter().find(|(who, _)| *who == client).map(|(_, answer)| answer)
    }

    fn admitted(&self, client: u32) -> (Held, Standing) {
        match self.answer(client) {
            Some(Answer::Admitted(held, standing)) => (held.clone(), *standing),
            other => panic!("{other:?}"),
        }
    }

    /// Notes the time for those who are no longer undecided.
    fn note_decided(&self, decided: &mut BTreeMap<u32, UnixMillis>) {
        let undecided: std::collections::BTreeSet<u32> = self
            .owner
            .desks
            .values()
            .flat_map(|desk| desk.queue.iter().map(|ask| ask.waiter.0))
            .collect();
        for client in (1..=self.clients).filter(|client| !undecided.contains(client)) {
            decided.entry(client).or_insert(self.now.wall);
        }
    }

    fn used(&self) -> u64 {
        self.owner.standing(&bucket(), &strict(9), self.now.wall).used
    }
}

fn bucket() -> Bucket {
    let label = Label { rule: "daily".into(), dimensions: "".into() };
    Bucket { account: [1; 16], label: Arc::new(label) }
}

fn strict(limit: u64) -> Terms {
    Terms { frame: Frame::Fixed { length: 10_000, offset: 0 }, limit, unconfirmed: None }
}

fn fast(limit: u64, unconfirmed: u64) -> Terms {
    Terms { unconfirmed: Some(unconfirmed), ..strict(limit) }
}

fn foreign_claim() -> Record {
    Record::Claim(Claim { owner: "other".into(), nonce: 99 })
}

#[test]
fn a_strict_use_waits_until_its_record_is_read_back() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    assert_eq!(desk.answer(client), None);
    desk.write_all();
    let (_, standing) = desk.admitted(client);
    assert_eq!((standing.used, standing.offset), (1, 2));
    assert_eq!(standing.resets, UnixMillis(1_010_000));
}

#[test]
fn those_who_come_while_a_record_is_on_its_way_share_the_next() {
    let mut desk = Desk::owning();
    let clients: Vec<u32> = (0..100).map(|_| desk.ask(strict(1000))).collect();
    assert_eq!(desk.sent.len(), 1);
    desk.write_all();
    assert_eq!(desk.log.len(), 4, "claim, mark, the first, all others");
    let used: Vec<u64> = clients.iter().map(|client| desk.admitted(*client).1.used).collect();
    assert_eq!(used, (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_refusal_names_an_offset_whose_fold_has_reached_the_limit() {
    let mut desk = Desk::owning();
    let clients: Vec<u32> = (0..6).map(|_| desk.ask(strict(4))).collect();
    assert!(desk.answers.is_empty(), "nobody is refused for uses that are not in the log yet");
    desk.write_all();
    clients[..4].iter().for_each(|client| drop(desk.admitted(*client)));
    for client in &clients[4..] {
        let Some(Answer::Exceeded(standing)) = desk.answer(*client) else { panic!("refused") };
        assert_eq!((standing.used, standing.offset), (4, 3));
    }
    let late = desk.ask(strict(4));
    assert!(matches!(desk.answer(late), Some(Answer::Exceeded(_))));
}

#[test]
fn a_newer_claim_before_the_record_makes_it_void() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    let record = desk.sent.pop_front().unwrap();
    desk.write(foreign_claim());
    assert_eq!(desk.owner.role(), Role::Out(Out::Superseded));
    assert_eq!(desk.answer(client), Some(&Answer::Unavailable(Why::Unsure)));
    desk.write(record);
    assert_eq!(desk.answers.len(), 1);
    assert_eq!(desk.used(), 1, "a void use counts");
    let next = desk.ask(strict(4));
    assert_eq!(desk.answer(next), Some(&Answer::Unavailable(Why::NotOwner)));
}

#[test]
fn a_claim_is_acted_on_only_after_what_replaced_earlier_records_is_read() {
    let mut desk = Desk::new();
    let period = strict(4).period(desk.now.wall, 0);
    // Theirs of offset 1 was compacted away in favour of a void one behind the claim.
    desk.write(foreign_claim());
    desk.log.push(foreign_claim());
    desk.step(Event::Claim { nonce: 1 });
    let waiting = desk.ask(strict(4));
    let claim = desk.sent.pop_front().unwrap();
    desk.write(claim);
    assert_eq!(desk.owner.role(), Role::Settling { epoch: 2 });
    assert_eq!(desk.sent.len(), 1, "the mark only");
    let void = Use { bucket: bucket(), period, round: 0, epoch: 0, admitted: 4, refunded: 0 };
    desk.write(Record::Use(void));
    desk.write_all();
    assert!(matches!(desk.answer(waiting), Some(Answer::Exceeded(s)) if s.used == 4));
}

#[test]
fn a_record_of_a_later_epoch_proves_a_newer_claim() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    let Some(Record::Use(mine)) = desk.sent.pop_front() else { panic!("a use") };
    desk.write(Record::Use(Use { epoch: 2, ..mine.clone() }));
    assert_eq!(desk.owner.role(), Role::Out(Out::Superseded));
    desk.write(Record::Use(mine));
    assert_eq!(desk.answer(client), Some(&Answer::Unavailable(Why::Unsure)));
}

#[test]
fn a_mark_that_fails_ends_the_claim() {
    let mut desk = Desk::new();
    desk.step(Event::Claim { nonce: 1 });
    let claim = desk.sent.pop_front().unwrap();
    desk.write(claim);
    let mark = desk.sent.pop_front().unwrap();
    desk.step(Event::Unsure(mark.clone()));
    assert_eq!(desk.owner.role(), Role::Out(Out::ClaimFailed));
    desk.write(mark);
    assert_eq!(desk.owner.role(), Role::Out(Out::ClaimFailed), "late");
}

#[test]
fn an_owner_counts_what_its_predecessors_wrote() {
    let mut desk = Desk::new();
    desk.write(foreign_claim());
    let period = strict(4).period(desk.now.wall, 0);
    let mut theirs = Use { bucket: bucket(), period, round: 0, epoch: 0, admitted: 3, refunded: 0 };
    desk.write(Record::Use(theirs.clone()));
    desk.step(Event::Claim { nonce: 1 });
    theirs.admitted = 4;
    desk.write(Record::Use(theirs));
    let waiting = desk.ask(strict(5));
    assert_eq!(desk.answer(waiting), None, "it has not read its claim yet");
    desk.write_all();
    assert_eq!(desk.admitted(waiting).1.used, 5);
}

#[test]
fn after_an_unsure_write_the_epoch_is_over_and_the_late_record_harmless() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    let late = desk.sent.pop_front().unwrap();
    desk.step(Event::Unsure(late.clone()));
    assert_eq!(desk.answer(client), Some(&Answer::Unavailable(Why::Unsure)));
    assert_eq!(desk.owner.role(), Role::Out(Out::WriteFailed));
    desk.step(Event::Claim { nonce: 8 });
    desk.write_all();
    let again = desk.ask(strict(4));
    desk.write_all();
    assert_eq!(desk.admitted(again).1.used, 1);
    desk.write(late);
    assert_eq!(desk.used(), 2);
    assert_eq!(desk.owner.role(), Role::Owning { epoch: 2 });
}

#[test]
fn a_write_that_failed_for_certain_keeps_the_epoch() {
    let mut desk = Desk::owning();
    let (waiting, served) = (desk.ask(strict(9)), desk.ask(fast(9, 4)));
    let record = desk.sent.pop_front().unwrap();
    desk.step(Event::NotWritten(record));
    assert_eq!(desk.answer(waiting), Some(&Answer::Unavailable(Why::NotWritten)));
    desk.admitted(served);
    assert_eq!(desk.owner.role(), Role::Owning { epoch: 0 });
    desk.step(Event::Tick);
    desk.write_all();
    assert_eq!(desk.used(), 1, "the one that was served");
}

#[test]
fn a_record_that_was_compacted_away_is_confirmed_by_a_later_one() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(9));
    let Some(Record::Use(used)) = desk.sent.pop_front() else { panic!("a use") };
    desk.write(Record::Use(Use { admitted: 5, ..used }));
    desk.admitted(client);
}

#[test]
fn an_owner_that_reads_nothing_back_fences_itself() {
    let mut desk = Desk::owning();
    let client = desk.ask(strict(4));
    desk.now.steady += SILENCE;
    desk.step(Event::Tick);
    assert_eq!(desk.answer(client), Some(&Answer::Unavailable(Why::Unsure)));
    assert_eq!(desk.owner.role(), Role::Out(Out::Silent));
}

#[test]
fn an_owner_that_wakes_from_a_long_sleep_admits_nothing_fast() {
    let mut desk = Desk::owning();
    desk.ask(fast(9, 4));
    desk.now.steady += SILENCE * 2;
    let woken = desk.ask(fast(9, 4));
    assert_eq!(desk.answer(woken), Some(&Answer::Unavailable(Why::NotOwner)));
}

#[test]
fn an_owner_with_nothing_to_write_is_not_silent() {
    let mut desk = Desk::owning();
    desk.now.steady += SILENCE * 10;
    desk.step(Event::Tick);
    assert_eq!(desk.owner.role(), Role::Owning { epoch: 0 });
}

#[test]
fn one_lost_record_among_others_that_are_read_fences_too() {
    let mut desk = Desk::owning();
    desk.ask(strict(4));
    desk.sent.clear();
    desk.now.steady += SILENCE;
    desk.write(Record::Horizon(Horizon { epoch: 0, ended: UnixMillis(1) }));
    desk.step(Event::Tick);
    assert_eq!(desk.owner.role(), Role::Out(Out::Silent));
}

#[test]
fn a_claim_that_fails_or_is_never_read_is_given_up() {
    let mut desk = Desk::new();
    desk.step(Event::Claim { nonce: 1 });
    let waiting = desk.ask(strict(4));
    let claim = desk.sent.pop_front().unwrap();
    desk.step(Event::NotWritten(claim.clone()));
    assert_eq!(desk.answer(waiting), Some(&Answer::Unavailable(Why::NotOwner)));
    desk.step(Event::Claim { nonce: 2 });
    desk.write(claim);
    assert_eq!(desk.owner.role(), Role::Claiming { nonce: 2 }, "an old claim is not this one");
    desk.now.steady += SILENCE;
    desk.step(Event::Tick);
    assert_eq!(desk.owner.role(), Role::Out(Out::ClaimFailed));
}

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

/// What may happen to a rolling or fixed bucket.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    Wait(u64),
    TurnBack(u64),
    Write,
    Refund,
    Claim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Ask),
        3 => (1..400u64).prop_map(Step::Wait),
        1 => (1..600u64).prop_map(Step::TurnBack),
        3 => Just(Step::Write),
        1 => Just(Step::Refund),
        1 => Just(Step::Claim),
    ];
    proptest::collection::vec(step, 1..120)
}

fn frames() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (50..1000u64, 0..100u64).prop_map(|(length, offset)| Frame::Fixed { length, offset }),
        (50..1000u64).prop_map(|length| Frame::Rolling { length }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    /// Whatever is asked, however the clock moves and whoever else claims.
    #[test]
    fn no_window_ever_has_more_than_its_limit(
        frame in frames(), limit in prop_oneof![1..6u64, 65..70u64], steps in steps(),
    ) {
        let terms = Terms { frame, limit, unconfirmed: None };
        let mut desk = Desk::owning();
        let mut kept: Vec<Kept> = Vec::new();
        let mut decided: BTreeMap<u32, UnixMillis> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Ask => {
                    // A few at once, or a limit of 65 is never reached.
                    for _ in 0..limit.div_ceil(4) {
                        desk.ask(terms);
                        desk.note_decided(&mut decided);
                    }
                }
                Step::Wait(millis) => desk.now.wall.0 += millis,
                Step::TurnBack(millis) => desk.now.wall.0 -= millis,
                Step::Write => desk.write_all(),
                Step::Refund => if let Some(kept) = kept.pop() {
                    desk.step(Event::Refund(kept.held));
                },
                Step::Claim => {
                    desk.write(foreign_claim());
                    desk.step(Event::Claim { nonce: u128::from(desk.clients) << 32 });
                    desk.write_all();
                }
            }
            desk.note_decided(&mut decided);
            for (client, answer) in std::mem::take(&mut desk.answers) {
                if let Answer::Admitted(held, _) = answer {
                    kept.push(Kept { at: decided[&client].max(held.period.start), held });
                }
            }
            check(&kept, frame, limit)?;
        }
    }
}

/// An admitted use: when it was decided, and how to give it back.
struct Kept {
    at: UnixMillis,
    held: Held,
}

/// The window that ends with each use has no more than the limit, even if the uses of earlier
/// periods were all made at the last moment of those.
fn check(kept: &[Kept], frame: Frame, limit: u64) -> Result<(), TestCaseError> {
    for last in kept {
        let shares_a_window = |other: &&Kept| match frame {
            Frame::Fixed { .. } => other.held.period == last.held.period,
            Frame::Rolling { .. } => {
                other.held.period.start <= last.held.period.start
                    && other.held.period.ends > last.at
            }
        };
        let count = kept.iter().filter(shares_a_window).count() as u64;
        prop_assert!(count <= limit, "{count} of {limit} near {:?}", last.held.period);
    }
    Ok(())
}
