use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::request::{Condition, ValueSource};

/// A limit over a window for a bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaRule {
    /// Its name in the configuration: part of every bucket's key, so renaming starts new counts.
    pub name: Arc<str>,
    /// Values that make a bucket; `account` is always among them.
    pub per: Vec<ValueSource>,
    /// Uses in a window.
    pub limit: NonZeroU64,
    /// The window.
    pub window: Window,
    /// Requests that are counted; `None` counts all. A condition that fails counts.
    pub when: Option<Condition>,
    /// How exactly.
    pub accuracy: Accuracy,
    /// What happens while the ledger can't be asked.
    pub unavailable: Unavailable,
    /// Which answers are uses.
    pub counts: Counts,
    /// Whether answers from the cache are uses.
    pub count_hits: bool,
}

/// How a window moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Starts at multiples of its length since 1970-01-01T00:00:00Z, plus an offset.
    Fixed {
        /// Its length.
        length: Duration,
        /// Shift of the start, as for a day that begins at another hour than UTC's.
        offset: Duration,
    },
    /// Ends now.
    Rolling {
        /// Its length.
        length: Duration,
    },
}

impl Window {
    /// Its length.
    pub fn length(self) -> Duration {
        match self {
            Self::Fixed { length, .. } | Self::Rolling { length } => length,
        }
    }
}

/// How exactly a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accuracy {
    /// Admit after the use is durable and read back: never one too many.
    Strict,
    /// Admit from memory while fewer than this many uses are unconfirmed: at most so many too
    /// many for each crash.
    Fast {
        /// Unconfirmed uses allowed.
        unconfirmed: NonZeroU64,
    },
}

/// What happens while the ledger can't be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Refuse with 503: for caps that must not be exceeded.
    Deny,
    /// Serve, say so, count afterwards as far as known: for minimums that must not be refused.
    Allow,
    /// Count in this gateway alone.
    Local,
}

/// Which answers are uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Those that the backend or the cache answered below 500; others are given back.
    Success,
    /// Every admitted request.
    All,
}
