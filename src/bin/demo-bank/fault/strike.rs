//! How a fault strikes a request: some as an answer of HTTP, some below HTTP.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::response::Parts;

use super::{Fault, FaultSwitch, Setting};
use crate::problem::Problem;
use crate::server::{Script, Then, Wire};

/// Every answer of the bank that is worth mangling is smaller; `huge` and `endless` make their own bodies.
const LARGEST_MANGLED: usize = 16 << 20;

const HUGE: usize = 64 << 20;
const CHUNK: usize = 64 << 10;

/// The path that health checks ask for. Faults pass it by, except for `down`.
const HEALTH: &str = "/healthz";

/// What becomes of a request.
pub enum Blow {
    /// An answer that is HTTP.
    Answer(Response),
    /// The connection is taken out of HTTP's hands: these bytes go out on it.
    Wire(Script),
}

impl Blow {
    /// The answer. Never comes when the wire is what was struck: the connection ends instead.
    pub async fn land(self, wire: Option<Wire>) -> Response {
        match (self, wire) {
            (Self::Answer(answer), _) => answer,
            (Self::Wire(script), Some(wire)) => wire.play(script).await,
            (Self::Wire(_), None) => {
                Problem::internal("this request came on no connection").into_response()
            }
        }
    }
}

/// Lets the request through, or strikes it with what the switch says.
///
/// Faults that spoil the answer let the request have its effect first: that is what makes a retry dangerous.
pub async fn strike(switch: &FaultSwitch, request: Request, next: Next) -> Blow {
    if request.uri().path() == HEALTH {
        return match switch.setting().fault {
            Fault::Down | Fault::Refuse => {
                Blow::Answer(Problem::unavailable("this service is down").into_response())
            }
            _ => Blow::Answer(next.run(request).await),
        };
    }
    let setting = switch.take();
    match setting.fault {
        Fault::Ok => Blow::Answer(next.run(request).await),
        Fault::Slow => {
            switch.pause(setting.slowness()).await;
            Blow::Answer(next.run(request).await)
        }
        Fault::InternalError => {
            Blow::Answer(Problem::internal("something went wrong here").into_response())
        }
        Fault::GarbageJson => Blow::Answer(garbage_json(next.run(request).await)),
        Fault::Endless => Blow::Answer(json_stream(endless(switch.clone()))),
        Fault::Huge => Blow::Answer(json_stream(huge())),
        Fault::Down | Fault::Refuse => {
            Blow::Wire(Script { bytes: Bytes::new(), then: Then::Close })
        }
        Fault::Garbage | Fault::Cut | Fault::WrongLength | Fault::ShortLength | Fault::Smuggle => {
            mangle(setting, next.run(request).await).await
        }
    }
}

async fn mangle(setting: Setting, answer: Response) -> Blow {
    let (parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_MANGLED).await else {
        return Blow::Answer(
            Problem::internal("the answer is too large to be mangled").into_response(),
        );
    };
    let half = body.len() / 2;
    let (bytes, then) = match setting.fault {
        Fault::Garbage => (Bytes::from_static(GARBAGE), Then::Close),
        Fault::Cut => {
            (message(&parts, body.len(), body.get(..half).unwrap_or_default()), Then::Close)
        }
        Fault::WrongLength => (message(&parts, body.len() + 100, &body), Then::Close),
        Fault::ShortLength => (message(&parts, half, &body), Then::Linger),
        Fault::Smuggle => {
            let mut both = BytesMut::from(message(&parts, body.len(), &body));
            both.put_slice(SMUGGLED);
            (both.freeze(), Then::Linger)
        }
        // The caller's match sends no other fault here; an unspoilt answer is the harmless reading.
        _ => (message(&parts, body.len(), &body), Then::Close),
    };
    Blow::Wire(Script { bytes, then })
}

/// Neither a status line nor text.
const GARBAGE: &[u8] =
    b"\x16\x03\x01\x00\xfe\xff\x00\x00 0x7F lp0 on fire \x00\x01\x02\r\n\r\n\xc3\x28\xa0\xa1";

/// An answer that no request asked for.
const SMUGGLED: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{\"smuggled\":true}";

/// Starts like an account and then loses its way.
const NOT_JSON: &str = r#"{"accountId":"A1","balance":{"current":12.,},,"transactions":[{"#;

/// The answer as bytes on the wire, under any content-length.
fn message(parts: &Parts, content_length: usize, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(512 + body.len());
    bytes.put_slice(format!("HTTP/1.1 {}\r\n", parts.status).as_bytes());
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_slice(b": ");
        bytes.put_slice(value.as_bytes());
        bytes.put_slice(b"\r\n");
    }
    bytes.put_slice(format!("content-length: {content_length}\r\n\r\n").as_bytes());
    bytes.put_slice(body);
    bytes.freeze()
}

fn garbage_json(answer: Response) -> Response {
    let (mut parts, _) = answer.into_parts();
    parts.status = http::StatusCode::OK;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(NOT_JSON))
}

fn json_stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(chunks.map(Ok::<_, Infallible>));
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Goes on until the client leaves or the switch is set again.
fn endless(switch: FaultSwitch) -> impl Stream<Item = Bytes> {
    let opening = Bytes::from_static(b"{\"transactions\":[");
    let mut settings = switch.watch();
    let until_set = async move {
        let _ = settings.changed().await;
    };
    let items =
        stream::repeat(Bytes::from_static(b"{\"transactionId\":\"again\",\"amount\":\"-1.00\"},"))
            .then(|item| async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                item
            })
            .take_until(Box::pin(until_set));
    stream::once(async { opening }).chain(items)
}

fn huge() -> impl Stream<Item = Bytes> {
    let filling = stream::repeat(Bytes::from(vec![b'x'; CHUNK])).take(HUGE / CHUNK);
    stream::once(async { Bytes::from_static(b"{\"padding\":\"") })
        .chain(filling)
        .chain(stream::once(async { Bytes::from_static(b"\"}") }))
}
