//! Which faults come when: the same for the same seed.

use std::time::Duration;

use crate::fault::{Fault, GATEWAYS, Kind};
use crate::link::Weather;
use crate::shared::dice::Dice;

/// One in so many faults comes alone, so that what it costs can be told from others.
const ALONE: usize = 12;

/// Faults that come together: each lane does one after the other.
pub type Lane = Vec<(Duration, Fault)>;

/// One round: first faults alone, then a storm of them in lanes side by side; then the fleet heals
/// and is judged.
#[derive(Debug, PartialEq)]
pub struct Round {
    pub alone: Vec<Fault>,
    pub storm: Vec<Lane>,
}

/// What can be done in this place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Means {
    pub brokers: u32,
    pub kinds: Vec<Kind>,
}

impl Round {
    /// So many faults. `turn` counts rounds: faults alone go through all kinds in turn.
    pub fn new(seed: u64, turn: usize, faults: usize, means: &Means) -> Self {
        let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(turn as u64));
        let kinds = &means.kinds;
        // Short runs meet every kind alone once.
        let some = faults.div_ceil(ALONE);
        let count = if turn == 0 { kinds.len().max(some).min(faults) } else { some };
        let from = turn * count;
        let alone = (from..from + count)
            .map(|number| fault(kinds[number % kinds.len()], None, &mut dice, means))
            .collect();
        let mut storm: Vec<Lane> = vec![Lane::new(); 2 * GATEWAYS + 1];
        for number in 0..faults.saturating_sub(count) {
            let Some((lane, kind)) = stormy(number, &mut dice, means) else { break };
            let pause = Duration::from_millis(match lane {
                BROKERS => 2_000 + dice.below(7_000),
                _ => dice.below(1_500),
            });
            storm[lane].push((pause, fault(kind, Some(lane), &mut dice, means)));
        }
        Self { alone, storm }
    }

    pub fn faults(&self) -> usize {
        self.alone.len() + self.storm.iter().map(Vec::len).sum::<usize>()
    }
}

/// The lane of the brokers' faults. Before it, each gateway has one for faults of its process and
/// one for what is around it, so that it may be killed while it is cut off.
const BROKERS: usize = 2 * GATEWAYS;

/// The lane of a fault in a storm, and its kind: short ones come more often. Brokers have fewer
/// faults, so that gateways have a Kafka most of the time.
fn stormy(number: usize, dice: &mut Dice, means: &Means) -> Option<(usize, Kind)> {
    const OF_BROKER: [(Kind, u64); 3] =
        [(Kind::KillBroker, 3), (Kind::RestartBroker, 2), (Kind::FreezeBroker, 2)];
    const OF_PROCESS: [(Kind, u64); 3] = [(Kind::Kill, 8), (Kind::Freeze, 4), (Kind::Restart, 4)];
    const AROUND: [(Kind, u64); 6] = [
        (Kind::Reload, 6),
        (Kind::CutFromKafka, 4),
        (Kind::SlowKafka, 3),
        (Kind::CutFromFleet, 5),
        (Kind::StepClock, 3),
        (Kind::FillDisk, 3),
    ];
    let lane = number % GATEWAYS;
    let of_broker = weighed(&OF_BROKER, dice, means).filter(|_| number % 18 == 17);
    let of_process = weighed(&OF_PROCESS, dice, means).map(|kind| (lane, kind));
    let around = weighed(&AROUND, dice, means).map(|kind| (GATEWAYS + lane, kind));
    let of_gateway = if (number / GATEWAYS).is_multiple_of(2) {
        of_process.or(around)
    } else {
        around.or(of_process)
    };
    of_broker.map(|kind| (BROKERS, kind)).or(of_gateway)
}

fn weighed(kinds: &[(Kind, u64)], dice: &mut Dice, means: &Means) -> Option<Kind> {
    let possible: Vec<_> = kinds.iter().filter(|(kind, _)| means.kinds.contains(kind)).collect();
    let mut left = dice.below(possible.iter().map(|(_, weight)| weight).sum::<u64>().max(1));
    let taken = possible.iter().find(|(_, weight)| {
        let within = left < *weight;
        left = left.saturating_sub(*weight);
        within
    });
    taken.map(|(kind, _)| *kind)
}

fn fault(kind: Kind, lane: Option<usize>, dice: &mut Dice, means: &Means) -> Fault {
    let seconds = |dice: &mut Dice, from: u64, to: u64| {
        Duration::from_millis(from * 1000 + dice.below((to - from) * 1000 + 1))
    };
    let gateway = lane.unwrap_or(dice.below(GATEWAYS as u64) as usize) % GATEWAYS;
    let broker = 1 + dice.below(u64::from(means.brokers)) as u32;
    match kind {
        Kind::Kill => Fault::Kill { gateway, away: seconds(dice, 0, 4) },
        // One in three is longer than a group's session: others take its place.
        Kind::Freeze if dice.below(3) == 0 => {
            Fault::Freeze { gateway, lasts: seconds(dice, 8, 15) }
        }
        Kind::Freeze => Fault::Freeze { gateway, lasts: seconds(dice, 1, 7) },
        Kind::Restart => Fault::Restart { gateway },
        Kind::RollingRestart => Fault::RollingRestart,
        Kind::Reload => Fault::Reload { gateway, wrong: dice.below(4) == 0 },
        Kind::CutFromKafka => {
            Fault::CutFromKafka { gateway, weather: cut(dice), lasts: seconds(dice, 2, 10) }
        }
        Kind::SlowKafka => {
            let late = Duration::from_millis(200 + dice.below(301));
            Fault::SlowKafka { gateway, late, lasts: seconds(dice, 3, 8) }
        }
        Kind::CutFromFleet => {
            let others = (gateway + 1 + dice.below(2) as usize) % GATEWAYS;
            let from = (dice.below(3) > 0).then_some(others);
            Fault::CutFromFleet { gateway, from, weather: cut(dice), lasts: seconds(dice, 2, 8) }
        }
        Kind::StepClock => {
            let most = [2, 60, 7_200][dice.below(3) as usize];
            let seconds_off = dice.below(2 * most + 1) as i64 - most as i64;
            Fault::StepClock { gateway, seconds: seconds_off, lasts: seconds(dice, 2, 8) }
        }
        Kind::FillDisk => Fault::FillDisk { gateway, lasts: seconds(dice, 2, 6) },
        Kind::KillBroker => Fault::KillBroker { broker, away: seconds(dice, 0, 3) },
        Kind::RestartBroker => Fault::RestartBroker { broker },
        Kind::FreezeBroker => Fault::FreezeBroker { broker, lasts: seconds(dice, 1, 8) },
    }
}

/// Silence is the more frequent, since it is the harder to notice.
fn cut(dice: &mut Dice) -> Weather {
    if dice.below(3) == 0 { Weather::Resetting } else { Weather::Silent }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Means {
        Means { brokers: 3, kinds: Kind::ALL.to_vec() }
    }

    #[test]
    fn the_same_seed_is_the_same_plan_and_another_is_another() {
        assert_eq!(Round::new(7, 2, 50, &all()), Round::new(7, 2, 50, &all()));
        assert_ne!(Round::new(7, 2, 50, &all()), Round::new(8, 2, 50, &all()));
        assert_ne!(Round::new(7, 2, 50, &all()), Round::new(7, 3, 50, &all()));
    }

    #[test]
    fn a_round_has_as_many_faults_as_asked_for_and_the_first_every_kind_alone() {
        for faults in [1, 20, 50] {
            assert_eq!(Round::new(1, 0, faults, &all()).faults(), faults);
        }
        let kinds: BTreeSet<Kind> =
            Round::new(1, 0, 20, &all()).alone.iter().map(Fault::kind).collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
    }

    #[test]
    fn what_is_not_possible_here_is_not_planned() {
        let kinds = vec![Kind::Kill, Kind::KillBroker, Kind::Reload];
        let few = Means { brokers: 1, kinds: kinds.clone() };
        let round = Round::new(1, 0, 400, &few);
        let planned = round.alone.iter().chain(round.storm.iter().flatten().map(|(_, f)| f));
        for fault in planned {
            assert!(kinds.contains(&fault.kind()), "{fault}");
            if let Fault::KillBroker { broker, .. } = fault {
                assert_eq!(*broker, 1);
            }
        }
    }
}
