//! A route's edits of its backend's bodies. They may hide what callers must not see, so a body that
//! they can't be applied to does not pass: a success becomes a failure, an error goes on with its
//! status and the gateway's own words.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, ImmutStr};

use super::context::Context;
use super::problem;
use crate::guard;
use crate::observe::Stage;
use crate::request::Refusal;
use crate::transform;

/// The backend's answer can't be given to callers. It says nothing of the endpoint's health: it
/// may be what one client asked for, who must not take the endpoint away from the others.
pub(super) const UNUSABLE_ANSWER: ErrorType = ErrorType::Custom("unusable answer");

/// What becomes of the backend's body.
pub(super) enum EditedBody {
    /// Gathered so far; edited at its end.
    Gathered {
        /// What has come.
        body: BytesMut,
        /// The status, if the answer is an error.
        error: Option<StatusCode>,
    },
    /// There must be none: its head said nothing of one.
    Empty,
    /// It is dropped, and this is sent.
    Replaced(Bytes),
}

/// Decides what becomes of the body, by its head.
///
/// # Errors
/// The answer can't be edited and is no error.
pub(super) fn begin(response: &mut ResponseHeader, context: &mut Context) -> pingora::Result<()> {
    let Some(plan) = context.plan.clone() else { return Ok(()) };
    let edits = &plan.route.response;
    if edits.body.is_empty() {
        return Ok(());
    }
    let status = response.status;
    let length = announced(&response.headers);
    // Better refused now than when the head may have gone out.
    let why = match status {
        StatusCode::SWITCHING_PROTOCOLS => "the backend switched to another protocol",
        _ if has_no_body(status, length) => {
            // That of the unedited body, which a 304 confirms.
            response.remove_header(&header::ETAG);
            return Ok(());
        }
        StatusCode::PARTIAL_CONTENT => "the backend answered with a part of a body",
        _ if guard::check_json_media_type(&response.headers).is_err() => {
            if status.is_success() && says_nothing_of_a_body(&response.headers) {
                context.response_body = Some(EditedBody::Empty);
                return Ok(());
            }
            "the backend's body is not plain JSON by its Content-Type"
        }
        _ if length.is_some_and(|length| length > edits.max_body) => TOO_LARGE,
        _ => {
            let error = is_error(status).then_some(status);
            context.response_body = Some(EditedBody::Gathered { body: BytesMut::new(), error });
            return frame(response, None);
        }
    };
    if status.is_success() || status.is_informational() {
        return unusable(why);
    }
    replace(response, length.is_some(), context)
}

/// Drops an error's or a redirect's body for the gateway's own.
fn replace(
    response: &mut ResponseHeader,
    has_length: bool,
    context: &mut Context,
) -> pingora::Result<()> {
    let (media_type, body) = own_words(response.status, context);
    response.remove_header(&header::CONTENT_ENCODING);
    response.remove_header(&header::CONTENT_TYPE);
    if let Some(media_type) = media_type {
        response.insert_header(header::CONTENT_TYPE, media_type)?;
    }
    // A body whose length is not told may turn out to be none, and then nothing can replace it.
    frame(response, has_length.then_some(body.len()))?;
    context.response_body = Some(EditedBody::Replaced(body));
    Ok(())
}

/// The body that goes out has another length and is another representation.
fn frame(response: &mut ResponseHeader, length: Option<usize>) -> pingora::Result<()> {
    response.remove_header(&header::CONTENT_LENGTH);
    response.remove_header(&header::TRANSFER_ENCODING);
    response.remove_header(&header::ETAG);
    response.remove_header(&header::ACCEPT_RANGES);
    match length {
        Some(length) => response.insert_header(header::CONTENT_LENGTH, length),
        None => response.insert_header(header::TRANSFER_ENCODING, "chunked"),
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn has_no_body(status: StatusCode, length: Option<u64>) -> bool {
    let never = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    never || status.is_informational() || length == Some(0)
}

fn says_nothing_of_a_body(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::CONTENT_TYPE) && !headers.contains_key(header::CONTENT_LENGTH)
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// What is sent instead of the body of an error; of a redirect, which needs none, nothing.
fn own_words(status: StatusCode, context: &Context) -> (Option<&'static str>, Bytes) {
    let Some(plan) = context.plan.as_ref().filter(|_| is_error(status)) else {
        return (None, Bytes::new());
    };
    let refusal = Refusal::BackendError { status };
    let told = problem::describe(&refusal);
    let request_id = &context.head.request_id;
    let (media_type, body) = told.body(&refusal, plan.route.dialect, request_id);
    (Some(media_type), Bytes::from(body.to_string()))
}

/// Takes a piece of the body, and puts the edited one out at its end.
///
/// # Errors
/// It can't be edited after all.
pub(super) fn take(
    body: &mut Option<Bytes>,
    end_of_stream: bool,
    context: &mut Context,
) -> pingora::Result<()> {
    let most = context.plan.as_ref().map_or(0, |plan| plan.route.response.max_body);
    let Some(state) = &mut context.response_body else { return Ok(()) };
    let piece = body.take().unwrap_or_default();
    // If this fails, no piece passes that may come after it.
    let next = match std::mem::replace(state, EditedBody::Empty) {
        EditedBody::Gathered { body: mut gathered, error }
            if (gathered.len() + piece.len()) as u64 <= most =>
        {
            gathered.extend_from_slice(&piece);
            EditedBody::Gathered { body: gathered, error }
        }
        EditedBody::Gathered { error: Some(status), .. } => {
            EditedBody::Replaced(own_words(status, context).1)
        }
        EditedBody::Gathered { error: None, .. } => return unusable(TOO_LARGE),
        EditedBody::Empty if piece.is_empty() => EditedBody::Empty,
        EditedBody::Empty => return unusable("the backend's body has no Content-Type"),
        EditedBody::Replaced(other) => EditedBody::Replaced(other),
    };
    if end_of_stream {
        context.stages.begin(Stage::Transform);
        let edited = finish(next, context);
        context.stages.end();
        *body = edited?;
    } else {
        context.response_body = Some(next);
    }
    Ok(())
}

fn finish(state: EditedBody, context: &Context) -> pingora::Result<Option<Bytes>> {
    let Some(plan) = &context.plan else { return Ok(None) };
    let (body, error) = match state {
        EditedBody::Gathered { body, error } => (body, error),
        EditedBody::Replaced(other) => return Ok(Some(other)),
        EditedBody::Empty => return Ok(None),
    };
    if body.is_empty() {
        // Nothing hides nothing: an answer to HEAD.
        return Ok(None);
    }
    match (transform::edit_body(&plan.route.response.body, &body), error) {
        // Edits are made for the answer that callers want: a `pick` leaves nothing of an error.
        (Ok(edited), Some(status)) if NOTHING.contains(&edited.as_slice()) => {
            Ok(Some(own_words(status, context).1))
        }
        (Ok(edited), _) => Ok(Some(Bytes::from(edited))),
        (Err(_), Some(status)) => Ok(Some(own_words(status, context).1)),
        (Err(why), None) => unusable(format!("in the backend's answer, {why}")),
    }
}

const NOTHING: [&[u8]; 3] = [b"{}", b"[]", b"null"];
const TOO_LARGE: &str = "the backend's body is larger than may be edited";

/// The failure of an answer that can't be given to callers.
pub(super) fn unusable<T>(why: impl Into<ImmutStr>) -> pingora::Result<T> {
    Error::e_explain(UNUSABLE_ANSWER, why).map_err(Error::into_up)
}
