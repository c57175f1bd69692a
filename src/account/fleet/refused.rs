//! Why TLS comes to nothing with another gateway. What fails over it says only that it failed, and
//! the reason decides who has to do what: so it is looked for apart, on a connection of its own.

use std::collections::HashMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::ssl::{self, HandshakeError, SslConnector, SslMethod};
use openssl::x509::X509VerifyResult;
use openssl::x509::store::X509StoreBuilder;

use super::credentials::Credentials;
use super::{CONNECT, Fleet};

/// Between two looks at the same gateway, and so between two lines about it.
const PAUSE: Duration = Duration::from_secs(60);
/// What gateways speak with each other, by ALPN (RFC 7301).
const HTTP2: &[u8] = b"\x02h2";

/// When each gateway was looked at, for as long as it isn't looked at again.
#[derive(Default)]
pub(super) struct Looks(Mutex<HashMap<Box<str>, Instant>>);

impl Looks {
    /// Whether a gateway may be looked at; then it counts as looked at.
    fn begin(&self, name: &str, now: Instant) -> bool {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|_, at| now.saturating_duration_since(*at) < PAUSE);
        if looks.contains_key(name) {
            return false;
        }
        looks.insert(name.into(), now);
        true
    }
}

impl Fleet {
    /// Another gateway could not be asked: looks whether TLS is why, and says so in the log, once a
    /// minute for each gateway. Returns at once; must be called within a runtime.
    pub fn look_into(&self, name: &str) {
        if !self.looks.begin(name, Instant::now()) {
            return;
        }
        let (credentials, name) = (self.credentials.load_full(), name.to_owned());
        tokio::task::spawn_blocking(move || {
            if let Some(reason) = reason(&name, &credentials) {
                tracing::warn!(
                    gateway = name,
                    reason,
                    "TLS with another gateway of the fleet is refused: look at `certificate` and \
                     `authorities` of `fleet` in both"
                );
            }
        });
    }
}

/// Why TLS is refused, by this gateway or the other; `None` if it isn't, or if there is no way to
/// find out.
fn reason(name: &str, credentials: &Credentials) -> Option<String> {
    let (host, _) = name.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = connect(name)?;
    match connector(credentials).ok()?.connect(host, stream) {
        Ok(mut stream) => {
            // A server of TLS 1.3 says what it thinks of a certificate after the handshake. One
            // that accepts it says what HTTP/2 begins with.
            let mut byte = [0];
            stream.ssl_read(&mut byte).err().and_then(|error| alert(&error))
        }
        Err(HandshakeError::Failure(broken)) => match broken.ssl().verify_result() {
            X509VerifyResult::OK => alert(broken.error()),
            flaw => Some(format!("its certificate is not accepted here: {}", flaw.error_string())),
        },
        Err(HandshakeError::SetupFailure(_) | HandshakeError::WouldBlock(_)) => None,
    }
}

fn connect(name: &str) -> Option<TcpStream> {
    let address = name.to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, CONNECT).ok()?;
    stream.set_read_timeout(Some(CONNECT)).ok()?;
    stream.set_write_timeout(Some(CONNECT)).ok()?;
    Some(stream)
}

fn connector(credentials: &Credentials) -> Result<SslConnector, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for authority in &**credentials.authorities {
        store.add_cert(authority.clone())?;
    }
    let pair = &credentials.pair;
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_cert_store(store.build());
    builder.set_alpn_protos(HTTP2)?;
    builder.set_certificate(pair.leaf())?;
    builder.set_private_key(pair.key())?;
    for certificate in pair.intermediates() {
        builder.add_extra_chain_cert(certificate.clone())?;
    }
    Ok(builder.build())
}

/// What the other side says when it refuses (RFC 8446 section 6.2).
fn alert(error: &ssl::Error) -> Option<String> {
    let reason = error.ssl_error()?.errors().first()?.reason()?;
    reason
        .contains("alert")
        .then(|| format!("it does not accept this gateway's certificate: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::PathBuf;

    use openssl::ssl::{SslAcceptor, SslVerifyMode};
    use openssl::x509::X509;

    use super::*;
    use crate::config::model;
    use crate::testing::authority::{Authority, Signed};

    /// 2001.
    const LONG_AGO: u64 = 1_000_000_000;

    fn credentials(authorities: PathBuf, shown: &Signed) -> Credentials {
        let settings = model::Fleet {
            listen: "127.0.0.1:7443".parse().unwrap(),
            advertise: "127.0.0.1:7443".into(),
            authorities,
            certificate: shown.certificate_file.clone(),
            key: shown.key_file.clone(),
        };
        Credentials::load(&settings).unwrap()
    }

    /// Another gateway, for one connection; gives its name.
    fn gateway(shown: &Signed, trusted: &Authority) -> String {
        let mut builder = shown.acceptor();
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(X509::from_pem(trusted.pem().as_bytes()).unwrap()).unwrap();
        builder.set_verify_cert_store(store.build()).unwrap();
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        let acceptor: SslAcceptor = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            if let Ok(mut stream) = acceptor.accept(stream) {
                let _ = stream.ssl_write(b"settings");
            }
        });
        name
    }

    #[test]
    fn the_reason_is_told_whoever_refuses() {
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let names = &["127.0.0.1"];
        let good = ours.sign("good", names);
        let over = ours.sign_until("over", names, LONG_AGO);
        let stranger = theirs.sign("stranger", names);
        let refused = |shown: &Signed, own: &Signed| {
            reason(&gateway(shown, &ours), &credentials(ours.file(), own))
        };
        assert_eq!(refused(&good, &good), None);
        let why = refused(&over, &good).unwrap();
        assert_eq!(why, "its certificate is not accepted here: certificate has expired");
        let why = refused(&stranger, &good).unwrap();
        assert!(why.starts_with("its certificate is not accepted here: unable to get"), "{why}");
        let why = refused(&ours.sign("else", &["127.0.0.2"]), &good).unwrap();
        assert!(why.to_lowercase().contains("ip address mismatch"), "{why}");
        let why = refused(&good, &over).unwrap();
        assert!(why.starts_with("it does not accept this gateway's certificate: "), "{why}");
        assert!(why.contains("alert certificate expired"), "{why}");
        assert!(refused(&good, &stranger).unwrap().contains("alert unknown ca"));
    }

    #[test]
    fn nothing_is_told_where_tls_is_not_why() {
        let ours = Authority::new("ours");
        let own = credentials(ours.file(), &ours.sign("own", &["127.0.0.1"]));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = closed.local_addr().unwrap().to_string();
        drop(closed);
        assert_eq!(reason(&name, &own), None);
        // It takes connections and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(reason(&silent.local_addr().unwrap().to_string(), &own), None);
        assert_eq!(reason("no address", &own), None);
    }

    #[test]
    fn each_gateway_is_looked_at_once_a_minute() {
        let looks = Looks::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(looks.begin("a:1", at(0)));
        assert!(!looks.begin("a:1", at(59)), "a second line within the minute");
        assert!(looks.begin("b:1", at(59)), "another gateway");
        assert!(looks.begin("a:1", at(60)));
        assert!(!looks.begin("a:1", at(119)) && looks.begin("b:1", at(119)));
        assert_eq!(looks.0.lock().unwrap().len(), 2, "what is over is forgotten");
    }
}
