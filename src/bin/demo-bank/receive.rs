//! Reads the whole of a request before anything happens to it.

use std::error::Error as _;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HeaderValue};
use http_body_util::LengthLimitError;

use crate::problem::Problem;
use crate::server::Wire;

const LARGEST_BODY: usize = 16 << 20;

/// The bytes of a request's head, exactly as received. Stands in the request's extensions.
#[derive(Clone)]
pub struct RawHead(pub Option<String>);

/// Reads the body first: then a fault that closes the connection leaves nothing unread, which would turn into a reset that
/// may overtake the answer.
pub async fn receive(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = match to_bytes(body, LARGEST_BODY).await {
        Ok(body) => body,
        Err(error) => return refuse(&error),
    };
    if let Some(wire) = parts.extensions.get::<Wire>() {
        let head = RawHead(wire.take_head());
        parts.extensions.insert(head);
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

fn refuse(error: &axum::Error) -> Response {
    let too_large = error.source().is_some_and(|source| source.is::<LengthLimitError>());
    let problem = if too_large {
        Problem::too_large(format!("bodies end at {LARGEST_BODY} bytes"))
    } else {
        Problem::bad_request("the body could not be read to its end")
    };
    let mut response = problem.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
