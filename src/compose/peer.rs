use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use uuid::Uuid;

use super::answer::ComposedAnswer;
use super::composer::{ComposeInputs, Composer};
use super::report::ComposeOutcome;

/// Bytes under way between the proxy and the composer in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// Fields that the in-process request may have. The listener has bounded the client's; this only
/// has to leave room for them and for the gateway's own.
const MAX_FIELDS: usize = 512;

impl Composer {
    /// A backend of one request's own, in this process: connecting to it gives a pipe with the
    /// composer at the other end. So a composed answer takes the same way through the proxy as a
    /// backend's does: cache, coalescing, filters, logging.
    ///
    /// The connection carries one exchange and is closed by the composer, so that it never enters
    /// the pool. When the client goes, the proxy drops its end, and the composition is dropped
    /// with all its calls. `outcome` has the report before the proxy sees the answer's head.
    ///
    /// A composition that fails answers 502 or 504 without a body; `outcome` has the refusal.
    pub fn peer(
        self: &Arc<Self>,
        inputs: Arc<ComposeInputs>,
        outcome: &ComposeOutcome,
    ) -> HttpPeer {
        // Nobody listens there: the address is only what the proxy's own messages show.
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut peer = HttpPeer::new(nowhere, false, String::new());
        let composer = Arc::clone(self);
        let outcome = outcome.clone();
        peer.options.custom_l4 = Some(Arc::new(InProcess { composer, inputs, outcome }));
        // The pool is asked by this key before a connection is made: one that nobody else has.
        peer.group_key = Uuid::new_v4().as_u64_pair().1;
        peer
    }
}

/// Connects to the composer.
struct InProcess {
    composer: Arc<Composer>,
    inputs: Arc<ComposeInputs>,
    outcome: ComposeOutcome,
}

#[async_trait]
impl L4Connect for InProcess {
    async fn connect(&self, _address: &PeerAddress) -> pingora::Result<Stream> {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let composer = Arc::clone(&self.composer);
        tokio::spawn(serve(far, composer, Arc::clone(&self.inputs), self.outcome.clone()));
        Ok(VirtualSocketStream::new(Box::new(Pipe(near))).into())
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InProcess").field(&self.composer).finish()
    }
}

/// Serves one exchange. Without half-closed connections, hyper ends as soon as the other end is
/// dropped, in the middle of an exchange too, and drops the composition.
async fn serve(
    far: DuplexStream,
    composer: Arc<Composer>,
    inputs: Arc<ComposeInputs>,
    outcome: ComposeOutcome,
) {
    let service = service_fn(|request| {
        answer(Arc::clone(&composer), Arc::clone(&inputs), outcome.clone(), request)
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .half_close(false)
        .header_read_timeout(None)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(far), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(route = %composer.route, %error, "composition broken off");
    }
}

async fn answer(
    composer: Arc<Composer>,
    inputs: Arc<ComposeInputs>,
    outcome: ComposeOutcome,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    // What the parts need of the body is in `inputs`; unread, it would hold the proxy up, and hide
    // from hyper that the other end is gone.
    while let Some(Ok(_)) = body.frame().await {}
    let (answer, report) = composer.compose(&inputs, &head.headers).await;
    outcome.set(report);
    Ok(answer.into())
}

impl From<ComposedAnswer> for Response<Full<Bytes>> {
    fn from(answer: ComposedAnswer) -> Self {
        let mut response = Response::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

/// The proxy's end of the pipe.
#[derive(Debug)]
struct Pipe(DuplexStream);

impl VirtualSocket for Pipe {
    /// A pipe has neither delays nor probes to set.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
