use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::{HeaderMap, StatusCode, Version, header};
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, RetryType};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::failure::{Failure, Wait};
use super::peer::{POOL_IDLE, fresh};
use crate::config::model::Deadlines;

/// Informational answers (RFC 9110 section 15.2) passed over before the real one.
const MOST_INFORMATIONAL: usize = 16;

/// One request and its answer over one connection.
///
/// Dropping it half way closes the connection, or resets the stream where others share it, so no
/// later request can read the rest of this answer.
pub(super) struct Exchange {
    connector: Arc<Connector>,
    /// The peer under whose key the connection goes back to the pool.
    peer: HttpPeer,
    deadlines: Deadlines,
    /// Gone only within [`Exchange::finish`] and `drop`.
    session: Option<HttpSession>,
    reused: bool,
    keep: bool,
}

/// A failure, and whether the endpoint is to blame.
#[derive(Debug)]
pub(super) struct Broken {
    /// What happened.
    pub failure: Failure,
    /// A kept connection was closed by the backend just as the request went out: no sign of
    /// trouble, and the request was most likely not seen (RFC 9112 section 9.3.1).
    pub stale: bool,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self { failure, stale: false }
    }
}

impl Exchange {
    /// Takes a connection from the pool or makes one.
    pub async fn open(
        connector: &Arc<Connector>,
        peer: HttpPeer,
        deadlines: Deadlines,
    ) -> Result<Self, Broken> {
        let opened = Self::connect(connector, &peer, deadlines.connect).await;
        let (session, reused) = opened?;
        let connector = Arc::clone(connector);
        Ok(Self { connector, peer, deadlines, session: Some(session), reused, keep: true })
    }

    /// Makes a new HTTP/1.1 connection even if the pool has one; it goes back to the same pool.
    /// An HTTP/2 connection that is closing is known as such and not used again anyway.
    pub async fn open_fresh(
        connector: &Arc<Connector>,
        peer: HttpPeer,
        deadlines: Deadlines,
    ) -> Result<Self, Broken> {
        if peer.options.alpn.get_max_http_version() != 1 {
            return Self::open(connector, peer, deadlines).await;
        }
        let opened = Self::connect(connector, &fresh(peer.clone()), deadlines.connect).await;
        let (session, reused) = opened?;
        let connector = Arc::clone(connector);
        Ok(Self { connector, peer, deadlines, session: Some(session), reused, keep: true })
    }

    async fn connect(
        connector: &Connector,
        peer: &HttpPeer,
        allowed: Duration,
    ) -> Result<(HttpSession, bool), Broken> {
        match timeout(allowed, connector.get_http_session(peer)).await {
            Ok(Ok(opened)) => Ok(opened),
            // A shared connection ended before it gave this request a stream.
            Ok(Err(error)) if error.etype == ErrorType::H2Error => {
                Err(Broken { failure: Failure::connecting(&error), stale: true })
            }
            Ok(Err(error)) => Err(Failure::connecting(&error).into()),
            // HTTP/2 with all streams of a connection in use waits for one to end.
            Err(_) => Err(Failure::Connect("not in time".into()).into()),
        }
    }

    /// Sends the request.
    pub async fn send(&mut self, head: RequestHeader, body: Bytes) -> Result<(), Broken> {
        let (idle, reused) = (self.deadlines.idle, self.reused);
        let session = self.session()?;
        session.set_write_timeout(Some(idle));
        let sent = async {
            match session {
                // `HttpSession` would end a stream without a body by an empty frame.
                HttpSession::H2(stream) if body.is_empty() => {
                    stream.write_request_header(Box::new(head), true)
                }
                session => {
                    session.write_request_header(Box::new(head)).await?;
                    if !body.is_empty() {
                        session.write_request_body(body, false).await?;
                    }
                    session.finish_request_body().await
                }
            }
        };
        match timeout(idle, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.etype == ErrorType::WriteError => {
                Err(Broken { failure: Failure::Reset, stale: reused })
            }
            Ok(Err(error)) => Err(Failure::waiting(&error).into()),
            Err(_) => Err(Failure::TimedOut(Wait::Request).into()),
        }
    }

    /// Waits for the answer's head.
    pub async fn head(&mut self) -> Result<(StatusCode, HeaderMap), Broken> {
        let first_byte = self.deadlines.first_byte;
        let read = match timeout(first_byte, self.read_head()).await {
            Ok(read) => read,
            Err(_) => {
                // Should the connection be dead without a word, it must not take more requests.
                self.distrust();
                Err(Failure::TimedOut(Wait::FirstByte).into())
            }
        };
        read?;
        let head = self.response()?;
        if has_unknown_coding(&head.headers) {
            return Err(Failure::Garbage.into());
        }
        Ok((head.status, head.headers.clone()))
    }

    async fn read_head(&mut self) -> Result<(), Broken> {
        let reused = self.reused;
        for _ in 0..MOST_INFORMATIONAL {
            let read = self.session()?.read_response_header().await;
            read.map_err(|error| broken(&error, reused))?;
            let status = self.response()?.status;
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Failure::Garbage.into());
            }
            if !status.is_informational() {
                return Ok(());
            }
        }
        Err(Failure::Garbage.into())
    }

    /// Reads the whole body, at most `limit` bytes of it.
    pub async fn body(&mut self, limit: u64) -> Result<Bytes, Failure> {
        let said = self.said_length();
        if said.is_some_and(|length| length > limit) {
            return Err(Failure::TooLarge { limit });
        }
        let room = said.unwrap_or(0).min(64 * 1024);
        let mut whole = BytesMut::with_capacity(usize::try_from(room).unwrap_or(0));
        while let Some(part) = self.part().await? {
            if (whole.len() as u64).saturating_add(part.len() as u64) > limit {
                return Err(Failure::TooLarge { limit });
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    async fn part(&mut self) -> Result<Option<Bytes>, Failure> {
        let idle = self.deadlines.idle;
        match timeout(idle, self.session()?.read_response_body()).await {
            Ok(read) => read.map_err(|error| Failure::reading(&error)),
            Err(_) => Err(Failure::TimedOut(Wait::NextPart)),
        }
    }

    /// The length that the answer says it has; none for answers that have no body by nature.
    fn said_length(&self) -> Option<u64> {
        let head = self.session.as_ref()?.response_header()?;
        head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Gives the connection back to the pool once the answer was read whole.
    pub async fn finish(mut self) -> Result<(), Failure> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        if longer_than_said(&mut session) {
            return Err(Failure::WrongLength);
        }
        self.connector.release_http_session(session, &self.peer, Some(POOL_IDLE)).await;
        Ok(())
    }

    /// Lets no other request use this connection.
    pub fn distrust(&mut self) {
        self.keep = false;
    }

    fn session(&mut self) -> Result<&mut HttpSession, Failure> {
        self.session.as_mut().ok_or(Failure::Reset)
    }

    fn response(&self) -> Result<&ResponseHeader, Failure> {
        self.session.as_ref().and_then(HttpSession::response_header).ok_or(Failure::Reset)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // An HTTP/1.1 session closes its connection as it falls. An HTTP/2 one only resets its
        // stream, and unless it is released, the pool keeps the connection for ever.
        let Some(HttpSession::H2(stream)) = self.session.take() else { return };
        if !self.keep {
            stream.conn.mark_shutdown();
        }
        // Without a runtime (the process ends) there is nothing to keep either.
        if Handle::try_current().is_ok() {
            let session = HttpSession::H2(stream);
            let released =
                self.connector.release_http_session(session, &self.peer, Some(POOL_IDLE));
            // Releasing HTTP/2 never waits.
            let _ = released.now_or_never();
        }
    }
}

/// Whether an answer has a transfer coding other than `chunked`. Its body would pass as what it is
/// not, and where it broke off nobody would see it.
pub fn has_unknown_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => !coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}

fn broken(error: &Error, reused: bool) -> Broken {
    let stale = match error.retry {
        RetryType::ReusedOnly => reused,
        // A graceful GOAWAY, or a stream refused before any work was done.
        RetryType::Decided(retry) => retry && error.etype == ErrorType::H2Error,
    };
    Broken { failure: Failure::waiting(error), stale }
}

/// Whether an HTTP/1.1 backend sent more than the answer's length. Pingora doesn't say so, but
/// refuses to keep such a connection that by its head could be kept.
fn longer_than_said(session: &mut HttpSession) -> bool {
    let HttpSession::H1(session) = session else { return false };
    let keepable = session.resp_header().is_some_and(|head| {
        let framed = head.headers.contains_key(header::CONTENT_LENGTH)
            || head.headers.contains_key(header::TRANSFER_ENCODING);
        head.version == Version::HTTP_11 && framed && !head.headers.contains_key(header::CONNECTION)
    });
    session.respect_keepalive();
    keepable && !session.will_keepalive()
}
