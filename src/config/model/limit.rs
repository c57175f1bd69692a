use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::request::ValueSource;

/// A short-window rate, held by GCRA in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What each count is kept for; empty is one count for all.
    pub per: Vec<ValueSource>,
    /// Requests in `window`.
    pub requests: NonZeroU32,
    /// One second, minute or hour.
    pub window: Duration,
    /// Requests that may come at once.
    pub burst: NonZeroU32,
}

/// A bound on requests in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What each count is kept for; empty is one count for all.
    pub per: Vec<ValueSource>,
    /// Requests in progress at once.
    pub limit: u32,
}
