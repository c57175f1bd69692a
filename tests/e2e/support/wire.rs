//! HTTP/1 by hand, since no client library sends what attackers do; and where its traces show.

use std::net::{Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Answer, PATIENCE, Tollgate, eventually};

/// One connection to a gateway, and what has come on it.
pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    pub async fn to(gateway: &Tollgate, port: u16) -> Self {
        Self::from(Ipv4Addr::LOCALHOST, gateway, port).await
    }

    /// From another of this machine's loopback addresses.
    pub async fn from(source: Ipv4Addr, gateway: &Tollgate, port: u16) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((source, 0))).unwrap();
        let stream = socket.connect((gateway.address(), port).into()).await.unwrap();
        Self { stream, ahead: Vec::new() }
    }

    /// Sends; a gateway that hung up meanwhile shows when its answer is read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        let ahead = String::from_utf8_lossy(&self.ahead).into_owned();
        self.try_answer().await.unwrap_or_else(|| panic!("no answer, only {ahead:?}"))
    }

    /// The next answer; `None` if the connection ends before its head does.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        let (status, headers) = self.head().await?;
        let length = headers.get("content-length").map(|text| text.to_str().unwrap());
        let body = match length {
            _ if status.is_informational() || status == 204 || status == 304 => Vec::new(),
            Some(length) => self.take(length.parse().unwrap()).await,
            None if headers.contains_key("transfer-encoding") => self.chunks().await,
            None => self.rest().await,
        };
        Some(Answer { status, headers, body })
    }

    /// Status and header fields of the next answer, leaving its body.
    pub async fn head(&mut self) -> Option<(StatusCode, HeaderMap)> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) =
                line.split_once(':').unwrap_or_else(|| panic!("{line:?} in {head}"));
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        Some((status, headers))
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = self.until(b"\r\n").await.expect("a chunk's size");
            let size = usize::from_str_radix(str::from_utf8(&size).unwrap().trim(), 16).unwrap();
            body.extend(self.take(size).await);
            assert_eq!(self.take(2).await, b"\r\n");
            if size == 0 {
                return body;
            }
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|bytes| bytes == end) {
                return Some(self.ahead.drain(..at + end.len()).collect());
            }
            if self.read().await == 0 {
                return None;
            }
        }
    }

    /// So many bytes.
    pub async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(self.read().await > 0, "the answer broke off: {self:?}");
        }
        self.ahead.drain(..length).collect()
    }

    /// Everything until the gateway hangs up.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.read().await > 0 {}
        std::mem::take(&mut self.ahead)
    }

    /// Waits until the gateway hangs up and asserts that it says nothing more before.
    pub async fn ends(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Whether the gateway has said something or hung up by now.
    pub async fn has_something(&mut self) -> bool {
        let read = timeout(std::time::Duration::ZERO, self.stream.readable()).await;
        !self.ahead.is_empty() || read.is_ok()
    }

    /// A reset is an end as well.
    async fn read(&mut self) -> usize {
        let reading = timeout(PATIENCE, self.stream.read_buf(&mut self.ahead)).await;
        reading.expect("neither an answer nor the connection's end came").unwrap_or(0)
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.ahead))
    }
}

/// The answer to these bytes on a connection of their own.
pub async fn ask(gateway: &Tollgate, bytes: impl AsRef<[u8]>) -> Answer {
    let mut wire = Wire::to(gateway, 8080).await;
    wire.send(bytes).await;
    wire.answer().await
}

/// Asserts that an answer is a problem as every one must be, of this kind; gives its request's id.
#[track_caller]
pub fn assert_problem(answer: &Answer, status: u16, kind: &str) -> String {
    let told = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{told} {:?}", answer.headers);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{told}");
    assert_eq!(answer.problem(), kind, "{told}");
    let body = answer.json();
    assert_eq!(body["status"], status);
    assert!(!body["title"].as_str().unwrap().is_empty() && body["detail"].is_string(), "{told}");
    let id = answer.header("x-request-id");
    assert!(!id.is_empty(), "{:?}", answer.headers);
    assert_eq!(body["instance"], format!("urn:request:{id}"));
    assert_eq!(answer.header("cache-control"), "no-store");
    id.to_owned()
}

/// The access log's line of a request.
pub async fn logged(gateway: &Tollgate, request_id: &str) -> Value {
    let file = gateway.folder().join("access.log");
    eventually("a line in the access log", async || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|line| line["http"]["request"]["id"] == request_id)
            .ok_or_else(|| format!("{request_id} is not in {} lines", whole.lines().count()))
    })
    .await
}

/// Waits until a series has a value: a request is counted a moment after its answer.
pub async fn metric_becomes(gateway: &Tollgate, series: &str, wanted: u64) {
    super::eventually(series, async || match metric(gateway, series).await {
        value if value == wanted => Ok(()),
        value => Err(format!("{value} instead of {wanted}")),
    })
    .await;
}

/// The value of a metric, named with its labels; 0 if it was never counted.
pub async fn metric(gateway: &Tollgate, series: &str) -> u64 {
    let text = gateway.metrics().await;
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}
