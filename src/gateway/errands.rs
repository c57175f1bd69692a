//! What other gateways of the fleet ask of this one, on the fleet's own port.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::context::{Arrival, Context};
use super::shared::Shared;
use crate::account::ERRANDS;

/// Largest errand: uses of some thousand buckets.
const LARGEST: usize = 4 << 20;

/// Whether the request is an errand; then it has been answered.
pub(super) async fn serve(
    shared: &Shared,
    session: &mut Session,
    context: &Context,
) -> pingora::Result<bool> {
    let head = session.req_header();
    if context.arrival != Arrival::Fleet || head.uri.path() != ERRANDS {
        return Ok(false);
    }
    let answer = match (head.method == Method::POST, read(session).await?) {
        (false, _) => Err(StatusCode::METHOD_NOT_ALLOWED),
        (true, None) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        (true, Some(errand)) => shared.quotas.do_errand(&errand).await.map_err(|error| {
            tracing::warn!(%error, "an errand of another gateway is not known");
            StatusCode::BAD_REQUEST
        }),
    };
    let (status, body) =
        answer.map_or_else(|status| (status, Bytes::new()), |body| (StatusCode::OK, body));
    let mut head = ResponseHeader::build(status, Some(2))?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    session.write_response_header(Box::new(head), body.is_empty()).await?;
    if !body.is_empty() {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(true)
}

/// The body; `None`: it is too large.
async fn read(session: &mut Session) -> pingora::Result<Option<BytesMut>> {
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await? {
        if body.len() + chunk.len() > LARGEST {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
