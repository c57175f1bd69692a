//! What goes to the backend and what comes back: the transforms of a route, applied.

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, ImmutStr};
use pingora_proxy::Session;

use super::context::Context;
use super::head;
use crate::config::model::Action;
use crate::guard;
use crate::request::Encoding;
use crate::transform::{self, Hop};
use crate::upstream::Outcome;

/// The client's request lacks a value that the rewritten path needs.
pub(super) const UNUSABLE_VALUE: ErrorType = ErrorType::Custom("unusable value");

/// The backend's answer can't be given on as the route wants it; the context says why, in words
/// for operators.
pub(super) const UNUSABLE_ANSWER: ErrorType = ErrorType::Custom("unusable answer");

/// Makes the head that the backend sees. Runs for each try on a fresh copy.
pub(super) fn prepare_request(
    session: &Session,
    request: &mut RequestHeader,
    context: &Context,
) -> pingora::Result<()> {
    let Some(plan) = &context.plan else { return Ok(()) };
    let facts = context.facts(&session.req_header().headers);
    let websocket = session.is_upgrade_req();
    transform::strip_request(request, websocket);
    transform::forward(request, &hop(context));
    if let Some(trace) = &context.trace {
        trace.apply(request);
    }
    request.insert_header(transform::REQUEST_ID, &context.head.request_id)?;
    request.insert_header(transform::INTERACTION_ID, &context.interaction_id)?;
    if let Some(picked) = &context.upstream.picked {
        request.insert_header(header::HOST, picked.authority())?;
    }
    let mut target = context.head.path.encoded.clone();
    let mut rewritten_query = false;
    if let Action::Proxy { path, host, .. } = &plan.route.action {
        if let Some(path) = path {
            target = path.render(&facts, Encoding::UriComponent).ok_or_else(|| {
                Error::explain(UNUSABLE_VALUE, "a value of the rewritten path is absent")
            })?;
            rewritten_query = target.contains('?');
        }
        if let Some(host) = host {
            request.insert_header(header::HOST, &**host)?;
        }
    }
    if let Some(query) = context.head.query.as_ref().filter(|_| !rewritten_query) {
        target.push('?');
        target.push_str(query);
    }
    request.set_raw_path(target.as_bytes())?;
    if let Some(replacement) = &context.body.replacement {
        request.remove_header(&header::TRANSFER_ENCODING);
        request.insert_header(header::CONTENT_LENGTH, replacement.len())?;
    }
    if !plan.route.response.body.is_empty() {
        // Only a plain body can be edited.
        request.insert_header(header::ACCEPT_ENCODING, "identity")?;
    }
    transform::apply_headers(&plan.route.request.headers, request, &facts);
    Ok(())
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
    transform::strip_response(response, response.status == StatusCode::SWITCHING_PROTOCOLS);
    let Some(plan) = &context.plan else { return Ok(()) };
    if plan.route.response.body.is_empty() || !is_json(response) {
        return Ok(());
    }
    // Better refused now than when the head may have gone out.
    let announced = response.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > plan.route.response.max_body) {
        return unusable(TOO_LARGE);
    }
    // The edited body has another length and is another representation.
    response.remove_header(&header::CONTENT_LENGTH);
    response.remove_header(&header::ETAG);
    response.remove_header(&header::ACCEPT_RANGES);
    response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    context.response_body = Some(BytesMut::new());
    Ok(())
}

fn is_json(response: &ResponseHeader) -> bool {
    response
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(guard::is_json_media_type)
}

/// Gathers the body and puts the edited one out at its end.
pub(super) fn edit_upstream_body(
    body: &mut Option<Bytes>,
    end_of_stream: bool,
    context: &mut Context,
) -> pingora::Result<()> {
    let (Some(plan), Some(gathered)) = (&context.plan, &mut context.response_body) else {
        return Ok(());
    };
    let edits = &plan.route.response;
    if let Some(chunk) = body.take() {
        gathered.extend_from_slice(&chunk);
    }
    if gathered.len() as u64 > edits.max_body {
        return unusable(TOO_LARGE);
    }
    if !end_of_stream {
        return Ok(());
    }
    context.stages.begin("transform");
    let edited = transform::edit_body(&edits.body, gathered);
    context.stages.end();
    match edited {
        Ok(edited) => *body = Some(Bytes::from(edited)),
        Err(error) => return unusable(format!("in the backend's answer, {error}")),
    }
    Ok(())
}

const TOO_LARGE: &str = "the backend's body is larger than may be edited";

fn unusable(why: impl Into<ImmutStr>) -> pingora::Result<()> {
    Error::e_explain(UNUSABLE_ANSWER, why).map_err(Error::into_up)
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
