use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Url, tls};

use super::NetError;
use super::error::causes;

const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// An answer that was read whole.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its status; a redirect is not followed.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A client for the gateway's own calls: to identity providers and service directories.
///
/// It trusts the system's authorities and those in the PEM bundle, follows no redirect (an answer
/// must not choose whom the gateway calls), and allows `timeout` for each call from connecting to
/// the last byte. The usual environment variables for an egress proxy apply.
pub fn client(authorities: Option<&[u8]>, timeout: Duration) -> Result<Client, NetError> {
    let builder = Client::builder()
        .tls_backend_native()
        .tls_version_min(tls::Version::TLS_1_2)
        .redirect(Policy::none())
        .connect_timeout(timeout)
        .timeout(timeout)
        .pool_max_idle_per_host(1)
        .user_agent(USER_AGENT);
    let builder = match authorities {
        Some(bundle) => builder.tls_certs_merge(certificates(bundle)?),
        None => builder,
    };
    builder.build().map_err(|error| NetError::Client(causes(error)))
}

fn certificates(bundle: &[u8]) -> Result<Vec<Certificate>, NetError> {
    let found = Certificate::from_pem_bundle(bundle)
        .map_err(|error| NetError::Authorities(causes(error)))?;
    if found.is_empty() {
        return Err(NetError::Authorities("it has no PEM certificate".into()));
    }
    Ok(found)
}

/// Fetches a URL and reads at most `max_bytes` of its body: a larger one is cut off and refused,
/// whether it says its length or never ends. Any status is an answer.
pub async fn fetch_bounded(
    client: &Client,
    url: &str,
    max_bytes: usize,
) -> Result<Fetched, NetError> {
    let url = Url::parse(url).map_err(|error| NetError::Url(error.to_string()))?;
    let mut response = client.get(url).send().await.map_err(NetError::from_call)?;
    let too_large = NetError::TooLarge { limit: max_bytes };
    if response.content_length().is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(NetError::from_call)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    Ok(Fetched { status, headers, body: body.freeze() })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use openssl::ssl::{SslAcceptor, SslMethod};

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(10);

    /// A server that sends each connection the same bytes and holds it open.
    fn server(answer: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 2048]);
                let _ = stream.write_all(&answer);
                held.push(stream);
            }
        });
        address
    }

    /// A server that never stops sending.
    fn endless_server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 2048]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                while stream.write_all(b"8\r\n{\"keys\":\r\n").is_ok() {}
            }
        });
        address
    }

    async fn fetch(address: SocketAddr, timeout: Duration) -> Result<Fetched, NetError> {
        fetch_bounded(&client(None, timeout).unwrap(), &format!("http://{address}/k"), 1000).await
    }

    #[tokio::test]
    async fn an_answer_comes_whole_with_status_and_headers() {
        let address = server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\n{}".to_vec());
        let fetched = fetch(address, LONG).await.unwrap();
        assert_eq!(fetched.status, 200);
        assert_eq!(fetched.headers["x-a"], "b");
        assert_eq!(&fetched.body[..], b"{}");
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_huge_is_refused_unread() {
        let address = server(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n".to_vec());
        assert_eq!(fetch(address, LONG).await.unwrap_err(), NetError::TooLarge { limit: 1000 });
    }

    #[tokio::test]
    async fn an_endless_body_is_cut_off() {
        let refused = fetch(endless_server(), LONG).await.unwrap_err();
        assert_eq!(refused, NetError::TooLarge { limit: 1000 });
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_ends_in_time() {
        assert_eq!(fetch(server(Vec::new()), SHORT).await.unwrap_err(), NetError::TimedOut);
    }

    #[tokio::test]
    async fn a_body_that_stops_half_way_ends_in_time() {
        let address = server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec());
        assert_eq!(fetch(address, SHORT).await.unwrap_err(), NetError::TimedOut);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let answer =
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(fetch(server(answer.into()), LONG).await.unwrap().status, 302);
    }

    #[tokio::test]
    async fn refused_connections_garbage_and_bad_urls_say_so() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = fetch(closed, LONG).await.unwrap_err();
        assert!(matches!(&error, NetError::Connect(why) if why.contains("refused")), "{error}");

        let error = fetch(server(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), LONG).await.unwrap_err();
        assert!(matches!(error, NetError::Broken(_)), "{error}");

        let client = client(None, LONG).unwrap();
        for url in ["", "/keys", "ftp://idp.example/keys", "http://"] {
            let error = fetch_bounded(&client, url, 10).await.unwrap_err();
            assert!(matches!(error, NetError::Url(_)), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn errors_show_no_url() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://user:hunter2@{closed}/?token=hunter2");
        let error = fetch_bounded(&client(None, LONG).unwrap(), &url, 10).await.unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    /// A TLS server with a certificate of its own making; gives its address and the certificate.
    fn tls_server() -> (SocketAddr, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        let certificate = openssl::x509::X509::from_pem(made.cert.pem().as_bytes()).unwrap();
        let key = made.signing_key.serialize_pem();
        let key = openssl::pkey::PKey::private_key_from_pem(key.as_bytes()).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        acceptor.set_private_key(&key).unwrap();
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = acceptor.accept(stream.unwrap()) else { continue };
                let _ = stream.read(&mut [0; 2048]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        });
        (address, made.cert.pem().into_bytes())
    }

    #[tokio::test]
    async fn only_named_authorities_make_a_private_certificate_trusted() {
        let (address, authority) = tls_server();
        let url = format!("https://localhost:{}/", address.port());

        let trusting = client(Some(&authority), LONG).unwrap();
        assert_eq!(fetch_bounded(&trusting, &url, 10).await.unwrap().status, 200);

        let error = fetch_bounded(&client(None, LONG).unwrap(), &url, 10).await.unwrap_err();
        assert!(matches!(error, NetError::Connect(_)), "{error}");

        let other_name = format!("https://127.0.0.1:{}/", address.port());
        let error = fetch_bounded(&trusting, &other_name, 10).await.unwrap_err();
        assert!(matches!(error, NetError::Connect(_)), "{error}");
    }

    #[test]
    fn a_bundle_without_a_certificate_is_refused() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bundle in ["", "no pem", broken] {
            let error = client(Some(bundle.as_bytes()), LONG).unwrap_err();
            assert!(matches!(error, NetError::Authorities(_)), "{bundle:?}: {error}");
        }
    }
}
