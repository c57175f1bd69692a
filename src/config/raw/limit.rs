use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RateText;

/// A rate over a second, a minute or an hour, held in memory (GCRA).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// What each count is kept for: `client`, `subject`, `address`, `route`, `host`, `method`,
    /// `path.NAME`, `query.NAME`, `header.NAME` or `claim.NAME`. Without any there is one count
    /// for all.
    #[serde(default)]
    pub per: Vec<String>,
    /// Requests in a second, minute or hour.
    pub rate: RateText,
    /// Requests that may come at once. Without it as many as the rate's number.
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
}

/// A bound on requests in progress.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// What each count is kept for, as in a rate. Without any there is one count for all.
    #[serde(default)]
    pub per: Vec<String>,
    /// Requests in progress at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: u32,
}
