//! Ports with TLS.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use http::Version;
use openssl::ssl::SslVersion;

use super::config_with_ports;
use crate::support::tls::{Authority, Hello, Shaken, shake};
use crate::support::wire::metric;
use crate::support::{Bank, Tollgate, eventually};

const BOTH: &[u8] = b"\x02h2\x08http/1.1";
const HTTP_1: &[u8] = b"\x08http/1.1";

fn hello(name: &'static str) -> Hello {
    let request = format!("GET /echo/x HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    Hello { name: Some(name), alpn: HTTP_1, request, ..Hello::default() }
}

fn port(gateway: &Tollgate, port: u16) -> SocketAddr {
    (gateway.address(), port).into()
}

#[track_caller]
fn assert_served(shaken: &Shaken) {
    assert!(shaken.answer.starts_with("HTTP/1.1 200"), "{shaken:?}");
}

#[tokio::test]
async fn the_name_asked_for_picks_the_certificate() {
    let (bank, authority) = (Bank::start().await, Authority::new("here"));
    let api = authority.sign("api", &["api.bank.example"]);
    let wild = authority.sign("wild", &["*.bank.example"]);
    let ports = format!(
        "  - {{ address: ADDRESS:8443, tls: {{ certificates: [{}, {}] }} }}\n",
        api.entry(),
        wild.entry()
    );
    let gateway = Tollgate::start(&config_with_ports(&bank, &ports)).await;
    for (name, expected) in [
        (Some("api.bank.example"), &api),
        (Some("API.bank.example"), &api),
        (Some("other.bank.example"), &wild),
        (Some("deep.other.bank.example"), &api),
        (Some("elsewhere.example"), &api),
        (None, &api),
    ] {
        let shaken = shake(port(&gateway, 8443), Hello { name, ..hello("api.bank.example") }).await;
        let shaken = shaken.unwrap();
        assert_served(&shaken);
        assert!(shaken.der == expected.der, "another certificate for {name:?}");
    }
    assert_eq!(gateway.get("/echo/x", "").await.status, 200, "the plain port beside it");
}

#[tokio::test]
async fn alpn_picks_http_2_where_the_port_speaks_it() {
    let (bank, authority) = (Bank::start().await, Authority::new("here"));
    let api = authority.sign("api", &["api.bank.example"]);
    let ports = format!(
        "  - {{ address: ADDRESS:8443, tls: {{ certificates: [{0}] }} }}\n\
         \x20 - {{ address: ADDRESS:8444, http2: false, tls: {{ certificates: [{0}] }} }}\n",
        api.entry()
    );
    let gateway = Tollgate::start(&config_with_ports(&bank, &ports)).await;
    for (at, version, alpn) in
        [(8443, Version::HTTP_2, &b"h2"[..]), (8444, Version::HTTP_11, b"http/1.1")]
    {
        let offer = Hello { alpn: BOTH, request: String::new(), ..hello("api.bank.example") };
        let shaken = shake(port(&gateway, at), offer).await.unwrap();
        assert_eq!(shaken.alpn.as_deref(), Some(alpn));
        let client = reqwest::Client::builder()
            .tls_backend_native()
            .tls_certs_only([reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap()])
            .resolve("api.bank.example", port(&gateway, at))
            .build()
            .unwrap();
        let url = format!("https://api.bank.example:{at}/echo/x");
        let answer = client.get(url).send().await.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (version, 200));
        let told: serde_json::Value = answer.json().await.unwrap();
        let headers = told["headers"].to_string();
        assert!(headers.contains(r#"["x-forwarded-proto","https"]"#), "{headers}");
    }
    let only_http_2 = Hello { alpn: b"\x02h2", ..hello("api.bank.example") };
    assert!(shake(port(&gateway, 8444), only_http_2).await.is_err());
    assert_eq!(
        metric(&gateway, r#"tollgate_listener_refusals_total{reason="tls-handshake"}"#).await,
        1
    );
}

#[tokio::test]
async fn old_versions_of_tls_are_refused_where_the_port_says_so() {
    let (bank, authority) = (Bank::start().await, Authority::new("here"));
    let api = authority.sign("api", &["api.bank.example"]);
    let ports = format!(
        "  - {{ address: ADDRESS:8443, tls: {{ certificates: [{0}] }} }}\n\
         \x20 - {{ address: ADDRESS:8444, tls: {{ certificates: [{0}], min_version: \"1.3\" }} }}\n",
        api.entry()
    );
    let gateway = Tollgate::start(&config_with_ports(&bank, &ports)).await;
    let newest = |newest| Hello { newest: Some(newest), ..hello("api.bank.example") };
    for (at, version, works) in [
        (8443, SslVersion::TLS1_3, true),
        (8443, SslVersion::TLS1_2, true),
        (8443, SslVersion::TLS1_1, false),
        (8444, SslVersion::TLS1_3, true),
        (8444, SslVersion::TLS1_2, false),
    ] {
        let shaken = shake(port(&gateway, at), newest(version)).await;
        assert_eq!(shaken.is_ok(), works, "{at} {version:?}: {shaken:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_unless_the_port_gives_no_tickets() {
    let (bank, authority) = (Bank::start().await, Authority::new("here"));
    let api = authority.sign("api", &["api.bank.example"]);
    let ports = format!(
        "  - {{ address: ADDRESS:8443, tls: {{ certificates: [{0}] }} }}\n\
         \x20 - {{ address: ADDRESS:8444, tls: {{ certificates: [{0}], session_tickets: false }} }}\n",
        api.entry()
    );
    let gateway = Tollgate::start(&config_with_ports(&bank, &ports)).await;
    for version in ["-tls1_2", "-tls1_3"] {
        for (at, resumes) in [(8443, true), (8444, false)] {
            let session =
                gateway.folder().join(format!("session{version}-{at}")).display().to_string();
            let first = s_client(port(&gateway, at), &[version, "-sess_out", &session]);
            assert!(first.contains("HTTP/1.1 200") && first.contains("New, TLS"), "{first}");
            if !resumes && !std::path::Path::new(&session).exists() {
                continue;
            }
            let second = s_client(port(&gateway, at), &[version, "-sess_in", &session]);
            assert!(second.contains("HTTP/1.1 200"), "{second}");
            assert_eq!(second.contains("Reused, TLS"), resumes, "{version} at {at}: {second}");
        }
    }
}

/// What OpenSSL's own client tells of a connection and one request on it.
fn s_client(address: SocketAddr, more: &[&str]) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-servername", "api.bank.example", "-connect"])
        .arg(address.to_string())
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let request = hello("api.bank.example").request;
    client.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    String::from_utf8_lossy(&client.wait_with_output().unwrap().stdout).into_owned()
}

#[tokio::test]
async fn a_certificate_file_that_is_replaced_is_served_without_a_restart() {
    let (bank, authority) = (Bank::start().await, Authority::new("here"));
    let first = authority.sign("api", &["api.bank.example"]);
    let ports =
        format!("  - {{ address: ADDRESS:8443, tls: {{ certificates: [{}] }} }}\n", first.entry());
    let gateway = Tollgate::start(&config_with_ports(&bank, &ports)).await;
    let served = async || shake(port(&gateway, 8443), hello("api.bank.example")).await.unwrap().der;
    assert!(served().await == first.der);

    let second = authority.sign("api", &["api.bank.example"]);
    eventually("the new certificate", async || {
        if served().await == second.der { Ok(()) } else { Err("still the old one") }
    })
    .await;

    std::fs::write(&first.certificate_file, "-----BEGIN CERTIFICATE-----\nnot one\n").unwrap();
    eventually("a word about the broken file", async || {
        let log = gateway.log();
        if log.contains("api.crt") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(served().await == second.der, "a broken file changes nothing");
}

#[tokio::test]
async fn a_port_asks_clients_for_certificates_of_its_authority() {
    let (bank, authority) = (Bank::start().await, Authority::new("here"));
    let (theirs, strangers) = (Authority::new("third parties"), Authority::new("strangers"));
    let api = authority.sign("api", &["api.bank.example"]);
    let tls = |required: bool| {
        let file = theirs.file().display().to_string();
        format!(
            "tls: {{ certificates: [{}], client_certificates: {{ authorities: {file}, required: {required} }} }}",
            api.entry()
        )
    };
    let ports = format!(
        "  - {{ address: ADDRESS:8443, {} }}\n  - {{ address: ADDRESS:8444, {} }}\n",
        tls(true),
        tls(false)
    );
    let gateway = Tollgate::start(&config_with_ports(&bank, &ports)).await;
    let (known, unknown) = (theirs.sign("app", &["app"]), strangers.sign("app", &["app"]));
    for newest in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for (at, certificate, works) in [
            (8443, Some(known.clone()), true),
            (8443, None, false),
            (8443, Some(unknown.clone()), false),
            (8444, Some(known.clone()), true),
            (8444, None, true),
            (8444, Some(unknown.clone()), false),
        ] {
            let shows = certificate.is_some();
            let hello = Hello { certificate, newest: Some(newest), ..hello("api.bank.example") };
            let shaken = shake(port(&gateway, at), hello).await;
            assert_eq!(shaken.is_ok(), works, "{at} shows one: {shows}; {shaken:?}");
            if let Ok(shaken) = shaken {
                assert_served(&shaken);
            }
        }
    }
}
