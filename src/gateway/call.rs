//! The call to the backend: which endpoint, and what to do when it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;

use super::context::Context;
use super::shared::Shared;
use super::snapshot::{RoutePlan, Target};
use super::{answer, edited, respond};
use crate::compose::{ComposeInputs, Composer};
use crate::listener;
use crate::observe::{Event, Stage};
use crate::request::Refusal;
use crate::upstream::{Failure, LiveCluster, Outcome, Tried, Wait};

/// The peer for the next try.
pub(super) fn next_peer(session: &Session, context: &mut Context) -> Result<HttpPeer, Refusal> {
    if let Some(refusal) = context.lateness() {
        return Err(refusal);
    }
    let Some(plan) = context.plan.clone() else { return Err(Refusal::NoRoute) };
    context.upstream.tries += 1;
    context.upstream.status = None;
    context.upstream.started.get_or_insert_with(Instant::now);
    match &plan.target {
        Target::Cluster(cluster) => {
            context.stages.begin(Stage::Upstream);
            pick(cluster, session, context)
        }
        Target::Composer(composer) => {
            context.stages.begin(Stage::Compose);
            Ok(compose(composer, session, context))
        }
        Target::Gateway => Err(Refusal::Internal),
    }
}

fn pick(
    cluster: &Arc<LiveCluster>,
    session: &Session,
    context: &mut Context,
) -> Result<HttpPeer, Refusal> {
    // The last try's place is given up first, or it would count against the next pick.
    context.upstream.picked = None;
    let facts = context.facts(&session.req_header().headers);
    let picked = cluster.pick(&context.upstream.tried, cluster.hash_value(&facts).as_deref())?;
    context.upstream.tried.add(&picked);
    let mut peer = if session.is_upgrade_req() { picked.peer_http1() } else { picked.peer() };
    if let Some(left) = context.time_left() {
        shorten(&mut peer.options.total_connection_timeout, left);
        shorten(&mut peer.options.read_timeout, left);
    }
    context.upstream.endpoint = Some(picked.label().clone());
    context.upstream.picked = Some(picked);
    Ok(peer)
}

fn shorten(timeout: &mut Option<Duration>, bound: Duration) {
    *timeout = Some(timeout.map_or(bound, |timeout| timeout.min(bound)));
}

fn compose(composer: &Arc<Composer>, session: &Session, context: &mut Context) -> HttpPeer {
    let inputs = ComposeInputs {
        head: context.head.clone(),
        headers: session.req_header().headers.clone(),
        captures: context.captures.clone(),
        caller: context.caller.clone(),
        account: context.accounts.first().cloned(),
        body: context.body.json.clone(),
        deadline: context.time_left().map(|left| tokio::time::Instant::now() + left),
    };
    composer.peer(Arc::new(inputs), &context.composed)
}

/// Notes that no connection came about and decides whether there is another try.
pub(super) fn not_connected(
    session: &Session,
    context: &mut Context,
    error: Box<Error>,
) -> Box<Error> {
    let trouble = Failure::connecting(&error).to_string();
    failed(session, context, error, trouble)
}

/// Notes a try that failed and decides whether there is another.
fn failed(
    session: &Session,
    context: &mut Context,
    mut error: Box<Error>,
    trouble: String,
) -> Box<Error> {
    if waited_for_client(&error, context) {
        context.refusal = Some(Refusal::BodyTimeout);
        error.as_down();
        error.set_retry(false);
        return error;
    }
    let outcome = outcome_of(&error);
    if let Some(outcome) = outcome {
        context.upstream.trouble = Some(trouble.clone());
        if let Some(picked) = &context.upstream.picked {
            picked.report_because(outcome, trouble);
        }
    }
    let again = match (outcome, error.etype()) {
        // Decided, and taken from the budget, when the status was seen.
        (Some(_), ErrorType::HTTPStatus(_)) => true,
        (Some(outcome), _) => may_retry(session, context, outcome),
        (None, _) => false,
    };
    error.set_retry(again);
    error
}

/// Pooled connections that one request may find closed before it counts as a failure: after a
/// backend's restart all of them are.
const STALE_CONNECTIONS: u32 = 5;

/// Notes that a connection broke. One from the pool may have been closed by the backend while
/// nobody used it: that says nothing of its health, and another takes its place.
pub(super) fn broke(
    session: &Session,
    context: &mut Context,
    mut error: Box<Error>,
    from_pool: bool,
) -> Box<Error> {
    let stale = from_pool && outcome_of(&error) == Some(Outcome::Reset);
    let downstream = session.as_downstream();
    let repeatable = context.head.method.is_idempotent()
        && respond::status_sent(session).is_none()
        && !downstream.retry_buffer_truncated();
    if stale && repeatable && context.upstream.stale < STALE_CONNECTIONS && !context.is_late() {
        context.upstream.stale += 1;
        context.upstream.tried = Tried::default();
        error.set_retry(true);
        return error;
    }
    let trouble = trouble_of(&error, context);
    failed(session, context, error, trouble)
}

/// What was wrong with an answer, or kept it from coming, in words for operators.
pub(super) fn trouble_of(error: &Error, context: &Context) -> String {
    match error.etype() {
        etype if *etype == edited::UNUSABLE_ANSWER => {
            let why = error.context.as_ref().map(|why| why.as_str());
            why.unwrap_or("the answer can't be used").to_owned()
        }
        ErrorType::HTTPStatus(code) => format!("answered {code}"),
        _ if context.upstream.status.is_none() => Failure::waiting(error).to_string(),
        _ => Failure::reading(error).to_string(),
    }
}

/// Notes for operators why a request got no answer of its own.
pub(super) fn note_trouble(error: &Error, context: &mut Context) {
    if context.lateness().is_some() {
        let before = context.upstream.trouble.take();
        let late = Wait::Total.to_string();
        context.upstream.trouble =
            Some(before.map_or(late.clone(), |before| format!("{late}; before that: {before}")));
    } else if error.esource() == &pingora::ErrorSource::Upstream {
        let trouble = trouble_of(error, context);
        context.upstream.trouble.get_or_insert(trouble);
    }
}

/// Whether the backend was silent because it had not got the whole request: then the client was
/// too slow, and the backend did nothing wrong.
fn waited_for_client(error: &Error, context: &Context) -> bool {
    !context.body.whole
        && error.esource() == &pingora::ErrorSource::Upstream
        && *error.etype() == ErrorType::ReadTimedout
}

/// What went wrong with the backend; `None` is nothing of its making.
fn outcome_of(error: &Error) -> Option<Outcome> {
    if error.esource() != &pingora::ErrorSource::Upstream
        || *error.etype() == edited::UNUSABLE_ANSWER
    {
        return None;
    }
    match error.etype() {
        ErrorType::HTTPStatus(code) => StatusCode::from_u16(*code).ok().map(Outcome::Answered),
        _ => Some(Outcome::of(error)),
    }
}

fn may_retry(session: &Session, context: &Context, outcome: Outcome) -> bool {
    let Some(Target::Cluster(cluster)) = context.plan.as_ref().map(|plan| &plan.target) else {
        return false;
    };
    let Some(cause) = outcome.retry_cause() else { return false };
    let downstream = session.as_downstream();
    respond::status_sent(session).is_none()
        && !context.is_late()
        && cluster.may_retry(
            cause,
            &context.head.method,
            outcome.reached_backend(),
            !downstream.retry_buffer_truncated(),
            context.upstream.tries.saturating_sub(context.upstream.stale),
        )
}

/// Whether a status is tried again rather than passed on.
pub(super) fn retries_status(session: &Session, context: &Context, status: StatusCode) -> bool {
    may_retry(session, context, Outcome::Answered(status))
}

/// The refusal for an error that ended the request.
pub(super) fn refusal_of(error: &Error, context: &Context) -> Option<Refusal> {
    if let Some(refusal) = &context.refusal {
        return Some(refusal.clone());
    }
    if let Some(refusal) = context.lateness() {
        return Some(refusal);
    }
    if *error.etype() == answer::UNUSABLE_VALUE {
        return Some(Refusal::BadRequest("no address can be made of its values"));
    }
    match error.esource() {
        pingora::ErrorSource::Upstream => Some(upstream_refusal(error, context)),
        pingora::ErrorSource::Downstream => downstream_refusal(error),
        pingora::ErrorSource::Internal | pingora::ErrorSource::Unset => Some(Refusal::Internal),
    }
}

fn upstream_refusal(error: &Error, context: &Context) -> Refusal {
    let cluster = context.plan.as_deref().map_or_else(|| "unknown".into(), target_name);
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => Refusal::UpstreamTimeout { cluster },
        _ => Refusal::UpstreamFailed { cluster },
    }
}

fn target_name(plan: &RoutePlan) -> Arc<str> {
    match &plan.target {
        Target::Cluster(cluster) => cluster.model().name.clone(),
        Target::Composer(_) | Target::Gateway => plan.route.id.as_str().into(),
    }
}

/// `None`: the client has gone, and nobody is there to be answered.
fn downstream_refusal(error: &Error) -> Option<Refusal> {
    if listener::timed_out(error) {
        return Some(Refusal::BodyTimeout);
    }
    match error.etype() {
        ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed => None,
        _ => Some(Refusal::BadRequest("it breaks HTTP")),
    }
}

/// Counts the finished call of a cluster.
pub(super) fn observe(shared: &Shared, context: &Context) {
    let (Some(plan), Some(started)) = (&context.plan, context.upstream.started) else { return };
    if let Target::Cluster(cluster) = &plan.target {
        shared.metrics.record(Event::UpstreamCall {
            cluster: &cluster.model().name,
            status: context.upstream.status,
            seconds: started.elapsed().as_secs_f64(),
        });
    }
}
