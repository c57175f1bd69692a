//! The end of a request: settles what it reserved and tells operators.

use pingora::Error;
use pingora_proxy::Session;

use super::call;
use super::context::{Arrival, Context};
use super::shared::Shared;
use super::{problem, standing};
use crate::observe::Exchange;
use crate::request::ValueSource;
use crate::transform::TraceContext;

/// Digits in a path segment from which on it may be an account; versions and short names have
/// fewer.
const MASKED_DIGITS: usize = 4;

/// Settles and observes.
pub(super) fn finish(
    shared: &Shared,
    session: &Session,
    error: Option<&Error>,
    context: &mut Context,
) {
    let status = session.as_downstream().response_written().map_or(0, |head| head.status.as_u16());
    let unaccounted = context.reservation.as_ref().is_some_and(|r| r.unaccounted());
    settle(context, status, error.is_some());
    call::observe(shared, context);
    observe(shared, session, context, status, unaccounted);
    context.permits.clear();
}

/// Commits or gives back, and notes where that leaves the caller.
fn settle(context: &mut Context, status: u16, broke: bool) {
    let end = standing::end(status, broke, context);
    context.limits = standing::after(end, context).into_owned();
    if let Some(reservation) = context.reservation.take() {
        reservation.end(end);
    }
}

fn observe(shared: &Shared, session: &Session, context: &Context, status: u16, unaccounted: bool) {
    let account = (!context.account_keys.is_empty()).then(|| {
        let keys: Vec<String> = context.account_keys.iter().map(ToString::to_string).collect();
        keys.join(",")
    });
    let path = shown_path(context);
    let missing_parts = missing_parts(context);
    let trace_id = context.trace.as_ref().map(TraceContext::trace_id).unwrap_or_default();
    let detail = context.refusal.as_ref().and_then(problem::operator_detail);
    let exchange = Exchange {
        started: context.started_at,
        seconds: context.started.elapsed().as_secs_f64(),
        request_id: &context.head.request_id,
        trace_id: &trace_id,
        address: Some(context.head.address),
        passed_on: context.arrival == Arrival::Fleet,
        version: version(session.req_header().version),
        method: context.head.method.as_str(),
        host: &context.head.host,
        path: &path,
        route: context.plan.as_ref().map(|plan| &plan.route.id),
        client: context.caller.as_ref().map(|caller| &*caller.client),
        account: account.as_deref(),
        status,
        bytes_sent: session.as_downstream().body_bytes_sent(),
        bytes_received: session.as_downstream().body_bytes_read(),
        source: context.source,
        problem: context
            .refusal
            .as_ref()
            .map(|refusal| problem::describe(refusal, context.started_at).kind),
        detail: detail.as_deref(),
        endpoint: context.upstream.endpoint.as_deref(),
        tries: tries(context),
        missing_parts: &missing_parts,
        quota_remaining: context.limits.iter().map(|state| state.remaining).min(),
        unaccounted,
        stages: context.stages.as_slice(),
    };
    shared.metrics.request_finished(&exchange);
    shared.access_log.write(&exchange);
}

/// A composition is one try for Pingora, whatever it took.
fn tries(context: &Context) -> u32 {
    context
        .composed
        .report()
        .map_or(context.upstream.tries, |report| u32::try_from(report.calls()).unwrap_or(u32::MAX))
}

fn missing_parts(context: &Context) -> Vec<String> {
    let report = context.composed.report();
    let missing = report.iter().flat_map(|report| report.missing());
    missing.map(|(part, fault)| format!("{part}: {fault}")).collect()
}

/// The path with its accounts masked: an account number must not stand in a log, not even that of
/// a request which was refused before anybody asked for its account.
fn shown_path(context: &Context) -> String {
    let path = &context.head.path.decoded;
    let Some(plan) = &context.plan else { return without_numbers(path) };
    let place = plan.route.account.as_ref().and_then(|source| match &source.from {
        ValueSource::Path(name) => context.captures.get(name),
        _ => None,
    });
    let elsewhere = || {
        let account = context.accounts.first()?.as_str();
        let named = context.captures.0.iter().any(|(_, value)| value.contains(account));
        named.then_some(account)
    };
    match place.or_else(elsewhere) {
        Some(text) if !text.is_empty() => path.replace(text, "{account}"),
        _ => path.clone(),
    }
}

/// Nothing says what in a path without a route could be an account (the method may be wrong, or
/// one letter of the path), so whatever looks like a number is masked.
fn without_numbers(path: &str) -> String {
    let digits = |segment: &str| segment.bytes().filter(u8::is_ascii_digit).count();
    let segments = path.split('/').map(|segment| match digits(segment) {
        0..MASKED_DIGITS => segment,
        _ => "{number}",
    });
    segments.collect::<Vec<_>>().join("/")
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_11 => "1.1",
        http::Version::HTTP_2 => "2",
        _ => "unknown",
    }
}
