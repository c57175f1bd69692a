use std::time::Instant;

use pingora::prelude::timeout;
use pingora::server::ShutdownWatch;

use super::head::{HTTP2_PREFACE, Head};
use super::stream::ClientStream;
use crate::config::model::ListenerLimits;
use crate::request::Refusal;

/// What may come next on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A request of HTTP/1.
    Http1,
    /// A request of HTTP/1, or HTTP/2 by prior knowledge (RFC 9113 section 3.3).
    Either,
    /// HTTP/2, as agreed by ALPN.
    Http2,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The whole head of a request, which stands in the stream.
    Http1,
    /// HTTP/2's preface, which stands in the stream.
    Http2,
    /// A head that must not be passed on, or of which a part did not come in time; and when it
    /// began.
    Refused(Refusal, Instant),
    /// Part of what may become HTTP/2's preface, and then nothing more in time: an answer of
    /// HTTP/1 would not be understood.
    Late,
    /// Something that isn't the protocol agreed on.
    Garbage,
    /// The end: the client went, or said nothing for the idle time, or the gateway ends.
    Over,
}

/// Waits for the next request: for its first byte the idle time, from there to the end of its head
/// the header time, however slowly it comes.
pub(super) async fn next(
    stream: &mut ClientStream,
    expected: Expected,
    limits: &ListenerLimits,
    closing: &mut ShutdownWatch,
) -> Arrival {
    if stream.ahead().is_empty() && !begins(stream, limits, closing).await {
        return Arrival::Over;
    }
    let began = Instant::now();
    match timeout(limits.header_timeout, head(stream, expected, limits)).await {
        Ok(Ok(arrival)) => arrival,
        Ok(Err(refusal)) => Arrival::Refused(refusal, began),
        Err(_) if may_be_http2(expected, stream.ahead()) => Arrival::Late,
        Err(_) => Arrival::Refused(Refusal::HeadTimeout, began),
    }
}

fn may_be_http2(expected: Expected, ahead: &[u8]) -> bool {
    match expected {
        Expected::Http1 => false,
        Expected::Either => HTTP2_PREFACE.starts_with(ahead),
        Expected::Http2 => true,
    }
}

/// Waits for the first byte; false if none comes.
async fn begins(
    stream: &mut ClientStream,
    limits: &ListenerLimits,
    closing: &mut ShutdownWatch,
) -> bool {
    tokio::select! {
        // What has come already is served, even when the gateway ends.
        biased;
        read = timeout(limits.idle_timeout, stream.read_ahead()) => {
            matches!(read, Ok(Ok(count)) if count > 0)
        }
        _ = closing.wait_for(|stop| *stop) => false,
    }
}

async fn head(
    stream: &mut ClientStream,
    mut expected: Expected,
    limits: &ListenerLimits,
) -> Result<Arrival, Refusal> {
    let mut head = Head::default();
    loop {
        let ahead = stream.ahead();
        if expected != Expected::Http1 {
            if ahead.starts_with(HTTP2_PREFACE) {
                return Ok(Arrival::Http2);
            }
            match (HTTP2_PREFACE.starts_with(ahead), expected) {
                (true, _) => {}
                (false, Expected::Http2) => return Ok(Arrival::Garbage),
                (false, Expected::Http1 | Expected::Either) => expected = Expected::Http1,
            }
        }
        if expected == Expected::Http1
            && let Some(whole) = head.read(ahead, limits)?
        {
            stream.begin_request(whole, limits.body_timeout);
            return Ok(Arrival::Http1);
        }
        match stream.read_ahead().await {
            Ok(0) | Err(_) => return Ok(Arrival::Over),
            Ok(_) => {}
        }
    }
}
