//! What may be kept, how long, and when a kept answer may be given: RFC 9111 under the route's
//! policy. Pure functions for the proxy's cache hooks.
//!
//! The route's `fresh` is the operator's decision, as `proxy_cache_valid` is nginx's, so an
//! answer needs no Cache-Control of its own. The backend may only ask for less: `no-store`,
//! `private` and `no-cache` forbid keeping, a shorter `s-maxage`, `max-age` or `Expires` shortens
//! it, and an answer that is already old (Age, Date) is kept for what is left of its time. RFC
//! 9111 section 3.5 (answers to requests with Authorization) is met by the route too: it names
//! who shares an answer, and every request is authorized before it is looked up.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    DATE, EXPIRES, PRAGMA, PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VARY,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::conditional_filter::resp_header_as_http_date;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_cache::cache_control::{CacheControl, InterpretCacheControl};
use pingora_cache::filters::calculate_expires_header_time;
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheMeta, ForcedFreshness, NoCacheReason, RespCacheable, VarianceBuilder};

use super::entry::system_time;
use crate::config::model::CachePolicy;
use crate::request::UnixMillis;

/// Whether a request may be answered from the vault at all: GET or HEAD, without a body (which is
/// no part of the key) and without an upgrade; and not `no-store` where the policy obeys it.
pub fn request_bypasses(policy: &CachePolicy, method: &Method, headers: &HeaderMap) -> bool {
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    !matches!(*method, Method::GET | Method::HEAD)
        || has_body
        || headers.contains_key(UPGRADE)
        || obeyed(policy, headers).is_some_and(|control| control.no_store())
}

/// Whether the caller wants a kept answer or none (`only-if-cached`): a miss is then answered
/// with 504 (RFC 9111 section 5.2.1.7).
pub fn only_if_cached(policy: &CachePolicy, headers: &HeaderMap) -> bool {
    obeyed(policy, headers).is_some_and(|control| control.only_if_cached())
}

/// Whether the caller refuses this kept answer, where the policy obeys callers: `no-cache`,
/// `max-age` and `min-fresh` (RFC 9111 section 5.2.1), `Pragma: no-cache` without Cache-Control.
/// `max-stale` is not obeyed: it would only loosen the policy.
pub fn hit_refused(
    policy: &CachePolicy,
    headers: &HeaderMap,
    meta: &CacheMeta,
    now: UnixMillis,
) -> Option<ForcedFreshness> {
    if !policy.obey_request {
        return None;
    }
    let Some(control) = CacheControl::from_headers_named(CACHE_CONTROL.as_str(), headers) else {
        let pragma = headers.get(PRAGMA)?.as_bytes();
        return pragma.eq_ignore_ascii_case(b"no-cache").then_some(ForcedFreshness::ForceExpired);
    };
    let now = system_time(now);
    let age = now.duration_since(meta.epoch()).unwrap_or_default();
    let left = meta.fresh_until().duration_since(now).unwrap_or_default();
    let min_fresh = control.directives.iter().find(|(name, _)| name.as_str() == "min-fresh");
    let min_fresh = min_fresh.and_then(|(_, value)| value.as_ref()?.parse_as_delta_seconds().ok());
    let too_old = seconds(control.max_age()).is_some_and(|limit| age > limit);
    let too_short = min_fresh.is_some_and(|wanted| left < Duration::from_secs(wanted.into()));
    let refused = control.no_cache() || too_old || too_short;
    refused.then_some(ForcedFreshness::ForceExpired)
}

fn obeyed(policy: &CachePolicy, headers: &HeaderMap) -> Option<CacheControl> {
    if !policy.obey_request {
        return None;
    }
    CacheControl::from_headers_named(CACHE_CONTROL.as_str(), headers)
}

/// A century: arithmetic on times that others wrote must not overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Whether an answer is kept, and how long. `partial`: parts of it are missing.
///
/// Only complete 200s are kept: an error or a redirect of a bank is about this moment. Not kept
/// either: what sets a cookie, what varies by everything, and what has no time left.
pub fn judge(
    policy: &CachePolicy,
    response: &ResponseHeader,
    partial: bool,
    now: UnixMillis,
) -> RespCacheable {
    let control = CacheControl::from_resp_headers(response);
    if response.status != StatusCode::OK
        || response.headers.contains_key(SET_COOKIE)
        || varies_by_everything(&response.headers)
        || control.as_ref().is_some_and(|c| c.no_store() || c.private() || c.no_cache())
    {
        return RespCacheable::Uncacheable(NoCacheReason::OriginNotCache);
    }
    if partial && !policy.keep_partial {
        return RespCacheable::Uncacheable(NoCacheReason::Custom("partial answer"));
    }
    let now = system_time(now);
    let age = age_on_arrival(response, now);
    let lifetime = match backend_lifetime(response, control.as_ref(), now) {
        Some(asked) => asked.min(policy.fresh),
        None => policy.fresh,
    };
    let left = lifetime.min(LONGEST).saturating_sub(age);
    if left.is_zero() {
        return RespCacheable::Uncacheable(NoCacheReason::OriginNotCache);
    }
    let stale = stale_if_error(policy, control.as_ref());
    let header = kept_header(response, control.as_ref());
    let mut meta = CacheMeta::new(now + left, now, 0, stale, header);
    if !age.is_zero() {
        // Pingora counts Age from here.
        meta.set_epoch_override(now - age);
    }
    RespCacheable::Cacheable(meta)
}

/// How old the answer was when it came (RFC 9111 section 4.2.3): its Age or, if that is more,
/// the time since its Date.
fn age_on_arrival(response: &ResponseHeader, now: SystemTime) -> Duration {
    let said = response.headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    let apparent = date(response).and_then(|date| now.duration_since(date).ok());
    Duration::from_secs(said.unwrap_or(0)).max(apparent.unwrap_or_default()).min(LONGEST)
}

fn date(response: &ResponseHeader) -> Option<SystemTime> {
    resp_header_as_http_date(response, DATE).ok().flatten().map(SystemTime::from)
}

/// The lifetime that the backend gives (RFC 9111 section 4.2.1). One that can't be read is zero.
fn backend_lifetime(
    response: &ResponseHeader,
    control: Option<&CacheControl>,
    now: SystemTime,
) -> Option<Duration> {
    let shared = control.map(CacheControl::s_maxage);
    let own = control.map(CacheControl::max_age);
    if let Some(directive) = [shared, own].into_iter().flatten().find(|d| !matches!(d, Ok(None))) {
        return Some(seconds(directive).unwrap_or_default());
    }
    if !response.headers.contains_key(EXPIRES) {
        return None;
    }
    let expires = calculate_expires_header_time(response);
    let from = date(response).unwrap_or(now);
    Some(expires.and_then(|expires| expires.duration_since(from).ok()).unwrap_or_default())
}

fn seconds(directive: pingora::Result<Option<u32>>) -> Option<Duration> {
    directive.ok().flatten().map(|seconds| Duration::from_secs(seconds.into()))
}

/// Seconds for which a stale answer may stand in for an error. The route decides, unless the
/// backend insists on being asked (RFC 9111 sections 4.2.4 and 5.2.2).
fn stale_if_error(policy: &CachePolicy, control: Option<&CacheControl>) -> u32 {
    let insists = control.is_some_and(|control| {
        control.must_revalidate()
            || control.proxy_revalidate()
            || matches!(control.s_maxage(), Ok(Some(_)))
    });
    if insists { 0 } else { u32::try_from(policy.stale_if_error.as_secs()).unwrap_or(u32::MAX) }
}

/// Fields of one exchange or one connection, which must not be told to the next caller.
const NOT_KEPT: [HeaderName; 7] =
    [AGE, CONNECTION, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
const NOT_KEPT_EITHER: [&str; 14] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authentication-info",
    "traceparent",
    "tracestate",
    "x-request-id",
    "x-correlation-id",
    "x-fapi-interaction-id",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "server-timing",
];

/// The header that later callers get (RFC 9111 section 3.1).
fn kept_header(response: &ResponseHeader, control: Option<&CacheControl>) -> ResponseHeader {
    let mut header = response.clone();
    if let Some(control) = control {
        control.strip_private_headers(&mut header);
    }
    for field in response.headers.get_all(CONNECTION) {
        for name in field.to_str().unwrap_or_default().split(',') {
            header.remove_header(name.trim());
        }
    }
    NOT_KEPT.iter().for_each(|name| drop(header.remove_header(name)));
    NOT_KEPT_EITHER.iter().for_each(|name| drop(header.remove_header(*name)));
    header
}

/// Fields that describe the body that is kept, which a 304 does not have, or that pick it.
const OF_THE_BODY: [HeaderName; 5] =
    [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, VARY];

/// The header of a kept answer after the backend has confirmed it with a 304, whose fields
/// replace its own (RFC 9111 sections 3.2 and 4.3.4). Pingora's own merge leaves the old Date in
/// its place, by which the answer would be as old as before.
pub fn confirmed(kept: &ResponseHeader, confirmation: &HeaderMap) -> ResponseHeader {
    let mut header = kept.clone();
    header.remove_header(&DATE);
    for name in confirmation.keys().filter(|name| !OF_THE_BODY.contains(name)) {
        header.remove_header(name);
        for value in confirmation.get_all(name) {
            // Only a header map at its limit refuses, and this one was within it before.
            let _ = header.append_header(name, value);
        }
    }
    header
}

fn varies_by_everything(headers: &HeaderMap) -> bool {
    varying(headers).any(|name| name == "*")
}

fn varying(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(VARY)
        .iter()
        .flat_map(|field| field.to_str().unwrap_or("*").split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// What tells variants of a kept answer apart: the request's values of the fields that the answer
/// names in Vary (RFC 9111 section 4.1), except those that are in the key anyway. `None`: none.
pub fn variance(policy: &CachePolicy, meta: &CacheMeta, request: &HeaderMap) -> Option<HashBinary> {
    let mut variance = VarianceBuilder::new();
    for name in varying(meta.headers()).filter_map(|name| name.parse::<HeaderName>().ok()) {
        if policy.headers.contains(&name) {
            continue;
        }
        let mut values = Vec::new();
        for value in request.get_all(&name) {
            values.extend_from_slice(&(value.len() as u64).to_be_bytes());
            values.extend_from_slice(value.as_bytes());
        }
        variance.add_owned_name_value(name.as_str().to_owned(), values);
    }
    variance.finalize()
}

/// Whether a stale answer may stand in for this failure, where its meta allows one at all: the
/// backend's failures and 5xx, never the caller's own; never while it is merely refreshed.
pub fn serves_stale(error: Option<&Error>) -> bool {
    error.is_some_and(|error| {
        let server_error = matches!(error.etype(), ErrorType::HTTPStatus(500..=599));
        *error.esource() == ErrorSource::Upstream
            || (server_error && *error.esource() != ErrorSource::Downstream)
    })
}

#[cfg(test)]
mod tests;
