use tokio::io::AsyncWriteExt;

use super::world::*;
use crate::listener::{ListenerError, Sockets};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_port_in_use_is_reported_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut listener = plain();
    listener.address = taken.local_addr().unwrap();
    let error = refused(listener);
    assert!(matches!(error, ListenerError::AddressInUse(_)), "{error}");
    assert!(error.to_string().contains("in use"));
}

#[tokio::test]
async fn an_address_that_is_not_ours_is_reported_at_once() {
    let mut listener = plain();
    listener.address = "192.0.2.1:80".parse().unwrap();
    let error = refused(listener);
    assert!(matches!(error, ListenerError::Bind { .. }), "{error}");
}

#[tokio::test]
async fn one_connection_too_many_from_an_address_is_closed_and_an_end_makes_room() {
    let running = run(with_limits(|limits| limits.max_connections_per_address = 2));
    let (mut first, mut second) =
        (connect(running.address()).await, connect(running.address()).await);
    for held in [&mut first, &mut second] {
        held.write_all(GET).await.unwrap();
        assert_eq!(status(&read_answer(held).await), 200);
    }
    let mut third = connect(running.address()).await;
    let _ = third.write_all(GET).await;
    assert_eq!(read_to_end(&mut third).await, "");
    assert_eq!(running.refusals("connections-per-address"), 1);

    drop(first);
    running.has_open(1).await;
    let mut fourth = connect(running.address()).await;
    fourth.write_all(GET).await.unwrap();
    assert_eq!(status(&read_answer(&mut fourth).await), 200);
    second.write_all(GET).await.unwrap();
    assert_eq!(status(&read_answer(&mut second).await), 200);
}

#[tokio::test]
async fn one_connection_too_many_on_a_port_is_closed() {
    let running = run(with_limits(|limits| limits.max_connections = 1));
    let mut first = connect(running.address()).await;
    first.write_all(GET).await.unwrap();
    assert_eq!(status(&read_answer(&mut first).await), 200);
    assert_eq!(read_to_end(&mut connect(running.address()).await).await, "");
    assert_eq!(running.refusals("connections"), 1);
}

#[tokio::test]
async fn every_way_that_a_connection_ends_frees_its_seat() {
    let running = run(plain());
    let address = running.address();
    ask(address, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    ask(address, "nonsense\r\n\r\n").await;
    ask(address, "GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    drop(connect(address).await);
    let mut half = connect(address).await;
    half.write_all(b"GET / HT").await.unwrap();
    drop(half);
    running.has_open(0).await;
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only_and_is_counted() {
    let running = run(plain());
    let mut other = connect(running.address()).await;
    other.write_all(GET).await.unwrap();
    read_answer(&mut other).await;
    ask(running.address(), "GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    other.write_all(GET).await.unwrap();
    assert_eq!(status(&read_answer(&mut other).await), 200);
    let panics = running.metrics.exposition();
    let line =
        panics.lines().find(|line| line.contains("panic") && !line.starts_with('#')).unwrap();
    assert!(line.ends_with(" 1"), "{line}");
}

#[tokio::test]
async fn a_port_handed_over_by_the_process_before_is_served() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut listener = plain();
    listener.address = socket.local_addr().unwrap();
    let address = listener.address;
    let given = Sockets::from_predecessor(vec![(address, socket)], false);
    let running = open(vec![listener], given).unwrap().run();
    let mut stream = connect(address).await;
    stream.write_all(GET).await.unwrap();
    assert_eq!(status(&read_answer(&mut stream).await), 200);
    assert_eq!(running.address(), address);
}

#[tokio::test]
async fn while_a_port_is_shut_connections_wait_and_open_ones_get_an_answer_that_says_goodbye() {
    let running = run(plain());
    let mut open = connect(running.address()).await;
    open.write_all(GET).await.unwrap();
    assert_eq!(status(&read_answer(&mut open).await), 200);

    running.handle.shut().await;
    let mut waiting = connect(running.address()).await;
    waiting.write_all(GET).await.unwrap();
    open.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_answer(&mut open).await), 200);
    assert_eq!(running.began(), 2, "nobody accepted the one that waits");
    running.has_open(0).await;

    running.handle.open();
    assert_eq!(status(&read_answer(&mut waiting).await), 200);
}

#[tokio::test]
async fn an_idle_connection_stays_while_a_port_is_shut_until_it_is_ended() {
    let running = run(plain());
    let mut idle = connect(running.address()).await;
    idle.write_all(GET).await.unwrap();
    assert_eq!(status(&read_answer(&mut idle).await), 200);
    running.handle.shut().await;
    assert_eq!(running.open_connections(), 1);
    running.handle.close_idle();
    assert_eq!(read_to_end(&mut idle).await, "");
}
