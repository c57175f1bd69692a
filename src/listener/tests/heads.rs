use tokio::io::AsyncWriteExt;

use super::world::*;

async fn refused(request: &str) -> (u16, String) {
    let running = run(plain());
    let answer = ask(running.address(), request).await;
    running.has_open(0).await;
    (status(&answer), answer)
}

#[tokio::test]
async fn heads_that_must_not_be_passed_on_are_answered_by_the_gateways_own_pen() {
    for (expected, head) in [
        (
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        (400, "GET / HTTP/1.0\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n"),
        (400, "GET / HTTP/1.1\nhost: a\n\n"),
        (400, "\x16\x03\x01 this is not HTTP\r\n\r\n"),
        (405, "CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let (status, answer) = refused(head).await;
        assert_eq!(status, expected, "{head:?}: {answer}");
        assert!(answer.contains("for 127.0.0.1"), "not written by the gateway: {answer}");
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_431_and_a_long_target_414_and_the_client_gets_the_answer() {
    let many = "x: y\r\n".repeat(10_000);
    let (status, _) = refused(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await;
    assert_eq!(status, 431);
    let large = "y".repeat(100_000);
    let (status, _) = refused(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {large}\r\n\r\n")).await;
    assert_eq!(status, 431);
    let (status, _) = refused(&format!("GET /{large} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    assert_eq!(status, 414);
}

#[tokio::test]
async fn refusals_are_counted_by_what_was_wrong() {
    let running = run(plain());
    ask(running.address(), "nonsense\r\n\r\n").await;
    ask(running.address(), &format!("GET /{} HTTP/1.1\r\n", "a".repeat(1_100))).await;
    assert_eq!(running.refusals("malformed-head"), 1);
    assert_eq!(running.refusals("uri-too-long"), 1);
}

#[tokio::test]
async fn a_refused_head_ends_a_connection_that_was_fine_before() {
    let running = run(plain());
    let mut stream = connect(running.address()).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_answer(&mut stream).await), 200);
    stream.write_all(b"nonsense\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert_eq!(status(&answer), 400);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}
