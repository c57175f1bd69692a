mod windows;
mod hand_over;
mod gather;
mod uses;

use std::collections::VecDeque;

use super::*;
use crate::journal::{Label, Use};
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
    /// Flushes that were asked for.
    flushes: u32,
    now: Now,
    clients: u32,
}

const SILENCE: Duration = Duration::from_secs(5);
const HAND_OVER: Duration = Duration::from_secs(3);

impl Desk {
    fn new() -> Self {
        let bounds = Bounds { silence: SILENCE, hand_over: HAND_OVER, entries: 1000 };
        Self {
            owner: Owner::new("gw".into(), bounds),
            sent: VecDeque::new(),
            log: Vec::new(),
            answers: Vec::new(),
            flushes: 0,
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
        let effects = self.owner.step(event, self.now);
        self.follow(effects);
    }

    fn follow(&mut self, effects: Vec<Effect<Client>>) {
        for effect in effects {
            match effect {
                Effect::Append(record) => self.sent.push_back(record),
                Effect::Answer(client, answer) => self.answers.push((client.0, answer)),
                Effect::Gather => self.flushes += 1,
            }
        }
    }

    /// As a partition asks: at once if that can be, else in the queue.
    fn ask(&mut self, terms: Terms) -> u32 {
        let (answer, effects) = self.owner.ask_now(&bucket(), &terms, self.now);
        self.follow(effects);
        let Some(answer) = answer else { return self.ask_wanting(terms, Wants::Answer) };
        self.clients += 1;
        self.answers.push((self.clients, answer));
        self.clients
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

    /// Writes and reads all that is sent; what gathers is sent as often as it asks to be.
    fn write_all(&mut self) {
        loop {
            while let Some(record) = self.sent.pop_front() {
                self.write(record);
            }
            if std::mem::take(&mut self.flushes) == 0 {
                return;
            }
            self.step(Event::Flush);
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
    desk.step(Event::Flush);
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
