//! Certificates, and TLS clients that show what a handshake came to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslConnector, SslMethod, SslRef, SslVerifyMode, SslVersion};
use openssl::x509::X509;

use super::PATIENCE;
pub use crate::shared::authority::{Authority, Signed};

impl Signed {
    /// As it stands in a listener's `certificates`.
    pub fn entry(&self) -> String {
        let (certificate, key) = (self.certificate_file.display(), self.key_file.display());
        format!("{{ certificate: {certificate}, key: {key} }}")
    }
}

/// What a client offers in a handshake.
#[derive(Clone, Default)]
pub struct Hello {
    /// Name asked for (SNI).
    pub name: Option<&'static str>,
    /// Protocols by ALPN, as they stand on the wire.
    pub alpn: &'static [u8],
    pub certificate: Option<Signed>,
    pub newest: Option<SslVersion>,
    /// Sent on the connection; what comes back until its end is the answer.
    pub request: String,
}

/// What it got.
#[derive(Debug)]
pub struct Shaken {
    /// The server's certificate.
    pub der: Vec<u8>,
    /// The protocol that the server picked.
    pub alpn: Option<Vec<u8>>,
    /// Up to the end of the connection, or of what was waited for.
    pub answer: String,
}

/// Shakes hands, sends the request and reads the answer to its end.
pub async fn shake(address: SocketAddr, hello: Hello) -> Result<Shaken, String> {
    tokio::task::spawn_blocking(move || shake_blocking(address, &hello)).await.unwrap()
}

fn shake_blocking(address: SocketAddr, hello: &Hello) -> Result<Shaken, String> {
    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    // Which certificate came is what tests compare, byte for byte.
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_max_proto_version(hello.newest).unwrap();
    if !hello.alpn.is_empty() {
        builder.set_alpn_protos(hello.alpn).unwrap();
    }
    if let Some(own) = &hello.certificate {
        builder.set_certificate(&X509::from_pem(own.certificate.as_bytes()).unwrap()).unwrap();
        let key = PKey::private_key_from_pem(own.key.as_bytes()).unwrap();
        builder.set_private_key(&key).unwrap();
    }
    let mut ssl = builder.build().configure().unwrap();
    ssl.set_use_server_name_indication(hello.name.is_some());
    ssl.set_verify_hostname(false);
    let tcp = TcpStream::connect(address).map_err(|error| error.to_string())?;
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = hello.name.unwrap_or("unnamed.example");
    let mut stream = ssl.connect(name, tcp).map_err(|error| error.to_string())?;
    stream.write_all(hello.request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    if !hello.request.is_empty() {
        // TLS 1.3 tells a client that its certificate was refused only here.
        let read = stream.read_to_end(&mut answer);
        if answer.is_empty() {
            return Err(format!("no answer: {read:?}"));
        }
    }
    Ok(Shaken {
        der: stream.ssl().peer_certificate().unwrap().to_der().unwrap(),
        alpn: stream.ssl().selected_alpn_protocol().map(<[u8]>::to_vec),
        answer: String::from_utf8_lossy(&answer).into_owned(),
    })
}

/// A server that answers one request on each connection with what `answer` makes of the handshake
/// and the request's target; gives its port. It ends with the test's process.
pub fn serve(
    acceptor: SslAcceptor,
    answer: impl Fn(&SslRef, &str) -> String + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = acceptor.accept(stream.unwrap()) else { continue };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head);
            let body = answer(stream.ssl(), head.split(' ').nth(1).unwrap_or_default());
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown();
        }
    });
    port
}
