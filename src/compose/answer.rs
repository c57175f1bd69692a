use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::report::{ComposeReport, PartFailure, Reason};
use crate::request::RequestHead;

/// Says which parts are missing from an answer, and why: a list (RFC 9651) such as
/// `cards;reason=timeout, loans;reason=failed`. Absent from a whole answer.
pub const X_PARTIAL: HeaderName = HeaderName::from_static("x-partial");

/// What may stand in a token of a structured field.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// A composed answer.
#[derive(Clone, Debug)]
pub struct ComposedAnswer {
    /// 200, 304, 502 or 504.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body: JSON, or nothing.
    pub body: Bytes,
}

/// A failed composition: no body, since the gateway writes the refusal.
pub(super) fn failed(failure: Option<&PartFailure>) -> ComposedAnswer {
    let status = match failure.map(|failure| failure.fault.reason()) {
        Some(Reason::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        Some(Reason::Unavailable | Reason::Failed) | None => StatusCode::BAD_GATEWAY,
    };
    ComposedAnswer { status, headers: HeaderMap::new(), body: Bytes::new() }
}

/// The answer, marked where parts are missing; 304 if the request already has it.
pub(super) fn composed(
    mut value: Value,
    report: &ComposeReport,
    partial_member: &str,
    fields: &HeaderMap,
    head: &RequestHead,
) -> ComposedAnswer {
    let mut headers = HeaderMap::new();
    if report.is_partial() {
        mark(&mut value, report, partial_member);
        if let Ok(list) = HeaderValue::from_str(&partial_list(report)) {
            headers.insert(X_PARTIAL, list);
        }
    }
    let body = Bytes::from(value.to_string());
    let etag = etag(&body);
    let has_it = [Method::GET, Method::HEAD].contains(&head.method) && knows(fields, &etag);
    headers.insert(ETAG, etag);
    if has_it {
        return ComposedAnswer { status: StatusCode::NOT_MODIFIED, headers, body: Bytes::new() };
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ComposedAnswer { status: StatusCode::OK, headers, body }
}

/// Lists what is missing in the answer itself. An answer that is a list has no room for it; its
/// field says it.
fn mark(value: &mut Value, report: &ComposeReport, partial_member: &str) {
    let Value::Object(members) = value else { return };
    let missing: Vec<Value> = report
        .missing()
        .map(|(part, fault)| json!({ "part": &**part, "reason": fault.reason().word() }))
        .collect();
    members.insert(partial_member.to_owned(), Value::Array(missing));
}

fn partial_list(report: &ComposeReport) -> String {
    let members: Vec<String> = report
        .missing()
        .map(|(part, fault)| {
            format!("{};reason={}", utf8_percent_encode(part, TOKEN), fault.reason().word())
        })
        .collect();
    members.join(", ")
}

/// A strong validator (RFC 9110 section 8.8.3): 128 bits of the body's SHA-256. The same parts
/// give the same bytes, so that it changes only when the answer does.
fn etag(body: &[u8]) -> HeaderValue {
    let hash = digest::digest(&digest::SHA256, body);
    let half = hash.as_ref().first_chunk::<16>().map(hex::encode).unwrap_or_default();
    HeaderValue::from_str(&format!("\"{half}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// If-None-Match by weak comparison (RFC 9110 section 13.1.2).
fn knows(fields: &HeaderMap, etag: &HeaderValue) -> bool {
    fields
        .get_all(IF_NONE_MATCH)
        .iter()
        .flat_map(|list| list.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}
