//! Where the bodies of answers end: what backends say of it is checked and said anew, and clients
//! are told in a way that they know.

use async_trait::async_trait;
use http::{StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module};
use pingora_proxy::Session;

use super::edited;
use crate::upstream::has_unknown_coding;

/// Makes the framing of a backend's answer the gateway's own.
///
/// # Errors
/// It has a transfer coding other than `chunked`.
pub(super) fn settle(response: &mut ResponseHeader) -> pingora::Result<()> {
    if has_unknown_coding(&response.headers) {
        return edited::unusable("the backend's Transfer-Encoding is other than chunked");
    }
    if response.headers.contains_key(header::TRANSFER_ENCODING) {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    // RFC 9110 section 8.6 and RFC 9112 section 6.1.
    if response.status.is_informational() || response.status == StatusCode::NO_CONTENT {
        response.remove_header(&header::CONTENT_LENGTH);
        response.remove_header(&header::TRANSFER_ENCODING);
    }
    // That of the sender (RFC 9110 section 2.5), and the sender is the gateway.
    response.set_version(Version::HTTP_11);
    Ok(())
}

fn knows_no_chunks(request: &RequestHeader) -> bool {
    request.version < Version::HTTP_11
}

/// Has the connection closed behind an answer to HTTP/1.0 that only its close can end.
pub(super) fn close_behind(session: &mut Session, response: &ResponseHeader) {
    let endless = !response.headers.contains_key(header::CONTENT_LENGTH);
    if endless && knows_no_chunks(session.req_header()) {
        session.set_keepalive(None);
    }
}

/// Takes the chunks away from answers to HTTP/1.0 (RFC 9112 section 6.1). Behind all hooks, since
/// Pingora adds them after the last one.
pub(super) struct NoChunks;

impl HttpModuleBuilder for NoChunks {
    fn init(&self) -> Module {
        Box::new(OfRequest { knows_no_chunks: false })
    }
}

struct OfRequest {
    knows_no_chunks: bool,
}

#[async_trait]
impl HttpModule for OfRequest {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> pingora::Result<()> {
        self.knows_no_chunks = knows_no_chunks(request);
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> pingora::Result<()> {
        if self.knows_no_chunks {
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(status: u16, fields: &[(&'static str, &str)]) -> Option<ResponseHeader> {
        let mut response = ResponseHeader::build(status, None).unwrap();
        response.set_version(Version::HTTP_10);
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        settle(&mut response).ok().map(|()| response)
    }

    #[test]
    fn a_body_in_chunks_passes_and_any_other_coding_does_not() {
        for coding in ["chunked", "Chunked"] {
            let passed = settled(200, &[("transfer-encoding", coding)]).unwrap();
            assert_eq!(passed.headers["transfer-encoding"], "chunked");
            assert_eq!(passed.version, Version::HTTP_11);
        }
        for coding in ["x", "gzip, chunked", "chunked, chunked", "chunked;q=1", "identity", ""] {
            assert!(settled(200, &[("transfer-encoding", coding)]).is_none(), "{coding:?}");
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert!(settled(200, &twice).is_none());
        assert!(settled(304, &[("transfer-encoding", "x")]).is_none());
    }

    #[test]
    fn what_has_no_body_by_its_status_tells_no_length_of_one() {
        for status in [103, 204] {
            let fields = [("content-length", "5"), ("transfer-encoding", "chunked")];
            assert!(settled(status, &fields).unwrap().headers.is_empty(), "{status}");
        }
        for status in [200, 304, 404] {
            let kept = settled(status, &[("content-length", "5")]).unwrap();
            assert_eq!(kept.headers["content-length"], "5", "{status}");
        }
    }
}
