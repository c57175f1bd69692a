use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, seconds, yes};

/// A limit on the use of an account over a window.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// What each count is kept for. `account` must be among it; beside it `client`, `subject`,
    /// `route`, `host`, `method`, `address`, `path.NAME`, `query.NAME`, `header.NAME` or
    /// `claim.NAME`.
    #[schemars(length(min = 1))]
    pub per: Vec<String>,
    /// Uses in a window.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub limit: u64,
    /// Length of the window.
    pub window: Duration,
    /// Whether the window ends now, instead of starting at multiples of its length since
    /// 1970-01-01T00:00:00Z.
    #[serde(default)]
    pub rolling: bool,
    /// Shifts the start of windows that don't roll: `22h` lets days start at 22:00 UTC.
    #[serde(default = "seconds::<0>")]
    pub offset: Duration,
    /// CEL condition: which requests are counted. Without it all are. A condition that fails
    /// counts.
    #[schemars(length(min = 1))]
    pub when: Option<String>,
    /// How exactly it counts.
    #[serde(default)]
    pub accuracy: Accuracy,
    /// What happens while the count can't be asked.
    #[serde(default)]
    pub unavailable: Unavailable,
    /// Which answers are uses.
    #[serde(default)]
    pub counts: Counts,
    /// Whether answers from the cache are uses: the quota is about use, not about load.
    #[serde(default = "yes")]
    pub count_hits: bool,
}

/// How exactly a quota counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Accuracy {
    /// A request is admitted after its use is durable: never one too many.
    #[default]
    Strict,
    /// A request is admitted from memory while fewer than this many uses are not yet durable: at
    /// most so many too many after a crash.
    Fast(#[schemars(range(min = 1, max = 1_000_000))] u64),
}

/// What happens while the count can't be asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// Refuse with 503: for caps that must not be exceeded.
    #[default]
    Deny,
    /// Serve, say so, and count afterwards as far as known: for minimums that must not be refused.
    Allow,
    /// Count in this gateway alone.
    Local,
}

/// Which answers are uses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// Answers below 500; others are given back.
    #[default]
    Success,
    /// Every admitted request.
    All,
}
