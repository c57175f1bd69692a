//! The one place where a refusal becomes a status, a body and headers.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::auth;
use crate::config::model::Dialect;
use crate::request::{Challenge, LimitState, QuotaRefusal, Refusal, UnixMillis};

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

/// Prefix of the types of Tollgate's own problems. `quota-exceeded` is registered with IANA
/// (draft-ietf-httpapi-ratelimit-headers-10, section 7) and has its prefix.
const TYPE_PREFIX: &str = "urn:tollgate:problem:";
const IANA_PREFIX: &str = "https://iana.org/assignments/http-problem-types#";

/// What callers are told of a refusal; nothing internal is in it.
pub fn describe(refusal: &Refusal, now: UnixMillis) -> Problem {
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
        Refusal::NoRoute => problem(
            StatusCode::NOT_FOUND,
            "no-route",
            "There is nothing at this address",
            "No API has this host and path.",
        ),
        Refusal::MethodNotAllowed { .. } => problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This method is not allowed here",
            "The Allow field lists the methods that are.",
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
        Refusal::Unauthenticated(challenge) => problem(
            StatusCode::UNAUTHORIZED,
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
        Refusal::MissingScope { required } => problem(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            "The access token lacks a scope",
            &format!("This needs the scope: {required}."),
        ),
        Refusal::Forbidden { .. } => problem(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This caller may not do this",
            "The access token is valid, but does not allow this request.",
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
            "The access token is for another account",
            "The account in the request is not one that the access token was granted for.",
        ),
        Refusal::QuotaExceeded(quota) => problem(
            StatusCode::TOO_MANY_REQUESTS,
            "quota-exceeded",
            "The account's quota is used up",
            &quota_detail(quota, now),
        ),
        Refusal::QuotaUnavailable { rule } => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "quota-unavailable",
            "The account's quota can't be counted at the moment",
            &format!("The quota '{rule}' must be counted before the request is served. Try again shortly."),
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
        Refusal::UpstreamTimeout { .. } | Refusal::PartFailed { timed_out: true, .. } => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "backend-timeout",
            "The service behind this API was too slow",
            "The service did not answer in time.",
        ),
        Refusal::DeadlineExceeded => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline-exceeded",
            "The request took too long",
            "The time allowed for this request has passed.",
        ),
        Refusal::Draining => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "The gateway is stopping",
            "Send the request again; another gateway will take it.",
        ),
        Refusal::Internal => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The gateway failed",
            "The failure was logged under this request's id.",
        ),
    }
}

/// What only operators are told: what stands in the configuration and in the journal.
pub fn operator_detail(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::Forbidden { rule } => Some(format!("{rule} does not hold")),
        Refusal::QuotaExceeded(quota) => Some(format!(
            "{} of {} used as of offset {} of partition {}",
            quota.used, quota.state.limit, quota.offset, quota.partition
        )),
        Refusal::NoEndpoint { cluster }
        | Refusal::UpstreamFailed { cluster }
        | Refusal::UpstreamTimeout { cluster } => Some(format!("cluster '{cluster}'")),
        Refusal::PartFailed { part, .. } => Some(format!("part '{part}'")),
        _ => None,
    }
}

fn quota_detail(quota: &QuotaRefusal, now: UnixMillis) -> String {
    format!(
        "The quota '{}' allows {} uses of this account in {}; {} are used. More are available at {}.",
        quota.state.policy,
        quota.state.limit,
        span_text(quota.state.window),
        quota.used,
        now.plus(quota.state.reset).rfc3339(),
    )
}

/// A span in the largest unit that divides it: `24 hours`, `90 seconds`.
fn span_text(span: Duration) -> String {
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
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

impl Problem {
    /// Content type and body in an API family's dialect.
    pub fn body(&self, refusal: &Refusal, dialect: Dialect, request_id: &str) -> (&'static str, Value) {
        match dialect {
            Dialect::Problem => ("application/problem+json", self.rfc9457(refusal, request_id)),
            Dialect::Fdx => ("application/json", self.fdx(refusal, request_id)),
            Dialect::BerlinGroup => ("application/json", self.berlin_group(refusal)),
        }
    }

    fn rfc9457(&self, refusal: &Refusal, request_id: &str) -> Value {
        let prefix = match refusal {
            Refusal::QuotaExceeded(_) => IANA_PREFIX,
            _ => TYPE_PREFIX,
        };
        let mut body = json!({
            "type": format!("{prefix}{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "instance": format!("urn:request:{request_id}"),
        });
        if let (Refusal::QuotaExceeded(quota), Some(members)) = (refusal, body.as_object_mut()) {
            members.insert("violated-policies".into(), json!([quota.state.policy]));
            members.insert("limit".into(), quota.state.limit.into());
            members.insert("used".into(), quota.used.into());
            members.insert("window".into(), quota.state.window.as_secs().into());
            members.insert("retry-after".into(), whole_seconds(quota.state.reset).into());
        }
        body
    }

    /// FDX API 6, entity `Error`.
    fn fdx(&self, refusal: &Refusal, request_id: &str) -> Value {
        // FDX has codes of its own for some cases and takes the HTTP status for the others.
        let code = match refusal {
            Refusal::AccountInvalid(_) | Refusal::AccountMissing { .. } => 701,
            Refusal::AccountMismatch => 704,
            Refusal::Forbidden { .. } | Refusal::MissingScope { .. } => 602,
            Refusal::Internal => 500,
            Refusal::NoEndpoint { .. } | Refusal::Draining => 501,
            _ => self.status.as_u16(),
        };
        json!({
            "code": code.to_string(),
            "message": self.title,
            "debugMessage": format!("{} Request {request_id}.", self.detail),
        })
    }

    /// Berlin Group NextGenPSD2 Implementation Guidelines 1.3, section 4.13.
    fn berlin_group(&self, refusal: &Refusal) -> Value {
        let code = match refusal {
            Refusal::QuotaExceeded(_) | Refusal::RateLimited(_) => "ACCESS_EXCEEDED",
            Refusal::Unauthenticated(Challenge::Missing) => "TOKEN_UNKNOWN",
            Refusal::Unauthenticated(_) => "TOKEN_INVALID",
            Refusal::MissingScope { .. } | Refusal::Forbidden { .. } => "SERVICE_BLOCKED",
            Refusal::AccountMismatch => "CONSENT_UNKNOWN",
            Refusal::NoRoute => "RESOURCE_UNKNOWN",
            Refusal::MethodNotAllowed { .. } => "SERVICE_INVALID",
            _ if self.status.is_client_error() => "FORMAT_ERROR",
            _ if self.status == StatusCode::SERVICE_UNAVAILABLE => "SERVICE_UNAVAILABLE",
            _ => "INTERNAL_SERVER_ERROR",
        };
        json!({ "tppMessages": [{ "category": "ERROR", "code": code, "text": self.detail }] })
    }
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
    if let Refusal::MethodNotAllowed { allow } = refusal {
        let methods: Vec<&str> = allow.iter().map(http::Method::as_str).collect();
        let value = HeaderValue::from_str(&methods.join(", "));
        fields.extend(value.ok().map(|value| (header::ALLOW, value)));
    }
    fields
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): one item for each
/// limit that applied.
pub fn limit_headers(limits: &[LimitState]) -> Option<[(HeaderName, HeaderValue); 2]> {
    if limits.is_empty() {
        return None;
    }
    let policies = limits.iter().map(|state| {
        format!("{};q={};w={}", sf_string(&state.policy), state.limit, state.window.as_secs().max(1))
    });
    let standings = limits.iter().map(|state| {
        format!("{};r={};t={}", sf_string(&state.policy), state.remaining, whole_seconds(state.reset))
    });
    let join = |items: Vec<String>| HeaderValue::from_str(&items.join(", ")).ok();
    Some([
        (HeaderName::from_static("ratelimit-policy"), join(policies.collect())?),
        (HeaderName::from_static("ratelimit"), join(standings.collect())?),
    ])
}

/// An sf-string (RFC 9651 section 3.3.3). Names of policies are checked to be printable ASCII.
fn sf_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Rounded up, so that a caller who waits this long is not refused again.
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota() -> Refusal {
        Refusal::QuotaExceeded(QuotaRefusal {
            state: LimitState {
                policy: "unattended".into(),
                limit: 4,
                window: Duration::from_secs(86_400),
                remaining: 0,
                reset: Duration::from_millis(3_600_500),
            },
            used: 4,
            partition: 3,
            offset: 17,
        })
    }

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    #[test]
    fn an_exceeded_quota_says_why_and_until_when_and_nothing_internal() {
        let problem = describe(&quota(), NOW);
        let (media_type, body) = problem.body(&quota(), Dialect::Problem, "r-1");
        assert_eq!(media_type, "application/problem+json");
        assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(body["status"], 429);
        assert_eq!(body["violated-policies"], json!(["unattended"]));
        assert_eq!(body["retry-after"], 3601);
        assert_eq!(
            body["detail"],
            "The quota 'unattended' allows 4 uses of this account in 24 hours; 4 are used. More \
             are available at 2023-11-14T23:13:20.500Z."
        );
        assert!(!body.to_string().contains("offset"));
    }

    /// One refusal of every kind.
    fn every_refusal() -> Vec<Refusal> {
        let state = LimitState {
            policy: "burst".into(),
            limit: 10,
            window: Duration::from_secs(1),
            remaining: 0,
            reset: Duration::from_millis(100),
        };
        let cluster: std::sync::Arc<str> = "cards".into();
        vec![
            Refusal::BadPath(crate::request::PathError::BrokenEscape),
            Refusal::BadRequest("it has two Host fields"),
            Refusal::NoRoute,
            Refusal::MethodNotAllowed { allow: vec![http::Method::GET] },
            Refusal::UriTooLong,
            Refusal::HeadersTooLarge,
            Refusal::Unauthenticated(Challenge::Missing),
            Refusal::Unauthenticated(Challenge::Malformed("more than one Authorization field")),
            Refusal::Unauthenticated(Challenge::Invalid("the token has expired")),
            Refusal::IdentityUnavailable,
            Refusal::MissingScope { required: "accounts:read".into() },
            Refusal::Forbidden { rule: "networks".into() },
            Refusal::RateLimited(state),
            Refusal::TooManyInProgress { limit: "exports".into() },
            Refusal::BodyTooLarge { limit: 1024 },
            Refusal::UnsupportedMediaType,
            Refusal::MalformedBody("it is empty"),
            Refusal::BodyTimeout,
            Refusal::AccountMissing { source: "path.account".into() },
            Refusal::AccountInvalid(crate::request::AccountError::Empty),
            Refusal::AccountMismatch,
            quota(),
            Refusal::QuotaUnavailable { rule: "unattended".into() },
            Refusal::NoEndpoint { cluster: cluster.clone() },
            Refusal::UpstreamFailed { cluster: cluster.clone() },
            Refusal::UpstreamTimeout { cluster },
            Refusal::PartFailed { part: "cards".into(), timed_out: false },
            Refusal::PartFailed { part: "cards".into(), timed_out: true },
            Refusal::DeadlineExceeded,
            Refusal::Draining,
            Refusal::Internal,
        ]
    }

    #[test]
    fn every_problem_stands_in_the_docs_with_its_status() {
        let docs = include_str!("../../docs/problems.md");
        for refusal in every_refusal() {
            let problem = describe(&refusal, NOW);
            let row = format!("| {} | `{}` |", problem.status.as_u16(), problem.kind);
            assert!(docs.contains(&row), "{row} is missing from docs/problems.md");
        }
    }

    #[test]
    fn every_problem_in_every_dialect_reads_as_it_did() {
        let mut text = String::new();
        for refusal in every_refusal() {
            let problem = describe(&refusal, NOW);
            for dialect in [Dialect::Problem, Dialect::Fdx, Dialect::BerlinGroup] {
                text.push_str(&problem.body(&refusal, dialect, "r-1").1.to_string());
                text.push('\n');
            }
            for (name, value) in headers(&refusal) {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            text.push('\n');
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn no_problem_tells_what_is_inside() {
        for refusal in every_refusal() {
            let body = describe(&refusal, NOW).body(&refusal, Dialect::Problem, "r-1").1.to_string();
            for inside in ["cards", "networks", "offset", "partition"] {
                assert!(!body.contains(inside), "{body}");
            }
        }
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let retry = headers(&quota()).into_iter().find(|(name, _)| name == header::RETRY_AFTER);
        assert_eq!(retry.unwrap().1, "3601");
    }

    #[test]
    fn each_api_family_hears_its_own_dialect() {
        let problem = describe(&quota(), NOW);
        let (_, fdx) = problem.body(&quota(), Dialect::Fdx, "r-1");
        assert_eq!(fdx["code"], "429");
        let (_, berlin) = problem.body(&quota(), Dialect::BerlinGroup, "r-1");
        assert_eq!(berlin["tppMessages"][0]["code"], "ACCESS_EXCEEDED");
    }

    #[test]
    fn limits_are_told_as_structured_fields() {
        let Refusal::QuotaExceeded(refusal) = quota() else { unreachable!() };
        let [(_, policy), (_, standing)] = limit_headers(&[refusal.state]).unwrap();
        assert_eq!(policy, "\"unattended\";q=4;w=86400");
        assert_eq!(standing, "\"unattended\";r=0;t=3601");
    }
}
