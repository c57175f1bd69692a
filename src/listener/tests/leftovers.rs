use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora::services::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::world::*;
use crate::listener::body::Body;
use crate::listener::connection::Connection;
use crate::listener::head::Whole;
use crate::listener::seats::Seats;
use crate::listener::stream::ClientStream;
use crate::listener::{EarlyAnswer, Ports, Sockets};
use crate::observe::Metrics;

/// Answers without reading the body, and gives the connection back all the same.
struct Careless;

#[async_trait]
impl HttpServerApp for Careless {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        session.read_request().await.ok()?;
        let mut head = ResponseHeader::build(StatusCode::OK, None).unwrap();
        head.insert_header("content-length", 0).unwrap();
        session.write_response_header(Box::new(head)).await.ok()?;
        session.finish_body().await.ok()?;
        match session {
            ServerSession::H1(session) => Some(ReusedHttpStream::new(session.into_inner(), None)),
            _ => None,
        }
    }
}

#[tokio::test]
async fn what_is_left_of_a_body_is_never_taken_for_a_request() {
    let answers: Arc<dyn EarlyAnswer> = Arc::new(Plain);
    let listeners = vec![(Arc::new(plain()), Arc::new(Careless))];
    let (mut ports, handle) =
        Ports::bind(listeners, &mut Sockets::default(), &Arc::default(), &answers).unwrap();
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(async move { Service::start_service(&mut ports, None, stopping, 1).await });
    let mut stream = connect(handle.addresses()[0]).await;

    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_answer(&mut stream).await), 200);
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", smuggled.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(status(&read_answer(&mut stream).await), 200);
    let _ = stream.write_all(smuggled.as_bytes()).await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

/// A connection whose other end is in memory.
fn in_memory(timeout: Duration) -> (ClientStream, tokio::io::DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1024);
    let listener = with_limits(|limits| limits.body_timeout = timeout);
    let peer = "192.0.2.1:9".parse().unwrap();
    let seat = Arc::new(Seats::default()).take("192.0.2.1".parse().unwrap(), &listener.limits);
    let connection = Connection {
        peer,
        listener: Arc::new(listener),
        server_name: None,
        certificate_thumbprint: None,
    };
    let metrics = Arc::new(Metrics::default());
    let stream =
        ClientStream::new(Box::new(ours), Arc::new(connection), seat.unwrap(), metrics).unwrap();
    (stream, theirs)
}

#[tokio::test(start_paused = true)]
async fn a_body_is_cut_off_at_its_deadline_also_if_more_of_it_is_always_there() {
    let timeout = Duration::from_secs(5);
    let (mut stream, mut client) = in_memory(timeout);
    stream.begin_request(Whole { length: 0, body: Body::Length(1_000) }, timeout);
    client.write_all(&[b'x'; 1_000]).await.unwrap();
    let mut piece = [0; 100];
    tokio::time::advance(timeout - Duration::from_millis(10)).await;
    assert_eq!(stream.read(&mut piece).await.unwrap(), 100);
    tokio::time::advance(Duration::from_millis(10)).await;
    let error = stream.read(&mut piece).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn once_a_body_has_come_whole_its_deadline_is_no_more() {
    let timeout = Duration::from_secs(5);
    let (mut stream, mut client) = in_memory(timeout);
    stream.begin_request(Whole { length: 0, body: Body::Length(3) }, timeout);
    client.write_all(b"abcd").await.unwrap();
    let mut piece = [0; 3];
    stream.read_exact(&mut piece).await.unwrap();
    tokio::time::advance(timeout * 2).await;
    assert_eq!(stream.read(&mut piece).await.unwrap(), 1);
}
