//! What of a request reaches a backend whose answer may be kept: what stands in the cache's key.
//! An answer that another part of the request has shaped would be given to callers who did not
//! send it.

use std::borrow::Cow;

use http::{HeaderName, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use super::caching;
use super::context::Context;
use crate::config::model::{Action, CachePolicy, Route, Visibility};

/// The parameters that are in the key, as the caller spelled them; `None`: none are.
pub(super) fn query<'q>(query: &'q str, route: &Route) -> Option<Cow<'q, str>> {
    if route.cache.as_ref().is_none_or(|policy| policy.query.is_none()) {
        return Some(Cow::Borrowed(query));
    }
    let is_in_key = |pair: &&str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
        name.is_some_and(|name| route.key_has_parameter(&name))
    };
    let pairs: Vec<&str> = query.split('&').filter(is_in_key).collect();
    (!pairs.is_empty()).then(|| Cow::Owned(pairs.join("&")))
}

/// Fields that reach the backend whatever the key: where the request came from, which the gateway
/// writes itself, and by which a kept answer is confirmed. Those of the caller are gone by now.
const ALWAYS: [HeaderName; 6] = [
    header::HOST,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// Takes the fields from a request that could shape an answer for callers who did not send them.
pub(super) fn strip_fields(session: &Session, request: &mut RequestHeader, context: &Context) {
    let Some(plan) = &context.plan else { return };
    let policy = plan.route.cache.as_ref().filter(|_| caching::may_answer(session, context));
    if !policy.is_some_and(|policy| is_strict(policy, &plan.route)) {
        return;
    }
    // Who may share an answer has been authorized, and so has the token that shaped it.
    let token = plan.authenticator.is_some().then_some(header::AUTHORIZATION);
    let stays = |name: &HeaderName| {
        ALWAYS.contains(name) || Some(name) == token.as_ref() || plan.route.key_has_field(name)
    };
    let others: Vec<HeaderName> =
        request.headers.keys().filter(|name| !stays(name)).cloned().collect();
    for name in &others {
        request.remove_header(name);
    }
}

/// Answers for everyone, and composed ones. Within a client or subject a backend may name other
/// fields in its Vary; of a composed answer's backends nobody reads it.
fn is_strict(policy: &CachePolicy, route: &Route) -> bool {
    policy.visible_to == Visibility::Everyone || matches!(route.action, Action::Compose(_))
}
