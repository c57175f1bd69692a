//! What is changed on the way to the backend and back, and what is not.

mod bodies;
mod fields;
mod framing;
mod hiding;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::base_config;
use crate::support::{Answer, Bank, Tollgate};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A public route `/ID/{account}` to the bank's `/echo`.
fn echo(id: &str, edits: &str) -> String {
    format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cluster: checking\n    rewrite: {{ path: /echo }}\n{edits}"
    )
}

async fn start(bank: &Bank, routes: &[String]) -> Tollgate {
    Tollgate::start(&(base_config(bank) + "routes:\n" + &routes.concat())).await
}

/// The values of a field as the backend got them, in order.
fn field(answer: &Answer, name: &str) -> Vec<String> {
    let echo = answer.json();
    let fields = echo["headers"].as_array().unwrap_or_else(|| panic!("{answer:?}")).iter();
    let named = fields.filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap().to_owned()).collect()
}

/// Sends these bytes as they are and reads until the connection closes.
async fn raw(gateway: &Tollgate, request: &str) -> String {
    let address = SocketAddr::from((gateway.address(), 8080));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The `/echo` body in a raw answer.
fn echoed(answer: &str) -> Answer {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    let (start, end) = (body.find('{').unwrap(), body.rfind('}').unwrap());
    Answer {
        status: http::StatusCode::OK,
        headers: http::HeaderMap::new(),
        body: body.as_bytes()[start..=end].to_vec(),
    }
}
