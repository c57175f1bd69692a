use std::net::SocketAddr;
use std::path::Path;

use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use pingora::protocols::tls::SslStream;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::world::*;
use crate::config::model::{ClientCertificates, Listener, TlsVersion};
use crate::listener::ListenerError;

/// How a client connects.
#[derive(Default)]
pub struct Client<'c> {
    pub name: Option<&'c str>,
    pub versions: Option<(SslVersion, SslVersion)>,
    pub certificate: Option<&'c Signed>,
    pub protocols: Option<&'c [u8]>,
}

impl Client<'_> {
    /// The connection, or what the handshake failed with.
    pub async fn connect(&self, address: SocketAddr) -> Result<SslStream<TcpStream>, String> {
        let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        if let Some((min, max)) = self.versions {
            builder.set_min_proto_version(Some(min)).unwrap();
            builder.set_max_proto_version(Some(max)).unwrap();
            // TLS 1.1 is offered only below OpenSSL's usual level.
            builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        }
        if let Some(signed) = self.certificate {
            builder
                .set_certificate(&X509::from_pem(signed.certificate.as_bytes()).unwrap())
                .unwrap();
            builder
                .set_private_key(&PKey::private_key_from_pem(signed.key.as_bytes()).unwrap())
                .unwrap();
        }
        if let Some(protocols) = self.protocols {
            builder.set_alpn_protos(protocols).unwrap();
        }
        let mut settings = builder.build().configure().unwrap().verify_hostname(false);
        if self.name.is_none() {
            settings = settings.use_server_name_indication(false);
        }
        let ssl = settings.into_ssl(self.name.unwrap_or("none")).unwrap();
        let mut stream = SslStream::new(ssl, connect(address).await).unwrap();
        let shaking = timeout(PATIENCE, stream.connect()).await.expect("no handshake");
        shaking.map_err(|error| error.to_string())?;
        Ok(stream)
    }

    /// What the gateway saw of a request; nothing if the connection came to nothing.
    async fn ask(&self, address: SocketAddr) -> Option<String> {
        let mut stream = self.connect(address).await.ok()?;
        let request = b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        // With TLS 1.3 a client learns only here that its certificate wasn't taken.
        stream.write_all(request).await.ok()?;
        let answer = read_to_end(&mut stream).await;
        (status(&answer) == 200).then_some(answer)
    }

    /// The first name of the certificate shown.
    async fn shown(&self, address: SocketAddr) -> String {
        let stream = self.connect(address).await.unwrap();
        let certificate = stream.ssl().peer_certificate().unwrap();
        let names = certificate.subject_alt_names().unwrap();
        names[0].dnsname().unwrap().to_owned()
    }
}

fn named(name: &str) -> Client<'_> {
    Client { name: Some(name), ..Client::default() }
}

fn three_names() -> (Authority, Listener) {
    let authority = Authority::new("test");
    let certificates =
        [&["first.example"][..], &["api.bank.example", "pay.bank.example"], &["*.bank.example"]]
            .iter()
            .enumerate()
            .map(|(number, names)| authority.sign(&number.to_string(), names).files())
            .collect();
    (authority, with_tls(certificates, ClientCertificates::None))
}

#[tokio::test]
async fn the_name_asked_for_picks_the_certificate() {
    let (_files, listener) = three_names();
    let running = run(listener);
    let address = running.address();
    assert_eq!(named("api.bank.example").shown(address).await, "api.bank.example");
    assert_eq!(named("PAY.bank.example").shown(address).await, "api.bank.example");
    assert_eq!(named("www.bank.example").shown(address).await, "*.bank.example");
    assert_eq!(named("a.b.bank.example").shown(address).await, "first.example");
    assert_eq!(named("bank.example").shown(address).await, "first.example");
    assert_eq!(named("other.example").shown(address).await, "first.example");
    assert_eq!(Client::default().shown(address).await, "first.example");
}

#[tokio::test]
async fn the_gateway_sees_tls_and_the_name() {
    let (_files, listener) = three_names();
    let running = run(listener);
    let told = named("API.bank.example").ask(running.address()).await.unwrap();
    assert!(
        told.contains("https=Some(true) name=Some(\"api.bank.example\") thumbprint=None"),
        "{told}"
    );
}

#[tokio::test]
async fn a_port_speaks_its_oldest_version_and_none_older() {
    let (_files, listener) = three_names();
    let only = |version| Client { versions: Some((version, version)), ..Client::default() };
    let running = run(listener.clone());
    assert!(only(SslVersion::TLS1_1).connect(running.address()).await.is_err());
    assert!(only(SslVersion::TLS1_2).connect(running.address()).await.is_ok());
    assert!(only(SslVersion::TLS1_3).connect(running.address()).await.is_ok());
    let mut strict = listener;
    strict.tls.as_mut().unwrap().min_version = TlsVersion::Tls13;
    let running = run(strict);
    assert!(only(SslVersion::TLS1_2).connect(running.address()).await.is_err());
    let stream = only(SslVersion::TLS1_3).connect(running.address()).await.unwrap();
    assert_eq!(stream.ssl().version_str(), "TLSv1.3");
    assert_eq!(running.refusals("tls-handshake"), 1);
}

#[tokio::test]
async fn a_required_client_certificate_lets_in_those_who_have_one_of_the_authority() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (server, client) = (ours.sign("server", &["a"]), ours.sign("client", &["c"]));
    let stranger = theirs.sign("client", &["c"]);
    let required = ClientCertificates::Required { authorities: ours.file() };
    let running = run(with_tls(vec![server.files()], required));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let with = |certificate| Client {
            certificate,
            versions: Some((version, version)),
            ..Client::default()
        };
        assert_eq!(with(None).ask(running.address()).await, None);
        assert_eq!(with(Some(&stranger)).ask(running.address()).await, None);
        let told = with(Some(&client)).ask(running.address()).await.unwrap();
        assert!(told.contains(&client.thumbprint()), "{told}");
    }
    running.has_open(0).await;
}

#[tokio::test]
async fn an_optional_client_certificate_is_verified_when_shown() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (server, client) = (ours.sign("server", &["a"]), ours.sign("client", &["c"]));
    let stranger = theirs.sign("client", &["c"]);
    let optional = ClientCertificates::Optional { authorities: ours.file() };
    let running = run(with_tls(vec![server.files()], optional));
    let with = |certificate| Client { certificate, ..Client::default() };
    assert!(with(None).ask(running.address()).await.unwrap().contains("thumbprint=None"));
    assert!(
        with(Some(&client)).ask(running.address()).await.unwrap().contains(&client.thumbprint())
    );
    assert_eq!(with(Some(&stranger)).ask(running.address()).await, None);
}

#[tokio::test]
async fn the_client_certificate_is_asked_for_whatever_name_the_client_names() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let servers = vec![
        ours.sign("0", &["first.example"]).files(),
        ours.sign("1", &["second.example"]).files(),
    ];
    let required = ClientCertificates::Required { authorities: ours.file() };
    let (client, stranger) = (ours.sign("client", &["c"]), theirs.sign("client", &["c"]));
    let running = run(with_tls(servers, required));
    for name in ["first.example", "second.example", "third.example"] {
        let with = |certificate| Client { certificate, ..named(name) };
        assert_eq!(with(None).ask(running.address()).await, None, "{name}");
        assert_eq!(with(Some(&stranger)).ask(running.address()).await, None, "{name}");
        assert!(with(Some(&client)).ask(running.address()).await.is_some(), "{name}");
    }
}

#[tokio::test]
async fn http2_is_agreed_on_only_where_the_port_has_it() {
    let (_files, listener) = three_names();
    let agreed = async |running: &Running, protocols: &'static [u8]| {
        let client = Client { protocols: Some(protocols), ..Client::default() };
        let stream = client.connect(running.address()).await?;
        Ok::<_, String>(stream.ssl().selected_alpn_protocol().map(<[u8]>::to_vec))
    };
    let both: &[u8] = b"\x08http/1.1\x02h2";
    let running = run(listener.clone());
    assert_eq!(agreed(&running, both).await.unwrap().unwrap(), b"h2");
    assert_eq!(agreed(&running, b"\x08http/1.1").await.unwrap().unwrap(), b"http/1.1");
    assert!(agreed(&running, b"\x08acme-tls").await.is_err());
    let running = run(Listener { http2: false, ..listener });
    assert_eq!(agreed(&running, both).await.unwrap().unwrap(), b"http/1.1");
    assert!(agreed(&running, b"\x02h2").await.is_err());
}

#[tokio::test]
async fn files_that_cannot_work_are_refused_before_anything_is_served() {
    let authority = Authority::new("test");
    let (one, two) = (authority.sign("one", &["a"]), authority.sign("two", &["b"]));
    let with = |change: &dyn Fn(&mut crate::config::model::CertificateFiles)| {
        let mut files = one.files();
        change(&mut files);
        refused(with_tls(vec![files], ClientCertificates::None))
    };
    let missing = Path::new("/nowhere/x.pem");
    assert!(matches!(
        with(&|files| files.certificate = missing.into()),
        ListenerError::Read { .. }
    ));
    assert!(matches!(with(&|files| files.key = missing.into()), ListenerError::Read { .. }));
    let mismatch = with(&|files| files.key = two.key_file.clone());
    assert!(matches!(mismatch, ListenerError::KeyMismatch { .. }), "{mismatch}");
    let no_key = with(&|files| files.key = one.certificate_file.clone());
    assert!(matches!(no_key, ListenerError::BadKey { .. }), "{no_key}");
    let no_certificate = with(&|files| files.certificate = one.key_file.clone());
    assert!(matches!(no_certificate, ListenerError::BadCertificate { .. }), "{no_certificate}");
    let authorities = one.key_file.clone();
    let no_authority =
        refused(with_tls(vec![one.files()], ClientCertificates::Required { authorities }));
    assert!(matches!(no_authority, ListenerError::BadCertificate { .. }), "{no_authority}");
    let none = refused(with_tls(Vec::new(), ClientCertificates::None));
    assert!(matches!(none, ListenerError::NoCertificate(_)), "{none}");
}

#[tokio::test]
async fn a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it() {
    let authority = Authority::new("test");
    let signed = authority.sign("one", &["a"]);
    let key = PKey::private_key_from_pem(signed.key.as_bytes()).unwrap();
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let sealed = key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
    std::fs::write(&signed.key_file, sealed).unwrap();
    let error = refused(with_tls(vec![signed.files()], ClientCertificates::None));
    assert!(matches!(error, ListenerError::BadKey { .. }), "{error}");
}
