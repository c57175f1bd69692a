use std::sync::Arc;
use std::time::Duration;

use super::AccountId;

/// Where a caller stands against one limit, for the RateLimit and RateLimit-Policy fields
/// (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// Name of the policy: the quota rule's or rate's name in the configuration.
    pub policy: Arc<str>,
    /// Uses allowed in a window (`q`).
    pub limit: u64,
    /// Length of the window (`w`).
    pub window: Duration,
    /// Uses left (`r`).
    pub remaining: u64,
    /// Time until more are available (`t`).
    pub reset: Duration,
    /// Whose uses these are (`pk`), where a request is about several accounts.
    pub account: Option<AccountId>,
}
