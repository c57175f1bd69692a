//! What can happen next, and what comes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use stateright::{Model, Property};
use tollgate::journal::Record;
use tollgate::quota::{Ask, Event, Role};

use crate::fleet::Fleet;
use crate::world::{Client, Entry, Left, PERIOD, SILENCE, World, bucket, gateway, owner};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Claim(usize),
    Ask(usize),
    Refund(usize),
    Reset(usize),
    Flush(usize),
    HandOver(usize),
    Renew(usize),
    /// What it could not write down goes to the other gateway.
    Deliver(usize),
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
                hand_overs: self.hand_overs,
                renewals: self.renewals,
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
            may(owning && left.hand_overs > 0, Action::HandOver(who));
            may(owning && left.renewals > 0, Action::Renew(who));
            may(!gateway.owner.clone().leftovers().is_empty(), Action::Deliver(who));
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
                world.ask(self, who, ask, now);
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
            Action::HandOver(who) => {
                world.left.hand_overs -= 1;
                world.step(self, who, Event::HandOver, now);
            }
            Action::Renew(who) => {
                world.left.renewals -= 1;
                let nonce = 100 + u128::from(world.left.renewals);
                world.step(self, who, Event::Claim { nonce }, now);
            }
            Action::Deliver(who) => {
                for (held, served, refunds) in world.gateways[who].owner.leftovers() {
                    world.step(self, 1 - who, Event::Settle(held, served, refunds), now);
                }
            }
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
