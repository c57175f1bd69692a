//! The only writer of answers that the gateway makes itself.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::context::Context;
use super::{answer, problem, standing};
use crate::config::model::{Action, Dialect};
use crate::observe::Source;
use crate::request::{Refusal, Template};
use crate::transform;

/// How long a client that was answered early has to see it, and how much is taken meanwhile.
const PARTING_TIMEOUT: Duration = Duration::from_secs(2);
const PARTING_BYTES: usize = 256 << 10;

/// An answer of the gateway's own.
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// The connection is in doubt, as after a body that was not read to its end.
    close: bool,
}

/// Whether more comes before the answer itself: a 1xx, but not the last word on an upgrade
/// (RFC 9110 section 15.2).
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// The status of the answer that the client was sent, if it was sent one.
pub(super) fn status_sent(session: &Session) -> Option<StatusCode> {
    let sent = session.as_downstream().response_written().map(|head| head.status);
    sent.filter(|status| !is_interim(*status))
}

/// Answers a refusal in the route's dialect. Returns the status sent.
pub(super) async fn refuse(session: &mut Session, context: &mut Context, refusal: Refusal) -> u16 {
    let dialect = context.plan.as_ref().map_or(Dialect::Problem, |plan| plan.route.dialect);
    let problem = problem::describe(&refusal);
    let (media_type, body) = problem.body(&refusal, dialect, &context.head.request_id);
    let mut headers = problem::headers(&refusal);
    headers.push((header::CONTENT_TYPE, HeaderValue::from_static(media_type)));
    match &refusal {
        Refusal::QuotaExceeded(quota) => context.limits.push(quota.state.clone()),
        Refusal::RateLimited(state) => context.limits.push(state.clone()),
        _ => {}
    }
    // Before the client can ask again: what is given back must be there by then.
    context.settle(standing::end(problem.status.as_u16(), false, context));
    let answer = Answer {
        status: problem.status,
        headers,
        body: Bytes::from(body.to_string()),
        close: leaves_connection_in_doubt(&refusal),
    };
    context.source = Source::Gateway;
    context.refusal = Some(refusal);
    send(session, context, answer).await;
    problem.status.as_u16()
}

/// A malformed head or a body left unread: what follows on the connection can't be trusted.
fn leaves_connection_in_doubt(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::BadRequest(_)
            | Refusal::UriTooLong
            | Refusal::HeadersTooLarge
            | Refusal::BodyTooLarge { .. }
            | Refusal::BodyTimeout
            | Refusal::MalformedBody(_)
            | Refusal::Internal
    )
}

/// Answers a route that needs no backend. Returns whether it was one.
pub(super) async fn own_answer(session: &mut Session, context: &mut Context) -> bool {
    let Some(plan) = context.plan.clone() else { return false };
    let made = match &plan.route.action {
        Action::Redirect { status, to } => redirect(*status, to, session, context),
        Action::Answer { status, headers, body } => Ok(fixed(*status, headers, body)),
        Action::Proxy { .. } | Action::Compose(_) => return false,
    };
    match made {
        Ok(answer) => send(session, context, answer).await,
        Err(refusal) => drop(refuse(session, context, refusal).await),
    }
    true
}

fn redirect(
    status: StatusCode,
    to: &Template,
    session: &Session,
    context: &Context,
) -> Result<Answer, Refusal> {
    let facts = context.facts(&session.req_header().headers);
    let location = to.render_target(&facts).map_err(answer::no_target)?;
    let location = HeaderValue::from_str(&location).map_err(|_| Refusal::Internal)?;
    let headers = vec![(header::LOCATION, location)];
    Ok(Answer { status, headers, body: Bytes::new(), close: false })
}

fn fixed(status: StatusCode, headers: &HeaderMap, body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Answer { status, headers, body: Bytes::from(body.to_owned()), close: false }
}

async fn send(session: &mut Session, context: &Context, answer: Answer) {
    // A client that has gone needs no answer; the access log says so by the status it lacks.
    match write(session, context, answer).await {
        Ok(()) => take_leave(session).await,
        Err(error) => {
            tracing::debug!(%error, "an answer of the gateway's own could not be sent");
        }
    }
}

/// Takes for a moment what still comes of a body over HTTP/2 that was answered before its end.
/// Without that the stream is reset right behind the answer, as RFC 9113 section 8.1 allows, but
/// many clients (curl 7.88 among them) then show an error in the place of the answer. Over HTTP/1
/// the connection is drained anyway.
async fn take_leave(session: &mut Session) {
    if !session.is_http2() || session.is_body_done() {
        return;
    }
    let taking = async {
        let mut taken = 0;
        while let Ok(Some(chunk)) = session.read_request_body().await
            && taken < PARTING_BYTES
        {
            taken += chunk.len();
        }
    };
    // Who sends no end gets the reset.
    let _ = tokio::time::timeout(PARTING_TIMEOUT, taking).await;
}

async fn write(session: &mut Session, context: &Context, answer: Answer) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 8))?;
    for (name, value) in answer.headers {
        head.append_header(name, value)?;
    }
    let bodiless = answer.status == StatusCode::NO_CONTENT
        || answer.status == StatusCode::NOT_MODIFIED
        || answer.status.is_informational();
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    }
    stamp(&mut head, context)?;
    if answer.close {
        session.set_keepalive(None);
    }
    let empty = bodiless || answer.body.is_empty() || context.head.method == http::Method::HEAD;
    session.write_response_header(Box::new(head), empty).await?;
    if !empty {
        session.write_response_body(Some(answer.body), true).await?;
    }
    Ok(())
}

/// Puts what every answer carries, whoever made it: the request's identifiers and where the
/// caller stands against the limits. Made anew for answers from the cache too.
pub(super) fn stamp(head: &mut ResponseHeader, context: &Context) -> pingora::Result<()> {
    head.insert_header(transform::REQUEST_ID, &context.head.request_id)?;
    head.insert_header(transform::INTERACTION_ID, context.interaction_id.clone())?;
    // What the account's owner said of its quotas stays beside this gateway's rates.
    let limits = standing::after(standing::end(head.status.as_u16(), false, context), context);
    for (name, value) in standing::headers(&limits).into_iter().flatten() {
        match context.forward {
            Some(_) => head.append_header(name, value).map(drop)?,
            None => head.insert_header(name, value)?,
        }
    }
    if context.is_unaccounted() {
        head.insert_header(transform::UNACCOUNTED, "true")?;
    }
    Ok(())
}
