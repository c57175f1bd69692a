use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::world::*;
use crate::config::model::ClientCertificates;

const SHORT: Duration = Duration::from_millis(300);

/// Sends a byte every 20 ms; how long the other end took it.
async fn drip(stream: &mut TcpStream, text: &[u8]) -> (Duration, String) {
    let began = Instant::now();
    let mut answer = Vec::new();
    for byte in text.iter().cycle() {
        assert!(began.elapsed() < PATIENCE, "the other end took it all");
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        let mut buffer = [0; 1024];
        match timeout(Duration::from_millis(20), stream.read(&mut buffer)).await {
            Err(_) => {}
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
        }
    }
    (began.elapsed(), String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_head_that_drips_in_is_cut_off_at_its_deadline() {
    let running = run(with_limits(|limits| limits.header_timeout = SHORT));
    let mut stream = connect(running.address()).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").await.unwrap();
    let (lasted, answer) = drip(&mut stream, b"x: y\r\n").await;
    assert!(lasted >= SHORT - Duration::from_millis(50), "{lasted:?}");
    assert!(lasted < SHORT * 10, "{lasted:?}");
    assert_eq!(status(&answer), 408, "{answer}");
    assert_eq!(running.refusals("header-timeout"), 1);
    running.has_open(0).await;
}

#[tokio::test]
async fn the_second_head_on_a_connection_has_a_deadline_too() {
    let running = run(with_limits(|limits| limits.header_timeout = SHORT));
    let mut stream = connect(running.address()).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_answer(&mut stream).await;
    // Longer than a head's time: waiting for a request isn't sending one.
    sleep(SHORT * 2).await;
    stream.write_all(b"GET / HT").await.unwrap();
    assert_eq!(status(&read_to_end(&mut stream).await), 408);
    assert_eq!(running.refusals("header-timeout"), 1);
}

#[tokio::test]
async fn two_hundred_slow_connections_are_gone_after_the_deadline_and_others_are_served_meanwhile()
{
    let running = run(with_limits(|limits| {
        limits.header_timeout = SHORT;
        limits.max_connections = 300;
        limits.max_connections_per_address = 300;
    }));
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(running.address()).await;
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
    }
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&ask(running.address(), get).await), 200);
    running.has_open(0).await;
    assert_eq!(running.refusals("header-timeout"), 200);
}

#[tokio::test]
async fn a_body_that_drips_in_is_cut_off_at_its_deadline_and_told_so() {
    for head in ["content-length: 100000", "transfer-encoding: chunked"] {
        let running = run(with_limits(|limits| limits.body_timeout = SHORT));
        let mut stream = connect(running.address()).await;
        stream
            .write_all(format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let (lasted, answer) = drip(&mut stream, b"1\r\nx\r\n").await;
        assert!(lasted >= SHORT - Duration::from_millis(50), "{head}: {lasted:?}");
        assert!(lasted < SHORT * 10, "{head}: {lasted:?}");
        assert_eq!(status(&answer), 408, "{head}: {answer}");
        assert_eq!(running.refusals("body-timeout"), 1);
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_cut_off_as_well() {
    let running = run(with_limits(|limits| limits.body_timeout = SHORT));
    let mut stream = connect(running.address()).await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc").await.unwrap();
    assert_eq!(status(&read_to_end(&mut stream).await), 408);
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_idle_time() {
    let running = run(with_limits(|limits| limits.idle_timeout = SHORT));
    let mut never = connect(running.address()).await;
    let mut once = connect(running.address()).await;
    once.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_answer(&mut once).await), 200);
    let began = Instant::now();
    assert_eq!(read_to_end(&mut once).await, "");
    assert!(began.elapsed() >= SHORT - Duration::from_millis(50), "{:?}", began.elapsed());
    assert_eq!(read_to_end(&mut never).await, "");
    running.has_open(0).await;
}

#[tokio::test]
async fn a_tls_handshake_that_does_not_go_on_is_closed() {
    let authority = Authority::new("test");
    let mut listener =
        with_tls(vec![authority.sign("one", &["a"]).files()], ClientCertificates::None);
    listener.limits.header_timeout = SHORT;
    let running = run(listener);
    let mut silent = connect(running.address()).await;
    assert_eq!(read_to_end(&mut silent).await, "");
    let mut half = connect(running.address()).await;
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    assert_eq!(read_to_end(&mut half).await, "");
    assert_eq!(running.refusals("tls-timeout"), 2);
    running.has_open(0).await;
}

#[tokio::test]
async fn an_http2_preface_that_does_not_go_on_is_closed() {
    let running = run(with_limits(|limits| limits.header_timeout = SHORT));
    let mut stream = connect(running.address()).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    assert_eq!(running.refusals("header-timeout"), 1);
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let running = run(with_limits(|limits| limits.idle_timeout = SHORT));
    let mut stream = connect(running.address()).await;
    // The preface and an empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert_eq!(answer.as_bytes().get(3), Some(&4), "it began with SETTINGS: {answer:?}");
    running.has_open(0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let running = run(with_limits(|limits| limits.body_timeout = SHORT));
    let mut stream = connect(running.address()).await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    running.has_open(1).await;
    running.has_open(0).await;
    assert_eq!(running.refusals("answer-not-read"), 1);
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_reads_gets_its_whole_answer() {
    let running = run(with_limits(|limits| limits.body_timeout = Duration::from_secs(1)));
    let mut stream = connect(running.address()).await;
    let request = b"GET /endless HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let began = Instant::now();
    let (mut total, mut buffer) = (0, vec![0; 4 * 1024 * 1024]);
    loop {
        match timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap() {
            0 => break,
            count => total += count,
        }
        // For two seconds at most 4 MiB every 150 ms: slower than the deadline as a whole, never
        // without progress for that long.
        if began.elapsed() < Duration::from_secs(2) {
            sleep(Duration::from_millis(150)).await;
        }
    }
    assert!(total > 64 * 1024 * 1024, "{total}");
    assert_eq!(running.refusals("answer-not-read"), 0);
}
