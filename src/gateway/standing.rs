//! Where a caller stands against its limits, as every answer says it.

use std::borrow::Cow;
use std::fmt::Write;

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
    // Every answer pays for this: two texts, and nothing else.
    let (mut policies, mut standings) = (String::with_capacity(96), String::with_capacity(96));
    for (place, state) in limits.iter().enumerate() {
        let LimitState { limit, window, remaining, reset, .. } = state;
        // One rule on several accounts is one policy.
        if !limits.iter().take(place).any(|told| is_same_policy(told, state)) {
            begin_item(&mut policies, &state.policy);
            write!(policies, ";q={limit};w={}", window.as_secs().max(1)).ok()?;
        }
        begin_item(&mut standings, &state.policy);
        write!(standings, ";r={remaining};t={}", whole_seconds(*reset)).ok()?;
        if let Some(account) = &state.account {
            write!(standings, ";pk=:{}:", BASE64.encode(account.as_str())).ok()?;
        }
    }
    let value = |text: String| HeaderValue::try_from(text).ok();
    Some([(RATE_LIMIT_POLICY, value(policies)?), (RATE_LIMIT, value(standings)?)])
}

fn is_same_policy(one: &LimitState, other: &LimitState) -> bool {
    (&one.policy, one.limit, one.window) == (&other.policy, other.limit, other.window)
}

/// Begins another item of a list with an sf-string (RFC 9651 section 3.3.3). Names of policies are
/// checked to be printable ASCII.
fn begin_item(list: &mut String, name: &str) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.push('"');
    for character in name.chars() {
        if matches!(character, '\\' | '"') {
            list.push('\\');
        }
        list.push(character);
    }
    list.push('"');
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
