use std::time::Duration;

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::{HttpPeer, PeerOptions};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::world::*;
use crate::config::model::ClientCertificates;

#[tokio::test]
async fn many_requests_with_every_kind_of_body_share_one_connection() {
    let running = run(plain());
    let mut stream = connect(running.address()).await;
    for (request, told) in [
        ("GET /a HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a body=0"),
        ("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", "POST /b body=3"),
        (
            "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            "POST /c body=3",
        ),
        ("POST /d HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", "POST /d body=0"),
        ("\r\nGET /e HTTP/1.1\r\nhost: a\r\n\r\n", "GET /e body=0"),
        ("GET /g HTTP/1.1\r\nhost: a\r\n\r\n", "GET /g body=0"),
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.contains(told), "{request:?}: {answer}");
        assert_eq!(running.open_connections(), 1);
    }
}

#[tokio::test]
async fn a_request_may_come_in_any_pieces() {
    let running = run(plain());
    let text =
        b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    for cut in [1, 3, 4, 15, 16, 17, 40, text.len() - 6, text.len() - 5, text.len() - 1] {
        let mut stream = connect(running.address()).await;
        stream.set_nodelay(true).unwrap();
        stream.write_all(&text[..cut]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        stream.write_all(&text[cut..]).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.contains("POST /x body=5"), "cut at {cut}: {answer}");
    }
}

#[tokio::test]
async fn a_large_body_goes_through_whole() {
    let running = run(plain());
    let mut stream = connect(running.address()).await;
    let body = vec![b'x'; 3_000_000];
    let head = format!("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    assert!(read_answer(&mut stream).await.contains("body=3000000"));
}

#[tokio::test]
async fn a_request_shorter_than_the_http2_preface_is_answered() {
    let running = run(plain());
    let answer = ask(running.address(), "P / HTTP/1.0\r\nhost:a\r\n\r\n").await;
    assert!(answer.contains("P / body=0"), "{answer}");
    let answer = ask(running.address(), "PRI / HTTP/1.0\r\nhost:a\r\n\r\n").await;
    assert!(answer.contains("PRI / body=0"), "it only begins like the preface: {answer}");
}

fn http2_options() -> PeerOptions {
    let mut options = PeerOptions::new();
    options.alpn = ALPN::H2;
    options.verify_cert = false;
    options
}

/// What the gateway saw of a request over HTTP/2.
async fn over_http2(running: &Running, tls: bool) -> String {
    let mut peer = HttpPeer::new(running.address(), tls, "a".to_owned());
    peer.options = http2_options();
    let connector: Connector = Connector::new(None);
    let (mut session, reused) = connector.get_http_session(&peer).await.unwrap();
    assert!(!reused && session.as_http2().is_some(), "it is not HTTP/2");
    let mut head = RequestHeader::build("POST", b"/over-http2", None).unwrap();
    head.insert_header("host", "a").unwrap();
    session.write_request_header(Box::new(head)).await.unwrap();
    session.write_request_body("abcd".into(), true).await.unwrap();
    session.finish_request_body().await.unwrap();
    session.read_response_header().await.unwrap();
    let mut told = Vec::new();
    while let Some(piece) = session.read_response_body().await.unwrap() {
        told.extend_from_slice(&piece);
    }
    String::from_utf8(told).unwrap()
}

#[tokio::test]
async fn http2_is_served_by_prior_knowledge_and_by_alpn() {
    let running = run(plain());
    let told = timeout(PATIENCE, over_http2(&running, false)).await.unwrap();
    assert!(told.contains("POST /over-http2 body=4 https=Some(false)"), "{told}");
    let authority = Authority::new("test");
    let signed = authority.sign("one", &["a"]);
    let running = run(with_tls(vec![signed.files()], ClientCertificates::None));
    let told = timeout(PATIENCE, over_http2(&running, true)).await.unwrap();
    assert!(told.contains("POST /over-http2 body=4 https=Some(true) name=Some(\"a\")"), "{told}");
}

#[tokio::test]
async fn a_flood_of_headers_over_http2_is_431() {
    let running = run(plain());
    let mut peer = HttpPeer::new(running.address(), false, String::new());
    peer.options = http2_options();
    let (mut session, _) = Connector::<()>::new(None).get_http_session(&peer).await.unwrap();
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    head.insert_header("host", "a").unwrap();
    head.insert_header("x-large", "y".repeat(20_000)).unwrap();
    session.write_request_header(Box::new(head)).await.unwrap();
    session.finish_request_body().await.unwrap();
    timeout(PATIENCE, session.read_response_header()).await.unwrap().unwrap();
    assert_eq!(session.response_header().unwrap().status, 431);
    assert_eq!(running.began(), 0);
}

#[tokio::test]
async fn http2_is_refused_where_the_port_does_not_have_it() {
    let mut listener = plain();
    listener.http2 = false;
    let running = run(listener);
    let answer = ask(running.address(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(status(&answer), 400);
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends_the_service() {
    let running = run(plain());
    let mut idle = connect(running.address()).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_answer(&mut idle).await;
    running.stop.send(true).unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    timeout(PATIENCE, running.serving).await.expect("the service goes on").unwrap();
}

#[tokio::test]
async fn a_stop_lets_a_request_in_progress_end() {
    let running = run(plain());
    let mut stream = connect(running.address()).await;
    stream.write_all(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na").await.unwrap();
    eventually(|| running.began() == 1).await;
    running.stop.send(true).unwrap();
    stream.write_all(b"bc").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("POST /x body=3"), "{answer}");
}
