//! What a backend is asked for, and who it must be.

use std::io::{Read, Write};
use std::net::TcpListener;

use openssl::ssl::SslAcceptor;

use super::{config, endpoint, field, refused, route, start};
use crate::support::tls::Authority;
use crate::support::{Bank, Tollgate};

#[tokio::test]
async fn path_query_and_host_are_rewritten_as_configured() {
    let bank = Bank::start().await;
    let cluster = format!("endpoints: [\"{}\"]", endpoint(&bank, "checking"));
    // Not an account here: those have no blanks and question marks.
    let routes = [
        route("plain", "    rewrite: { path: \"/echo/{path.account}\" }\n"),
        route("query", "    rewrite: { path: \"/echo?a={path.account}&b={query.b}\" }\n"),
        route("needs", "    rewrite: { path: \"/echo/{query.b}?a={header.x-a}\" }\n"),
        route("host", "    rewrite: { path: /echo, host: core.bank.internal }\n"),
    ]
    .map(|route| route.replace("    account: path.account\n", ""));
    let through = "  - id: through\n    match: { path: \"/echo/*\" }\n    authenticate: none\n    cluster: own\n";
    let gateway = start(&bank, &cluster, &(routes.concat() + through)).await;
    let paths = [
        ("/plain/a%20b?x=1&y=%2F", "/echo/a%20b?x=1&y=%2F"),
        ("/plain/a%3Fb%23c", "/echo/a%3Fb%23c"),
        ("/query/4711?b=x%26y&c=3", "/echo?a=4711&b=x%26y"),
        // A parameter that the caller did not send is left out, as in composed parts.
        ("/query/4711?c=3", "/echo?a=4711"),
        ("/echo/a/../b//c?q=a//b", "/echo/b/c?q=a//b"),
    ];
    for (asked, sent) in paths {
        let answer = gateway.get(asked, "").await;
        assert_eq!(answer.status, 200, "{asked}: {answer:?}");
        assert_eq!(answer.json()["path"], sent, "{asked}");
    }
    let have: &[(&str, &str)] = &[("x-a", "1")];
    for (path, headers, lacks) in [
        ("/needs/4711", have, "query.b"),
        ("/needs/4711?b=", have, "query.b"),
        ("/needs/4711?b=1", &[], "header.x-a"),
    ] {
        let missing = gateway.get_with(path, "", headers).await;
        assert_eq!((missing.status.as_u16(), &*missing.problem()), (400, "bad-request"), "{path}");
        let detail = missing.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(lacks), "{path}: {detail}");
    }
    let whole = gateway.get_with("/needs/4711?b=1", "", have).await;
    assert_eq!(whole.json()["path"], "/echo/1?a=1");
    let told = gateway.get("/host/4711", "").await.json();
    assert_eq!(field(&told, "host"), ["core.bank.internal"]);
    let told = gateway.get("/echo/x", "").await.json();
    assert_eq!(field(&told, "host"), [endpoint(&bank, "checking")]);
}

/// A TLS server whose certificate is for `core.bank.internal`, signed by the authority it knows.
struct TlsBackend {
    port: u16,
    known: Authority,
    stranger: Authority,
}

impl TlsBackend {
    fn start() -> Self {
        let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
        let acceptor = known.sign("server", &["core.bank.internal"]).acceptor().build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || serve_tls(&listener, &acceptor));
        Self { port, known, stranger }
    }
}

/// One request for each connection; the answer names the server that was asked for (SNI).
fn serve_tls(listener: &TcpListener, acceptor: &SslAcceptor) {
    for stream in listener.incoming() {
        let Ok(mut stream) = acceptor.accept(stream.unwrap()) else { continue };
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
        }
        let asked = stream.ssl().servername(openssl::ssl::NameType::HOST_NAME).unwrap_or("none");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{asked}",
            asked.len()
        );
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown();
    }
}

#[tokio::test]
async fn a_backends_certificate_must_have_the_right_name_and_authority() {
    let bank = Bank::start().await;
    let server = TlsBackend::start();
    let tls = |name: &str, authority: &Authority| {
        format!(
            "endpoints: [\"127.0.0.1:{}\"], tls: {{ server_name: {name}, authorities: {} }}",
            server.port,
            authority.file().display()
        )
    };
    let other = |id: &str, cluster: &str| format!("  {id}: {{ {cluster} }}\n");
    let clusters = other("misnamed", &tls("other.bank.internal", &server.known))
        + &other("strange", &tls("core.bank.internal", &server.stranger))
        + &other("plain", &format!("endpoints: [\"127.0.0.1:{}\"]", server.port));
    let right = tls("core.bank.internal", &server.known);
    let mut text = config(&bank, &right, "").replace("routes:\n", &format!("{clusters}routes:\n"));
    for id in ["misnamed", "strange", "plain"] {
        text += &route(id, "").replace("cluster: own", &format!("cluster: {id}"));
    }
    let gateway = Tollgate::start(&text).await;
    // Twice, and the right one in between: a pooled connection must not stand in for a check.
    for _ in 0..2 {
        let answer = gateway.get("/own/4711", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, b"core.bank.internal");
        for id in ["misnamed", "strange", "plain"] {
            refused(&gateway.get(&format!("/{id}/4711"), "").await, 502, "backend-failed");
        }
    }
}
