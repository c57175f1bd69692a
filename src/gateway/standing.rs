//! Where a caller stands against its limits, as every answer says it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderName, HeaderValue};

use super::context::Context;
use super::problem::whole_seconds;
use crate::quota::End;
use crate::request::LimitState;
use crate::transform::{RATE_LIMIT, RATE_LIMIT_POLICY};

/// How a request ends that was answered with this status, and whose answer broke off or not. What
/// counts is what the caller got: an answer below 500, whole, from the backend's side. A caller
/// who left early may have had it, so that counts.
pub(super) fn end(status: u16, broke: bool, context: &Context) -> End {
    if context.source.is_cache() && !broke {
        End::Hit
    } else if context.upstream.failed || status >= 500 {
        End::Failed
    } else {
        End::Served
    }
}

/// The limits that applied, as they stand once the request has ended so: a use that is given back
/// is one that is left.
pub(super) fn after(end: End, context: &Context) -> Cow<'_, [LimitState]> {
    let mut limits = Cow::Borrowed(context.limits.as_slice());
    for state in context.reservation.iter().flat_map(|reservation| reservation.given_back(end)) {
        if let Some(shown) = limits.to_mut().iter_mut().find(|shown| *shown == state) {
            shown.remaining = shown.limit.min(shown.remaining + 1);
        }
    }
    limits
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): one item for each
/// limit that applied.
pub fn headers(limits: &[LimitState]) -> Option<[(HeaderName, HeaderValue); 2]> {
    if limits.is_empty() {
        return None;
    }
    let mut policies = Vec::with_capacity(limits.len());
    let mut standings = Vec::with_capacity(limits.len());
    for state in limits {
        let name = sf_string(&state.policy);
        let policy = format!("{name};q={};w={}", state.limit, state.window.as_secs().max(1));
        // One rule on several accounts is one policy.
        if !policies.contains(&policy) {
            policies.push(policy);
        }
        let mut standing = format!("{name};r={};t={}", state.remaining, whole_seconds(state.reset));
        if let Some(account) = &state.account {
            standing.push_str(&format!(";pk=:{}:", BASE64.encode(account.as_str())));
        }
        standings.push(standing);
    }
    let join = |items: &[String]| HeaderValue::from_str(&items.join(", ")).ok();
    Some([(RATE_LIMIT_POLICY, join(&policies)?), (RATE_LIMIT, join(&standings)?)])
}

/// An sf-string (RFC 9651 section 3.3.3). Names of policies are checked to be printable ASCII.
fn sf_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::request::AccountId;

    fn state(remaining: u64, account: Option<&str>) -> LimitState {
        LimitState {
            policy: "unattended".into(),
            limit: 4,
            window: Duration::from_secs(86_400),
            remaining,
            reset: Duration::from_millis(3_600_500),
            account: account.map(|name| AccountId::parse(name).unwrap()),
        }
    }

    fn told(limits: &[LimitState]) -> [String; 2] {
        headers(limits).unwrap().map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn limits_are_told_as_structured_fields() {
        let [policy, standing] = told(&[state(0, None)]);
        assert_eq!(policy, "\"unattended\";q=4;w=86400");
        assert_eq!(standing, "\"unattended\";r=0;t=3601");
        assert!(headers(&[]).is_none());
    }

    #[test]
    fn of_several_accounts_it_is_told_whose_uses_they_are() {
        let [policy, standing] = told(&[state(1, Some("302")), state(0, Some("303"))]);
        assert_eq!(policy, "\"unattended\";q=4;w=86400");
        assert_eq!(
            standing,
            "\"unattended\";r=1;t=3601;pk=:MzAy:, \"unattended\";r=0;t=3601;pk=:MzAz:"
        );
    }
}
