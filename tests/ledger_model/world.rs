//! The journal and the gateways, and what happens to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tollgate::journal::{Bucket, Label, Offset, Period, Record};
use tollgate::quota::{Answer, Ask, Bounds, Effect, Event, Held, Now, Owner, Waiter, Wants, Why};
use tollgate::request::UnixMillis;

use crate::fleet::{Fleet, Rules};

pub const SILENCE: Duration = Duration::from_secs(1);
pub const PERIOD: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(pub u8);

impl Waiter for Client {
    fn wants(&self) -> Wants {
        Wants::Answer
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub log: Vec<Entry>,
    /// Sent and neither written nor lost.
    pub transit: Vec<(usize, Record)>,
    pub gateways: Vec<Gateway>,
    pub left: Left,
    /// Strict uses admitted, by period and round, less those given back.
    pub kept: BTreeMap<(Period, u32), u64>,
    pub admitted: u64,
    pub refunded: u64,
    /// Asks answered so that nothing can have been written for them.
    pub refused: u64,
    pub asked: u64,
    pub crashed: u64,
    /// Where each period admitted, by offset.
    pub periods: BTreeMap<Offset, UnixMillis>,
    pub wrong: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub sender: usize,
    pub record: Record,
    pub compacted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gateway {
    pub owner: Owner<Client>,
    pub position: usize,
    /// One past the last record that it was given.
    pub given: Offset,
    pub wall: UnixMillis,
    pub waiting: usize,
    pub held: Vec<Held>,
    /// An independent fold of what it has read: by epoch, admitted and refunded.
    pub seen: BTreeMap<(Period, u32, Offset), (u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub asks: u8,
    pub claims: u8,
    pub crashes: u8,
    pub unsure: u8,
    pub losses: u8,
    pub refunds: u8,
    pub repeats: u8,
    pub clock_steps: u8,
    pub sweeps: u8,
    pub resets: u8,
    pub hand_overs: u8,
    pub renewals: u8,
}

pub fn bucket() -> Bucket {
    Bucket { account: [1; 16], label: Arc::new(Label { rule: "r".into(), dimensions: "".into() }) }
}

pub fn owner() -> Owner<Client> {
    Owner::new("gw".into(), Bounds { silence: SILENCE, hand_over: SILENCE, entries: 1000 })
}

pub fn gateway() -> Gateway {
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

impl World {
    pub fn step(&mut self, fleet: &Fleet, who: usize, event: Event<Client>, steady: Duration) {
        let gateway = &mut self.gateways[who];
        let read = match &event {
            Event::Read(offset, record) => Some((*offset, record.clone())),
            _ => None,
        };
        let effects = gateway.owner.step(event, Now { wall: gateway.wall, steady });
        self.follow(fleet, who, effects, read.as_ref());
    }

    /// As a partition asks: at once if that can be, else in the queue.
    pub fn ask(&mut self, fleet: &Fleet, who: usize, ask: Ask<Client>, steady: Duration) {
        let gateway = &mut self.gateways[who];
        let now = Now { wall: gateway.wall, steady };
        let (answer, effects) = gateway.owner.ask_now(&ask.bucket, &ask.terms, now);
        self.follow(fleet, who, effects, None);
        match answer {
            Some(answer) => self.answered(fleet, who, answer, None),
            None => self.step(fleet, who, Event::Ask(ask), steady),
        }
    }

    fn follow(
        &mut self,
        fleet: &Fleet,
        who: usize,
        effects: Vec<Effect<Client>>,
        read: Option<&(Offset, Record)>,
    ) {
        for effect in effects {
            match effect {
                Effect::Append(record) => self.transit.push((who, record)),
                Effect::Answer(_, answer) => self.answered(fleet, who, answer, read),
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

    pub fn write(&mut self, fleet: &Fleet, who: usize, record: Record) {
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

    pub fn read(&mut self, fleet: &Fleet, who: usize) {
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

    pub fn crash(&mut self, who: usize) {
        let wall = self.gateways[who].wall;
        self.gateways[who] = Gateway { wall, ..gateway() };
        self.crashed += 1;
    }

    /// Whether a later record has its key.
    pub fn is_replaced(&self, at: usize) -> bool {
        let key = self.log[at].record.key();
        self.log[at + 1..].iter().any(|entry| entry.record.key() == key)
    }
}
