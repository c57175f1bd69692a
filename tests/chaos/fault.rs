//! What is done to the fleet.

use std::fmt;
use std::time::Duration;

use crate::link::Weather;

/// Gateways of the fleet.
pub const GATEWAYS: usize = 3;

/// One fault, with whom it meets. Gateways count from 0, brokers from 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// kill -9, and a new start after a while.
    Kill { gateway: usize, away: Duration },
    /// SIGSTOP, and SIGCONT after a while.
    Freeze { gateway: usize, lasts: Duration },
    /// SIGTERM, and a new start once it has ended.
    Restart { gateway: usize },
    /// Each gateway in turn is ended and started, as an upgrade does it.
    RollingRestart,
    /// Its configuration is replaced, by one that is wrong or right.
    Reload { gateway: usize, wrong: bool },
    /// One gateway has no way to any broker.
    CutFromKafka { gateway: usize, weather: Weather, lasts: Duration },
    /// Kafka is far away for one gateway.
    SlowKafka { gateway: usize, late: Duration, lasts: Duration },
    /// A gateway can't be reached by one of the others, or by both.
    CutFromFleet { gateway: usize, from: Option<usize>, weather: Weather, lasts: Duration },
    /// Its wall clock is so many seconds off for a while.
    StepClock { gateway: usize, seconds: i64, lasts: Duration },
    /// The disk with its state has no room.
    FillDisk { gateway: usize, lasts: Duration },
    /// kill -9 of a broker, and a new start after a while.
    KillBroker { broker: u32, away: Duration },
    /// SIGTERM of a broker, and a new start.
    RestartBroker { broker: u32 },
    /// SIGSTOP of a broker, and SIGCONT after a while.
    FreezeBroker { broker: u32, lasts: Duration },
}

/// Faults of one name, as the table has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Kill,
    Freeze,
    Restart,
    RollingRestart,
    Reload,
    CutFromKafka,
    SlowKafka,
    CutFromFleet,
    StepClock,
    FillDisk,
    KillBroker,
    RestartBroker,
    FreezeBroker,
}

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::Kill,
        Self::Freeze,
        Self::Restart,
        Self::RollingRestart,
        Self::Reload,
        Self::CutFromKafka,
        Self::SlowKafka,
        Self::CutFromFleet,
        Self::StepClock,
        Self::FillDisk,
        Self::KillBroker,
        Self::RestartBroker,
        Self::FreezeBroker,
    ];

    pub fn words(self) -> &'static str {
        match self {
            Self::Kill => "gateway killed (kill -9)",
            Self::Freeze => "gateway frozen (SIGSTOP, up to 15 s)",
            Self::Restart => "gateway restarted in order",
            Self::RollingRestart => "rolling restart of all three",
            Self::Reload => "configuration replaced (one in four wrong)",
            Self::CutFromKafka => "gateway cut from Kafka",
            Self::SlowKafka => "Kafka slow for a gateway (0.2 to 0.5 s each way)",
            Self::CutFromFleet => "gateway cut from other gateways",
            Self::StepClock => "wall clock stepped (up to 2 h)",
            Self::FillDisk => "disk full",
            Self::KillBroker => "broker killed (kill -9)",
            Self::RestartBroker => "broker restarted in order",
            Self::FreezeBroker => "broker frozen (SIGSTOP)",
        }
    }

    /// Whether it may end an epoch without order: only then may a fast rule serve too many.
    pub fn is_crash(self) -> bool {
        !matches!(
            self,
            Self::Restart | Self::RollingRestart | Self::Reload | Self::StepClock | Self::FillDisk
        )
    }
}

impl Fault {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kill { .. } => Kind::Kill,
            Self::Freeze { .. } => Kind::Freeze,
            Self::Restart { .. } => Kind::Restart,
            Self::RollingRestart => Kind::RollingRestart,
            Self::Reload { .. } => Kind::Reload,
            Self::CutFromKafka { .. } => Kind::CutFromKafka,
            Self::SlowKafka { .. } => Kind::SlowKafka,
            Self::CutFromFleet { .. } => Kind::CutFromFleet,
            Self::StepClock { .. } => Kind::StepClock,
            Self::FillDisk { .. } => Kind::FillDisk,
            Self::KillBroker { .. } => Kind::KillBroker,
            Self::RestartBroker { .. } => Kind::RestartBroker,
            Self::FreezeBroker { .. } => Kind::FreezeBroker,
        }
    }
}

/// As a violation's explanation has it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { gateway, away } => write!(f, "kill gateway {gateway}, away {away:?}"),
            Self::Freeze { gateway, lasts } => write!(f, "freeze gateway {gateway} for {lasts:?}"),
            Self::Restart { gateway } => write!(f, "restart gateway {gateway}"),
            Self::RollingRestart => f.write_str("rolling restart"),
            Self::Reload { gateway, wrong } => {
                let what = if *wrong { "wrong" } else { "right" };
                write!(f, "{what} configuration for gateway {gateway}")
            }
            Self::CutFromKafka { gateway, weather, lasts } => {
                write!(f, "gateway {gateway} to Kafka {weather:?} for {lasts:?}")
            }
            Self::SlowKafka { gateway, late, lasts } => {
                write!(f, "gateway {gateway} to Kafka late by {late:?} for {lasts:?}")
            }
            Self::CutFromFleet { gateway, from, weather, lasts } => {
                let from = from.map_or("all".to_owned(), |from| from.to_string());
                write!(f, "to gateway {gateway} from {from} {weather:?} for {lasts:?}")
            }
            Self::StepClock { gateway, seconds, lasts } => {
                write!(f, "clock of gateway {gateway} by {seconds} s for {lasts:?}")
            }
            Self::FillDisk { gateway, lasts } => {
                write!(f, "disk of gateway {gateway} full for {lasts:?}")
            }
            Self::KillBroker { broker, away } => write!(f, "kill broker {broker}, away {away:?}"),
            Self::RestartBroker { broker } => write!(f, "restart broker {broker}"),
            Self::FreezeBroker { broker, lasts } => {
                write!(f, "freeze broker {broker} for {lasts:?}")
            }
        }
    }
}
