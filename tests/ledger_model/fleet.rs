//! How large a fleet is tried, and with which mishaps.

use stateright::{Checker, Model};
use tollgate::quota::{Frame, Terms};

use crate::world::PERIOD;

/// Which rule holds, or which one is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
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
pub struct Fleet {
    pub rules: Rules,
    pub limit: u64,
    /// Unconfirmed uses that a fast rule allows; `None` for a strict one.
    pub fast: Option<u64>,
    pub asks: u8,
    /// Asks of one gateway that may wait at once.
    pub waiting: usize,
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
    /// Claims of an owner that has let go, to its own partition.
    pub renewals: u8,
    pub compaction: bool,
}

impl Fleet {
    pub fn strict() -> Self {
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
            hand_overs: 0,
            renewals: 0,
            compaction: false,
        }
    }

    pub fn terms(&self) -> Terms {
        let frame = Frame::Fixed { length: PERIOD, offset: 0 };
        Terms { frame, limit: self.limit, unconfirmed: self.fast }
    }

    /// Tries every schedule; gives the schedule that breaks an invariant, if there is one.
    pub fn check(self) -> Option<String> {
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
