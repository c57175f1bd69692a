//! The end of a request: settles what it reserved and tells operators.

use pingora::Error;
use pingora_proxy::Session;

use super::call;
use super::context::{Arrival, Context};
use super::shared::Shared;
use super::{detail, problem, respond, shown, standing};
use crate::account::AccountKey;
use crate::observe::Exchange;
use crate::transform::TraceContext;

/// Settles and observes.
pub(super) fn finish(
    shared: &Shared,
    session: &Session,
    error: Option<&Error>,
    context: &mut Context,
) {
    let status = respond::status_sent(session).map_or(0, |status| status.as_u16());
    context.stages.end();
    context.settle(standing::end(status, error.is_some(), context));
    call::observe(shared, context);
    observe(shared, session, context, status);
    context.permits.clear();
}

fn observe(shared: &Shared, session: &Session, context: &Context, status: u16) {
    let account = account(&context.account_keys);
    let (host, path) = shown::host_and_path(session.req_header(), context);
    let missing_parts = missing_parts(context);
    let trace_id = context.trace.as_ref().map(TraceContext::trace_id).unwrap_or_default();
    let detail = detail::of(context);
    let exchange = Exchange {
        started: context.started_at,
        seconds: context.started.elapsed().as_secs_f64(),
        request_id: &context.head.request_id,
        trace_id: &trace_id,
        address: Some(context.head.address),
        passed_on: context.arrival == Arrival::Fleet,
        version: version(session.req_header().version),
        method: context.head.method.as_str(),
        host: &host,
        path: &path,
        route: context.plan.as_ref().map(|plan| &plan.route.id),
        client: context.caller.as_ref().map(|caller| &*caller.client),
        account: account.as_deref(),
        status,
        bytes_sent: session.as_downstream().body_bytes_sent(),
        bytes_received: session.as_downstream().body_bytes_read(),
        source: context.source,
        problem: context.refusal.as_ref().map(|refusal| problem::describe(refusal).kind),
        detail: detail.as_deref(),
        endpoint: context.upstream.endpoint.as_deref(),
        tries: tries(context),
        missing_parts: &missing_parts,
        quota_remaining: context.limits.iter().map(|state| state.remaining).min(),
        unaccounted: context.is_unaccounted(),
        stages: context.stages.times(),
    };
    shared.metrics.request_finished(&exchange);
    shared.access_log.write(&exchange);
}

/// What stands for the accounts.
fn account(keys: &[AccountKey]) -> Option<String> {
    match keys {
        [] => None,
        [one] => Some(one.to_string()),
        several => Some(several.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    }
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

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_11 => "1.1",
        http::Version::HTTP_2 => "2",
        _ => "unknown",
    }
}
