//! A backend whose answer comes bit by bit, for as long as a test wants.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PIECE: &[u8] = b"1\r\nx\r\n";

pub struct Download {
    port: u16,
    ends: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Download {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ends = watch::Sender::new(false);
        let end = ends.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, end.clone()));
            }
        });
        Self { port, ends, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers go on from now on.
    pub fn begin(&self) {
        self.ends.send_replace(false);
    }

    /// Lets all answers come to their end.
    pub fn end(&self) {
        self.ends.send_replace(true);
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, end: watch::Receiver<bool>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"GET /failing") {
        let mut end = end;
        let _ = end.wait_for(|end| *end).await;
        let failure = b"HTTP/1.1 500 Failed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(failure).await;
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    while !*end.borrow() {
        stream.write_all(PIECE).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream.write_all(b"3\r\nend\r\n0\r\n\r\n").await
}
