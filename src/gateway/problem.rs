//! The one place where a refusal becomes a status, a body and headers.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::forward;
use crate::auth;
use crate::request::{Challenge, QuotaRefusal, Refusal};

/// A refusal as callers see it (RFC 9457).
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Status of the answer.
    pub status: StatusCode,
    /// Last part of the problem's type, also its name in logs and metrics.
    pub kind: &'static str,
    /// One line that is the same for every occurrence.
    pub title: &'static str,
    /// What happened this time and what to do.
    pub detail: String,
}

/// What callers are told of a refusal; nothing internal is in it.
pub fn describe(refusal: &Refusal) -> Problem {
    let problem = |status: StatusCode, kind, title, detail: &str| Problem {
        status,
        kind,
        title,
        detail: detail.to_owned(),
    };
    match refusal {
        Refusal::BadPath(why) => problem(
            StatusCode::BAD_REQUEST,
            "bad-path",
            "The request path is ambiguous",
            &format!("{}.", capitalised(&why.to_string())),
        ),
        Refusal::BadRequest(why) => problem(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request is malformed",
            &format!("The request was refused: {why}."),
        ),
        Refusal::SeveralValues { of } => problem(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request is malformed",
            &format!("The request has several values of {of}. Send one."),
        ),
        Refusal::OtherSpelling { of } => problem(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request is malformed",
            &format!("The request has {of} in another spelling. Write it as it stands here."),
        ),
        Refusal::UnreadableValue { of } => problem(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request is malformed",
            &format!("The value of {of} can't be read: it must be one plain text."),
        ),
        Refusal::ValueMissing { source } => problem(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request is malformed",
            &format!("The request lacks {source}, and its address needs it."),
        ),
        Refusal::NoRoute => problem(
            StatusCode::NOT_FOUND,
            "no-route",
            "There is nothing at this address",
            "No API has this host and path.",
        ),
        Refusal::MethodNotAllowed { allow } => problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This method is not allowed here",
            &match allow.as_slice() {
                [] => "No API has this method.".to_owned(),
                _ => format!("Allowed are {}.", methods(allow)),
            },
        ),
        Refusal::UriTooLong => problem(
            StatusCode::URI_TOO_LONG,
            "uri-too-long",
            "The request target is too long",
            "Shorten the path or the query.",
        ),
        Refusal::HeadersTooLarge => problem(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers-too-large",
            "The request has too many or too large header fields",
            "Send fewer or smaller header fields.",
        ),
        Refusal::HeadTimeout => problem(
            StatusCode::REQUEST_TIMEOUT,
            "header-timeout",
            "The request's head came too slowly",
            "Send the whole head at once.",
        ),
        Refusal::Unauthenticated(challenge) => problem(
            match challenge {
                // RFC 6750 section 3.1, invalid_request.
                Challenge::Malformed(_) => StatusCode::BAD_REQUEST,
                Challenge::Missing | Challenge::Invalid(_) => StatusCode::UNAUTHORIZED,
            },
            "unauthenticated",
            "A valid access token is needed",
            match challenge {
                Challenge::Missing => "Send an access token as Authorization: Bearer.",
                Challenge::Malformed(why) | Challenge::Invalid(why) => why,
            },
        ),
        Refusal::IdentityUnavailable => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "identity-unavailable",
            "Access tokens can't be verified at the moment",
            "Try again shortly.",
        ),
        Refusal::MissingScope { required, one_is_enough } => problem(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            "The access token lacks a scope",
            &match one_is_enough {
                true => format!("This needs one of the scopes: {}.", required.replace(' ', ", ")),
                false => format!("This needs the scope: {required}."),
            },
        ),
        Refusal::Forbidden { .. } => problem(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This caller may not do this",
            "This request is not allowed for who sends it, or not from where it is sent.",
        ),
        Refusal::RateLimited(state) => problem(
            StatusCode::TOO_MANY_REQUESTS,
            "rate-limited",
            "Too many requests in a short time",
            &format!(
                "The rate '{}' allows {} requests in {}. Slow down.",
                state.policy,
                state.limit,
                span_text(state.window)
            ),
        ),
        Refusal::TooManyInProgress { limit } => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-in-progress",
            "Too many requests at once",
            &format!("As many requests as '{limit}' allows are in progress. Wait for some to end."),
        ),
        Refusal::BodyTooLarge { limit } => problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The request body is too large",
            &format!("At most {limit} bytes are accepted here."),
        ),
        Refusal::UnsupportedMediaType => problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The request body has the wrong type",
            "Send application/json.",
        ),
        Refusal::MalformedBody(why) => problem(
            StatusCode::BAD_REQUEST,
            "malformed-body",
            "The request body can't be read",
            &format!("The body was refused: {why}."),
        ),
        Refusal::BodyTimeout => problem(
            StatusCode::REQUEST_TIMEOUT,
            "body-timeout",
            "The request body came too slowly",
            "Send the body again, faster.",
        ),
        Refusal::AccountMissing { source } => problem(
            StatusCode::BAD_REQUEST,
            "account-missing",
            "The request names no account",
            &format!("Name the account in {source}."),
        ),
        Refusal::AccountInvalid(why) => problem(
            StatusCode::BAD_REQUEST,
            "account-invalid",
            "The account identifier is malformed",
            &format!("{}.", capitalised(&why.to_string())),
        ),
        Refusal::AccountMismatch => problem(
            StatusCode::FORBIDDEN,
            "account-mismatch",
            "The account is not one that this request may be about",
            "The account is not among those that the caller's credential, or another part of the \
             request, names.",
        ),
        Refusal::QuotaExceeded(quota) => problem(
            StatusCode::TOO_MANY_REQUESTS,
            "quota-exceeded",
            "The account's quota is used up",
            &quota_detail(quota),
        ),
        Refusal::QuotaUnavailable { rule } => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "quota-unavailable",
            "The account's quota can't be counted at the moment",
            &format!(
                "The quota '{rule}' must be counted before the request is served. Try again shortly."
            ),
        ),
        Refusal::NotOwner { .. } => problem(
            StatusCode::MISDIRECTED_REQUEST,
            "not-the-owner",
            "Another gateway has this account",
            "Gateways answer each other so; it never reaches a client.",
        ),
        Refusal::OwnerUnreachable => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "owner-unreachable",
            "The account can't be served at the moment",
            "The gateway that has this account can't be reached. Try again shortly.",
        ),
        Refusal::NoEndpoint { .. } => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "backend-unavailable",
            "The service behind this API is not available",
            "Try again shortly.",
        ),
        Refusal::UpstreamFailed { .. } | Refusal::PartFailed { timed_out: false, .. } => problem(
            StatusCode::BAD_GATEWAY,
            "backend-failed",
            "The service behind this API failed",
            "The service gave no usable answer.",
        ),
        Refusal::BackendError { status } => problem(
            *status,
            "backend-error",
            "The service behind this API answered with an error",
            &format!("The service answered {}. Its own words are not shown here.", status.as_u16()),
        ),
        Refusal::UpstreamTimeout { .. } | Refusal::PartFailed { timed_out: true, .. } => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "backend-timeout",
            "The service behind this API was too slow",
            "The service did not answer in time.",
        ),
        Refusal::NotCached => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "not-cached",
            "No answer is kept",
            "The request asks for a kept answer only (only-if-cached), and there is none.",
        ),
        Refusal::DeadlineExceeded => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline-exceeded",
            "The request took too long",
            "The time allowed for this request has passed.",
        ),
        Refusal::Internal => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The gateway failed",
            "The failure was logged under this request's id.",
        ),
    }
}

pub(super) fn methods(methods: &[http::Method]) -> String {
    methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ")
}

fn quota_detail(quota: &QuotaRefusal) -> String {
    format!(
        "The quota '{}' allows {} uses of this account in {}; {} are used. More are available at {}.",
        quota.state.policy,
        quota.state.limit,
        span_text(quota.state.window),
        quota.used,
        quota.resets.rfc3339(),
    )
}

/// A span in the largest unit that divides it: `24 hours`, `90 seconds`.
pub(super) fn span_text(span: Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        s if s >= 172_800 && s % 86_400 == 0 => (s / 86_400, "day"),
        s if s >= 3600 && s % 3600 == 0 => (s / 3600, "hour"),
        s if s >= 60 && s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// What challenges call the space that tokens open.
const REALM: auth::Realm<'_> = auth::Realm { name: "tollgate", metadata: None };

/// Headers that belong to a refusal whatever its dialect.
pub fn headers(refusal: &Refusal) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = vec![(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    if let Some(wait) = refusal.retry_after() {
        fields.push((header::RETRY_AFTER, whole_seconds(wait).into()));
    }
    let challenge = auth::challenge_header(refusal, REALM);
    fields.extend(challenge.map(|value| (header::WWW_AUTHENTICATE, value)));
    if let Refusal::NotOwner { .. } = refusal {
        fields.push((forward::NOT_OWNER, HeaderValue::from_static("1")));
    }
    if let Refusal::MethodNotAllowed { allow } = refusal {
        let value = HeaderValue::from_str(&methods(allow));
        fields.extend(value.ok().map(|value| (header::ALLOW, value)));
    }
    fields
}

/// Rounded up, so that a caller who waits this long is not refused again.
pub(super) fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
