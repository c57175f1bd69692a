//! The words that every stage shares. No I/O, no clock of its own, no import of another room.

mod account;
mod caller;
mod clock;
mod condition;
mod facts;
mod head;
mod json;
mod limit_state;
mod refusal;
mod several;
mod target;
mod template;
mod value;

pub use account::{AccountError, AccountId, MAX_ACCOUNT_BYTES, hide_accounts};
pub use caller::Caller;
pub use clock::{Clock, ManualClock, SystemClock, UnixMillis, since_boot};
pub use condition::{Condition, ConditionError};
pub use facts::{Captures, Facts};
pub use head::{NormalPath, PathError, RequestHead, has_control};
pub use json::{JsonError, MAX_JSON_DEPTH, has_nul, parse_json};
pub use limit_state::LimitState;
pub use refusal::{Challenge, QuotaRefusal, Refusal};
pub use several::{has_broken_escape, occurrences, only_in_other_spellings, repeats_a_parameter};
pub use target::{NoTarget, Target};
pub use template::{Template, TemplateError};
pub use value::{JsonPointer, ValueError, ValueSource, json_text};

use std::fmt;
use std::sync::Arc;

/// The name a route has in the configuration: stable across reloads, used in metrics, logs,
/// cache keys and quota buckets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(Arc<str>);

impl RouteId {
    /// Wraps a name that the configuration check has accepted.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
