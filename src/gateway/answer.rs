//! What goes to the backend and what comes back: the transforms of a route, applied.

use std::borrow::Cow;

use http::{StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType};
use pingora_proxy::Session;

use super::context::Context;
use super::{caching, edited, framing, head, keyed};
use crate::compose;
use crate::config::model::{Action, Route};
use crate::request::{Facts, NoTarget, Refusal};
use crate::transform::{self, Hop};
use crate::upstream::Outcome;

/// The client's request lacks a value that the rewritten path needs.
pub(super) const UNUSABLE_VALUE: ErrorType = ErrorType::Custom("unusable value");

/// Makes the head that the backend sees. Runs for each try on a fresh copy.
pub(super) fn prepare_request(
    session: &Session,
    request: &mut RequestHeader,
    context: &Context,
) -> pingora::Result<()> {
    let Some(plan) = &context.plan else { return Ok(()) };
    let facts = context.facts(&session.req_header().headers);
    let edits_body = !plan.route.response.body.is_empty();
    // Nothing can be edited in a conversation of another protocol.
    let websocket = session.is_upgrade_req() && !edits_body;
    transform::forget_request_spelling(request);
    transform::strip_request(request, websocket);
    keyed::strip_fields(session, request, context);
    transform::forward(request, &hop(context));
    if let Some(trace) = &context.trace {
        trace.apply(request);
    }
    request.insert_header(transform::REQUEST_ID, &context.head.request_id)?;
    request.insert_header(transform::INTERACTION_ID, context.interaction_id.clone())?;
    if let Some(picked) = &context.upstream.picked {
        request.insert_header(header::HOST, picked.authority())?;
    }
    if let Action::Proxy { host: Some(host), .. } = &plan.route.action {
        request.insert_header(header::HOST, &**host)?;
    }
    let keeps = caching::may_answer(session, context);
    let target = target(&plan.route, &facts, keeps)
        .map_err(|_| Error::explain(UNUSABLE_VALUE, "the rewritten path can't be made"))?;
    request.set_raw_path(target.as_bytes())?;
    if let Some(replacement) = &context.body.replacement {
        request.remove_header(&header::TRANSFER_ENCODING);
        request.insert_header(header::CONTENT_LENGTH, replacement.len())?;
    }
    if edits_body {
        // Only a plain body can be edited, and only a whole one: a range could be cut so that no
        // edit finds its place.
        request.insert_header(header::ACCEPT_ENCODING, "identity")?;
        request.remove_header(&header::RANGE);
        request.remove_header(&header::IF_RANGE);
    }
    transform::apply_headers(&plan.route.request.headers, request, &facts);
    Ok(())
}

/// The path and query that the backend is asked. `keeps`: its answer may be kept, so only what is
/// in the cache's key goes along.
///
/// # Errors
/// The request lacks a value that the route's rewritten path needs.
pub(super) fn target(route: &Route, facts: &Facts<'_>, keeps: bool) -> Result<String, Refusal> {
    let (mut target, has_query) = match &route.action {
        Action::Proxy { path: Some(path), .. } => {
            let target = path.render_target(facts).map_err(no_target)?;
            (target, path.has_query())
        }
        _ => (facts.head.path.encoded.clone(), false),
    };
    if let Some(query) = passed_query(route, facts, keeps).filter(|_| !has_query) {
        target.push('?');
        target.push_str(&query);
    }
    Ok(target)
}

/// What of the request's own query goes along.
pub(super) fn passed_query<'f>(
    route: &Route,
    facts: &Facts<'f>,
    keeps: bool,
) -> Option<Cow<'f, str>> {
    let query = facts.head.query.as_deref()?;
    if keeps { keyed::query(query, route) } else { Some(query.into()) }
}

/// Whether the request has what the route's address is made of: better known before a use is
/// charged than when the backend is called.
///
/// # Errors
/// See [`target`].
pub(super) fn check_target(route: &Route, facts: &Facts<'_>) -> Result<(), Refusal> {
    match &route.action {
        Action::Proxy { path: Some(template), .. } | Action::Redirect { to: template, .. }
            if template.may_lack_a_value() =>
        {
            template.render_target(facts).map(drop).map_err(no_target)
        }
        Action::Compose(plan) => compose::check_values(plan, facts).map_err(no_target),
        _ => Ok(()),
    }
}

/// What is wrong with a request of whose values no address can be made.
pub(super) fn no_target(why: NoTarget) -> Refusal {
    match why {
        NoTarget::Absent(source) => Refusal::ValueMissing { source: source.to_string().into() },
        NoTarget::DotSegment => Refusal::BadRequest("a value would step through its path"),
        NoTarget::Nul => Refusal::BadRequest("a value has a NUL character"),
    }
}

fn hop(context: &Context) -> Hop<'_> {
    let peer = context.peer;
    let trusted = head::is_trusted(&context.snapshot.config.trusted_proxies, &peer);
    Hop { peer, trusted, https: context.head.https, host: &context.head.host }
}

/// Tells the balancer how its endpoint did.
pub(super) fn report(status: StatusCode, context: &Context) {
    if let Some(picked) = &context.upstream.picked {
        picked.report(Outcome::Answered(status));
    }
}

/// Edits that do not depend on the caller, before an answer is kept in the vault.
pub(super) fn edit_upstream_head(
    response: &mut ResponseHeader,
    context: &mut Context,
) -> pingora::Result<()> {
    clean_head(response)?;
    edited::begin(response, context)
}

/// Leaves of a head, also of one that only announces an answer, what a backend may tell callers.
pub(super) fn clean_head(response: &mut ResponseHeader) -> pingora::Result<()> {
    transform::forget_response_spelling(response)?;
    framing::settle(response)?;
    transform::strip_response(response, response.status == StatusCode::SWITCHING_PROTOCOLS);
    transform::strip_own_words(response);
    Ok(())
}

/// Edits that may depend on the caller; for answers from the vault too.
pub(super) fn edit_head(
    session: &Session,
    response: &mut ResponseHeader,
    context: &Context,
) -> pingora::Result<()> {
    let Some(plan) = &context.plan else { return Ok(()) };
    let facts = context.facts(&session.req_header().headers);
    transform::apply_headers(&plan.route.response.headers, response, &facts);
    Ok(())
}
