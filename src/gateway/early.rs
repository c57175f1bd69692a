//! Answers to requests whose head never became one: malformed, too large, too slow.

use std::fmt::Write;

use bytes::Bytes;
use uuid::Uuid;

use super::shared::Shared;
use super::shown;
use super::{detail, problem};
use crate::config::model::Dialect;
use crate::listener::EarlyRequest;
use crate::observe::{Exchange, Source};

/// The whole answer as it goes over the wire; also writes the access log's line and the metrics,
/// as no hook will see the request.
pub(super) fn answer(shared: &Shared, request: &EarlyRequest<'_>) -> Bytes {
    let refusal = request.refusal;
    let now = shared.clock.now();
    let request_id = Uuid::now_v7().to_string();
    let problem = problem::describe(refusal);
    let (media_type, body) = problem.body(refusal, Dialect::Problem, &request_id);
    let body = body.to_string();
    let reason = problem.status.canonical_reason().unwrap_or_default();
    let mut text = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
         connection: close\r\nx-request-id: {request_id}\r\n",
        problem.status.as_u16(),
        body.len(),
    );
    for (name, value) in problem::headers(refusal) {
        // Writing into a String can't fail; values made here are text.
        let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    text.push_str("\r\n");
    text.push_str(&body);
    let (path, detail) = (shown::without_numbers(request.path), detail::of_refusal(refusal));
    let taken = request.began.elapsed();
    let exchange = Exchange {
        started: now.minus(taken),
        seconds: taken.as_secs_f64(),
        request_id: &request_id,
        address: Some(request.address),
        method: request.method,
        host: request.host,
        path: &path,
        status: problem.status.as_u16(),
        bytes_sent: body.len(),
        source: Source::Gateway,
        problem: Some(problem.kind),
        detail: detail.as_deref(),
        ..Exchange::default()
    };
    shared.metrics.request_finished(&exchange);
    shared.access_log.write(&exchange);
    Bytes::from(text)
}
