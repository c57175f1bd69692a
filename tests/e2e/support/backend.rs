//! A backend that answers exactly what a test wants, for what the bank never says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream;
use http::{Response, Version, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as the backend got it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub version: Version,
    pub host: String,
    pub target: String,
    /// By name; the last one of a name that comes several times.
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

/// A server on a port of its own.
pub struct Backend {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Backend {
    /// Answers every request with what `answer` makes of it. A body under `transfer-encoding:
    /// chunked` goes out in pieces; any other with its length.
    pub async fn start(answer: impl Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        Self::speaking(Version::HTTP_11, answer).await
    }

    /// The same in HTTP/2 alone, by prior knowledge.
    pub async fn start_http2(
        answer: impl Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self::speaking(Version::HTTP_2, answer).await
    }

    async fn speaking(
        version: Version,
        answer: impl Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(version, listener, Arc::new(answer), seen.clone()));
        Self { port, seen, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = dyn Fn(&Seen) -> Response<Bytes> + Send + Sync;

async fn serve(
    version: Version,
    listener: TcpListener,
    answer: Arc<Answer>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, seen) = (answer.clone(), seen.clone());
        let service = service_fn(move |request| {
            let (answer, seen) = (answer.clone(), seen.clone());
            async move {
                let request = read(request).await;
                seen.lock().unwrap().push(request.clone());
                Ok::<_, Infallible>(framed(answer(&request)))
            }
        });
        let stream = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            let serving = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serving.serve_connection(stream, service));
        } else {
            tokio::spawn(http1::Builder::new().serve_connection(stream, service));
        }
    }
}

async fn read(request: http::Request<Incoming>) -> Seen {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter().map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let host = head.headers.get(header::HOST).map(|host| host.to_str().unwrap().to_owned());
    Seen {
        version: head.version,
        host: host.or_else(|| head.uri.host().map(str::to_owned)).unwrap_or_default(),
        target: head.uri.to_string(),
        headers: headers.collect(),
        body: body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
    }
}

fn framed(answer: Response<Bytes>) -> Response<BoxBody<Bytes, Infallible>> {
    let chunked = answer.headers().contains_key(header::TRANSFER_ENCODING);
    answer.map(|body| {
        if !chunked {
            return Full::new(body).boxed();
        }
        let pieces: Vec<_> = body
            .chunks(7_001)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        StreamBody::new(stream::iter(pieces)).boxed()
    })
}
