//! Every schedule of a small fleet is tried, on the product's own ledger and owner state machine:
//! two gateways that both claim one partition, appends that are late, lost or reported lost,
//! crashes, silence, compaction, records written twice, clocks that differ and step. The invariants are those of the design's section on
//! account state. Each rule of ownership is also taken away in turn, by handing the state machine
//! its records in the way that it would see them without that rule; the checker must then find a
//! schedule that admits one too many, or it proves nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stateright::{Checker, Model, Property};
use tollgate::journal::{Bucket, Label, Offset, Period, Record, Use};
use tollgate::quota::{
    Answer, Ask, Bounds, Effect, Event, Frame, Held, Ledger, Now, Owner, Role, Terms, Waiter,
    Wants, Why,
};
use tollgate::request::UnixMillis;

const SILENCE: Duration = Duration::from_secs(1);
const PERIOD: u64 = 10;

/// Which rule holds, or which one is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    All,
    /// A gateway reads from its claim on, not up to it.
    ClaimWithoutReading,
    /// A gateway acts on its claim when it has read that, without reading on to what replaced
    /// earlier records meanwhile.
    ActOnClaim,
    /// A use is admitted when the journal confirms it, not when it is read back.
    AdmitOnConfirmation,
    /// Uses written under an epoch that a newer claim had ended are not counted.
    IgnoreVoid,
}

/// How much may happen.
#[derive(Clone, Debug)]
struct Fleet {
    rules: Rules,
    limit: u64,
    /// Unconfirmed uses that a fast rule allows; `None` for a strict one.
    fast: Option<u64>,
    asks: u8,
    /// Asks of one gateway that may wait at once.
    waiting: usize,
    claims: u8,
    crashes: u8,
    unsure: u8,
    losses: u8,
    refunds: u8,
    repeats: u8,
    clock_steps: u8,
    sweeps: u8,
    resets: u8,
    compaction: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client(u8);

impl Waiter for Client {
    fn wants(&self) -> Wants {
        Wants::Answer
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    log: Vec<Entry>,
    /// Sent and neither written nor lost.
    transit: Vec<(usize, Record)>,
    gateways: Vec<Gateway>,
    left: Left,
    /// Strict uses admitted, by period and round, less those given back.
    kept: BTreeMap<(Period, u32), u64>,
    admitted: u64,
    refunded: u64,
    /// Asks answered so that nothing can have been written for them.
    refused: u64,
    asked: u64,
    crashed: u64,
    /// Where each period admitted, by offset.
    periods: BTreeMap<Offset, UnixMillis>,
    wrong: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    sender: usize,
    record: Record,
    compacted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Gateway {
    owner: Owner<Client>,
    position: usize,
    /// One past the last record that it was given.
    given: Offset,
    wall: UnixMillis,
    waiting: usize,
    held: Vec<Held>,
    /// An independent fold of what it has read: by epoch, admitted and refunded.
    seen: BTreeMap<(Period, u32, Offset), (u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Left {
    asks: u8,
    claims: u8,
    crashes: u8,
    unsure: u8,
    losses: u8,
    refunds: u8,
    repeats: u8,
    clock_steps: u8,
    sweeps: u8,
    resets: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Claim(usize),
    Ask(usize),
    Refund(usize),
    Reset(usize),
    Flush(usize),
    Read(usize),
    /// The record in transit is written.
    Write(usize),
    /// It is written, and stays in transit to be written again.
    WriteTwice(usize),
    /// It is lost.
    Lose(usize),
    /// Its sender is told that it may be lost. It stays in transit.
    TellUnsure(usize),
    /// The sender of a written record that it has not read is told that it may be lost.
    LoseConfirmation(usize),
    Crash(usize),
    FallSilent(usize),
    Compact(usize),
    StepClock(usize),
    Sweep(usize),
}

fn bucket() -> Bucket {
    Bucket { account: [1; 16], label: Arc::new(Label { rule: "r".into(), dimensions: "".into() }) }
}

fn owner() -> Owner<Client> {
    Owner::new("gw".into(), Bounds { silence: SILENCE, entries: 1000 })
}

fn gateway() -> Gateway {
    Gateway {
        owner: owner(),
        position: 0,
        given: 0,
        wall: UnixMillis(PERIOD / 2),
        waiting: 0,
        held: Vec::new(),
        seen: BTreeMap::new(),
    }
}

impl Fleet {
    fn strict() -> Self {
        Self {
            rules: Rules::All,
            limit: 1,
            fast: None,
            asks: 2,
            waiting: 2,
            claims: 3,
            crashes: 0,
            unsure: 0,
            losses: 0,
            refunds: 0,
            repeats: 0,
            clock_steps: 0,
            sweeps: 0,
            resets: 0,
            compaction: false,
        }
    }

    fn terms(&self) -> Terms {
        let frame = Frame::Fixed { length: PERIOD, offset: 0 };
        Terms { frame, limit: self.limit, unconfirmed: self.fast }
    }

    /// Tries every schedule; gives the schedule that breaks an invariant, if there is one.
    fn check(self) -> Option<String> {
        let checker = self.checker().threads(2).spawn_dfs().join();
        eprintln!("{} states", checker.unique_state_count());
        let found = checker.discoveries();
        assert!(checker.is_done() || !found.is_empty(), "not all schedules were tried");
        found.into_iter().next().map(|(name, path)| {
            let wrong = path.last_state().wrong.unwrap_or(name);
            format!("{wrong}: {:?}", path.into_actions())
        })
    }
}

impl World {
    fn step(&mut self, fleet: &Fleet, who: usize, event: Event<Client>, steady: Duration) {
        let gateway = &mut self.gateways[who];
        let read = match &event {
            Event::Read(offset, record) => Some((*offset, record.clone())),
            _ => None,
        };
        let effects = gateway.owner.step(event, Now { wall: gateway.wall, steady });
        for effect in effects {
            match effect {
                Effect::Append(record) => self.transit.push((who, record)),
                Effect::Answer(_, answer) => self.answered(fleet, who, answer, read.as_ref()),
                // A flush may come at any time while something gathers.
                Effect::Gather => {}
            }
        }
    }

    fn answered(
        &mut self,
        fleet: &Fleet,
        who: usize,
        answer: Answer,
        read: Option<&(Offset, Record)>,
    ) {
        let gateway = &mut self.gateways[who];
        gateway.waiting = gateway.waiting.saturating_sub(1);
        match answer {
            Answer::Admitted(held, _) => {
                self.admitted += 1;
                *self.kept.entry((held.period, held.round)).or_default() += 1;
                gateway.held.push(held.clone());
                if let Some((offset, Record::Use(used))) = read
                    && fleet.rules == Rules::All
                {
                    self.admitted_at(*offset, used, &held);
                }
            }
            Answer::Exceeded(standing) => {
                self.refused += 1;
                let last = standing.offset + 1 == gateway.given;
                if fleet.rules == Rules::All && (!last || gateway.shown() < fleet.limit) {
                    self.wrong = Some("I2: refused without a fold that has reached the limit");
                }
            }
            Answer::Unavailable(Why::Unsure) => {}
            Answer::Unavailable(Why::NotOwner | Why::NotWritten | Why::Full) => self.refused += 1,
            Answer::Reset => {}
        }
    }

    fn admitted_at(&mut self, offset: Offset, used: &Use, held: &Held) {
        let before = &self.log[..offset as usize];
        let newest = before.iter().rposition(|entry| matches!(entry.record, Record::Claim(_)));
        if newest.map(|epoch| epoch as Offset) != Some(used.epoch) {
            self.wrong = Some("I5: an epoch admitted after a newer claim");
        }
        self.periods.insert(offset, held.period.start);
        if !self.periods.values().is_sorted() {
            self.wrong = Some("I8: a period went back");
        }
    }

    /// All that was ever written.
    fn fold(&self, keep: impl Fn(&Entry) -> bool) -> Ledger {
        let mut ledger = Ledger::default();
        for (entry, offset) in self.log.iter().zip(0..) {
            if keep(entry) {
                ledger.apply(offset, &entry.record);
            }
        }
        ledger
    }

    fn judge(&mut self, fleet: &Fleet) {
        // A fast rule may admit its bound too many for each crash and each change of owner.
        let claims = self.log.iter().filter(|entry| matches!(entry.record, Record::Claim(_)));
        let breaks = (claims.count() as u64).saturating_sub(1) + self.crashed;
        let most = fleet.limit + fleet.fast.unwrap_or(0) * breaks;
        if self.kept.values().any(|kept| *kept > most) {
            self.wrong = Some("I1, I4: one too many was admitted");
        }
        let all = self.fold(|_| true).uses();
        let total = |part: fn(&Use) -> u64| all.iter().map(part).sum::<u64>();
        let (written, given_back) = (total(|used| used.admitted), total(|used| used.refunded));
        // What is neither in the log nor in anybody's memory is lost.
        let at_rest = self.gateways.iter().all(|gateway| gateway.owner.is_idle());
        if let Some(bound) = fleet.fast
            && at_rest
            && self.transit.is_empty()
            && self.admitted.saturating_sub(written) > bound * self.crashed
        {
            self.wrong = Some("I4: more uses were lost than the bound for each crash");
        }
        // Sweeps and resets remove counts from the fold, and fast uses may be counted twice.
        let plain = fleet.sweeps == 0 && fleet.resets == 0 && fleet.fast.is_none();
        if plain && fleet.rules == Rules::All {
            if written < self.admitted {
                self.wrong = Some("I3: an admitted use is not in the log");
            }
            if written > self.asked - self.refused {
                self.wrong = Some("I3: more uses in the log than were asked for");
            }
        }
        if given_back > self.refunded && fleet.rules == Rules::All {
            self.wrong = Some("I6: a use was given back twice");
        }
        if fleet.rules == Rules::All {
            let kept = self.fold(|entry| !entry.compacted).uses();
            let healed = self.gateways.iter().filter(|gateway| gateway.position == self.log.len());
            if kept != all || healed.into_iter().any(|gateway| gateway.owner.ledger().uses() != all)
            {
                self.wrong = Some("I7: a replica differs from the fold");
            }
        }
    }

    fn write(&mut self, fleet: &Fleet, who: usize, record: Record) {
        let offset = self.log.len() as Offset;
        self.log.push(Entry { sender: who, record: record.clone(), compacted: false });
        if matches!((&record, fleet.rules), (Record::Claim(_), Rules::ClaimWithoutReading)) {
            self.gateways[who].position = offset as usize;
        }
        let at_once = matches!(
            (&record, fleet.rules),
            (Record::Horizon(_), Rules::ActOnClaim) | (Record::Use(_), Rules::AdmitOnConfirmation)
        );
        if at_once {
            self.step(fleet, who, Event::Read(offset, record), Duration::ZERO);
        }
    }

    fn read(&mut self, fleet: &Fleet, who: usize) {
        let position = self.gateways[who].position;
        let Entry { record, compacted, .. } = self.log[position].clone();
        self.gateways[who].position += 1;
        let newest =
            self.log[..position].iter().rposition(|entry| matches!(entry.record, Record::Claim(_)));
        let void = matches!(&record, Record::Use(used) if Some(used.epoch as usize) != newest);
        if compacted || (void && fleet.rules == Rules::IgnoreVoid) {
            return;
        }
        self.gateways[who].given = position as Offset + 1;
        if let Record::Use(used) = &record {
            let seen = &mut self.gateways[who].seen;
            let (admitted, refunded) =
                seen.entry((used.period, used.round, used.epoch)).or_default();
            *admitted = used.admitted.max(*admitted);
            *refunded = used.refunded.max(*refunded);
        }
        self.step(fleet, who, Event::Read(position as Offset, record), Duration::ZERO);
    }

    fn crash(&mut self, who: usize) {
        let wall = self.gateways[who].wall;
        self.gateways[who] = Gateway { wall, ..gateway() };
        self.crashed += 1;
    }

    /// Whether a later record has its key.
    fn is_replaced(&self, at: usize) -> bool {
        let key = self.log[at].record.key();
        self.log[at + 1..].iter().any(|entry| entry.record.key() == key)
    }
}

impl Gateway {
    /// The most that counts in one period of the latest round, by the independent fold.
    fn shown(&self) -> u64 {
        let round = self.seen.keys().map(|(_, round, _)| *round).max().unwrap_or(0);
        let mut periods: BTreeMap<Period, (u64, u64)> = BTreeMap::new();
        for ((period, of, _), (admitted, refunded)) in &self.seen {
            if *of == round {
                let sum = periods.entry(*period).or_default();
                sum.0 += admitted;
                sum.1 += refunded;
            }
        }
        periods
            .values()
            .map(|(admitted, refunded)| admitted.saturating_sub(*refunded))
            .max()
            .unwrap_or(0)
    }
}

impl Model for Fleet {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            log: Vec::new(),
            transit: Vec::new(),
            gateways: vec![gateway(), gateway()],
            left: Left {
                asks: self.asks,
                claims: self.claims,
                crashes: self.crashes,
                unsure: self.unsure,
                losses: self.losses,
                refunds: self.refunds,
                repeats: self.repeats,
                clock_steps: self.clock_steps,
                sweeps: self.sweeps,
                resets: self.resets,
            },
            kept: BTreeMap::new(),
            admitted: 0,
            refunded: 0,
            refused: 0,
            asked: 0,
            crashed: 0,
            periods: BTreeMap::new(),
            wrong: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = &world.left;
        for (who, gateway) in world.gateways.iter().enumerate() {
            let owning = matches!(gateway.owner.role(), Role::Owning { .. });
            let out = matches!(gateway.owner.role(), Role::Out(_));
            let mut may = |possible: bool, action| possible.then(|| actions.push(action));
            // The gateways are alike: let the first be the first to claim.
            let may_claim = left.claims > 0 && (who == 0 || left.claims < self.claims);
            may(out && may_claim, Action::Claim(who));
            may(!out && left.asks > 0 && gateway.waiting < self.waiting, Action::Ask(who));
            may(left.refunds > 0 && !gateway.held.is_empty(), Action::Refund(who));
            may(owning && left.resets > 0, Action::Reset(who));
            may(owning && gateway.owner.is_gathering(), Action::Flush(who));
            may(gateway.position < world.log.len(), Action::Read(who));
            may(left.crashes > 0 && gateway.owner != owner(), Action::Crash(who));
            may(left.unsure > 0 && gateway.owner.outstanding() > 0, Action::FallSilent(who));
            may(left.clock_steps > 0, Action::StepClock(who));
            may(owning && left.sweeps > 0, Action::Sweep(who));
        }
        for at in 0..world.transit.len() {
            let mut may = |possible: bool, action| possible.then(|| actions.push(action));
            may(true, Action::Write(at));
            // Of claims the journal promises one each: were the first compacted away in favour of
            // the second, those who had not read it would not learn of it in time.
            let claim = matches!(world.transit[at].1, Record::Claim(_));
            may(left.repeats > 0 && !claim, Action::WriteTwice(at));
            may(left.losses > 0, Action::Lose(at));
            may(left.unsure > 0, Action::TellUnsure(at));
        }
        if left.unsure > 0 {
            let unread = |at: &usize| world.gateways[world.log[*at].sender].position <= *at;
            actions.extend((0..world.log.len()).filter(unread).map(Action::LoseConfirmation));
        }
        if self.compaction {
            let removable = |at: &usize| !world.log[*at].compacted && world.is_replaced(*at);
            actions.extend((0..world.log.len()).filter(removable).map(Action::Compact));
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        let now = Duration::ZERO;
        match action {
            Action::Claim(who) => {
                world.left.claims -= 1;
                let nonce = u128::from(world.left.claims);
                world.step(self, who, Event::Claim { nonce }, now);
            }
            Action::Ask(who) => {
                world.left.asks -= 1;
                world.asked += 1;
                world.gateways[who].waiting += 1;
                let waiter = Client(world.left.asks);
                let ask = Ask { bucket: bucket(), terms: self.terms(), waiter };
                world.step(self, who, Event::Ask(ask), now);
            }
            Action::Refund(who) => {
                world.left.refunds -= 1;
                world.refunded += 1;
                let held = world.gateways[who].held.pop()?;
                *world.kept.get_mut(&(held.period, held.round))? -= 1;
                world.step(self, who, Event::Refund(held), now);
            }
            Action::Reset(who) => {
                world.left.resets -= 1;
                world.step(self, who, Event::Reset(bucket(), Client(99)), now);
            }
            Action::Flush(who) => world.step(self, who, Event::Flush, now),
            Action::Read(who) => world.read(self, who),
            Action::Write(at) => {
                let (who, record) = world.transit.remove(at);
                world.write(self, who, record);
            }
            Action::WriteTwice(at) => {
                world.left.repeats -= 1;
                let (sender, record) = world.transit[at].clone();
                world.log.push(Entry { sender, record, compacted: false });
            }
            Action::Lose(at) => {
                world.left.losses -= 1;
                world.transit.remove(at);
            }
            Action::TellUnsure(at) => {
                world.left.unsure -= 1;
                let (who, record) = world.transit[at].clone();
                world.step(self, who, Event::Unsure(record), now);
            }
            Action::LoseConfirmation(at) => {
                world.left.unsure -= 1;
                let Entry { sender, record, .. } = world.log[at].clone();
                world.step(self, sender, Event::Unsure(record), now);
            }
            Action::Crash(who) => {
                world.left.crashes -= 1;
                world.crash(who);
            }
            Action::FallSilent(who) => {
                world.left.unsure -= 1;
                world.step(self, who, Event::Tick, SILENCE);
            }
            Action::Compact(at) => world.log[at].compacted = true,
            Action::StepClock(who) => {
                world.left.clock_steps -= 1;
                let wall = &mut world.gateways[who].wall;
                wall.0 = if wall.0 < PERIOD { wall.0 + PERIOD } else { wall.0 - PERIOD };
            }
            Action::Sweep(who) => {
                world.left.sweeps -= 1;
                let ended = world.gateways[who].wall;
                world.step(self, who, Event::Sweep(ended), now);
            }
        }
        world.judge(self);
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("all invariants hold", |_, world: &World| world.wrong.is_none())]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.wrong.is_none() || world.log.len() < 12
    }
}

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
