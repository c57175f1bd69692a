//! What a backend is asked for, and who it must be.

use bytes::Bytes;
use http::{Method, Response, Version};
use openssl::ssl::{NameType, SslRef, SslVerifyMode};

use super::{config, endpoint, field, refused, route, start};
use crate::support::backend::Seen;
use crate::support::tls::{Authority, Signed, serve};
use crate::support::{Backend, Bank, Tollgate};

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

const SERVER: &str = "core.bank.internal";

/// A cluster of one TLS server.
fn secured(port: u16, rest: &str) -> String {
    format!("endpoints: [\"127.0.0.1:{port}\"], tls: {{ {rest} }}")
}

/// A gateway with the cluster `own` and further ones, each with a route under its name.
async fn with_clusters(bank: &Bank, own: &str, others: &[(&str, String)]) -> Tollgate {
    let clusters: String =
        others.iter().map(|(id, cluster)| format!("  {id}: {{ {cluster} }}\n")).collect();
    let mut text = config(bank, own, "").replace("routes:\n", &format!("{clusters}routes:\n"));
    for (id, _) in others {
        text += &route(id, "").replace("cluster: own", &format!("cluster: {id}"));
    }
    Tollgate::start(&text).await
}

#[tokio::test]
async fn a_backends_certificate_must_have_the_right_name_and_authority() {
    let bank = Bank::start().await;
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let acceptor = known.sign("server", &[SERVER]).acceptor().build();
    // The answer names the server that was asked for (SNI).
    let port = serve(acceptor, |ssl, _| ssl.servername(NameType::HOST_NAME).unwrap().to_owned());
    let trusting = |name: &str, authority: &Authority| {
        let file = authority.file();
        secured(port, &format!("server_name: {name}, authorities: {}", file.display()))
    };
    let others = [
        ("misnamed", trusting("other.bank.internal", &known)),
        ("strange", trusting(SERVER, &stranger)),
        ("plain", format!("endpoints: [\"127.0.0.1:{port}\"]")),
    ];
    let gateway = with_clusters(&bank, &trusting(SERVER, &known), &others).await;
    // Twice, and the right one in between: a pooled connection must not stand in for a check.
    for _ in 0..2 {
        let answer = gateway.get("/own/4711", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, SERVER.as_bytes());
        for (id, _) in &others {
            refused(&gateway.get(&format!("/{id}/4711"), "").await, 502, "backend-failed");
        }
    }
}

#[tokio::test]
async fn the_gateway_shows_its_certificate_where_the_cluster_has_one() {
    let bank = Bank::start().await;
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let mut acceptor = servers.sign("server", &[SERVER]).acceptor();
    acceptor.set_ca_file(clients.file()).unwrap();
    acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    let shown = |ssl: &SslRef, _: &str| {
        let certificate = ssl.peer_certificate().unwrap();
        certificate.subject_alt_names().unwrap()[0].dnsname().unwrap().to_owned()
    };
    let port = serve(acceptor.build(), shown);
    let own = clients.sign("own", &["gateway.bank.internal"]);
    let other = servers.sign("other", &["other.bank.internal"]);
    let base = format!("server_name: {SERVER}, authorities: {}", servers.file().display());
    let with = |signed: &Signed| {
        let (certificate, key) = (signed.certificate_file.display(), signed.key_file.display());
        secured(port, &format!("{base}, certificate: {certificate}, key: {key}"))
    };
    let others = [("bare", secured(port, &base)), ("strange", with(&other))];
    let gateway = with_clusters(&bank, &with(&own), &others).await;
    for _ in 0..2 {
        let answer = gateway.get("/own/4711", "").await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"gateway.bank.internal"[..]));
        for (id, _) in &others {
            refused(&gateway.get(&format!("/{id}/4711"), "").await, 502, "backend-failed");
        }
    }
}

#[tokio::test]
async fn a_cluster_is_spoken_to_in_the_version_that_it_names() {
    let bank = Bank::start().await;
    let answer = |seen: &Seen| Response::new(Bytes::from(format!("{} {}", seen.host, seen.target)));
    let (old, new) = (Backend::start(answer).await, Backend::start_http2(answer).await);
    let at = |backend: &Backend, protocol: &str| {
        format!("endpoints: [\"127.0.0.1:{}\"]{protocol}", backend.port())
    };
    let others = [
        ("new", at(&new, ", protocol: http2")),
        ("said", at(&old, ", protocol: http1")),
        ("wrong", at(&new, "")),
    ];
    let gateway = with_clusters(&bank, &at(&old, ""), &others).await;
    for (path, backend, version) in [
        ("/own/4711", &old, Version::HTTP_11),
        ("/said/4711", &old, Version::HTTP_11),
        ("/new/4711", &new, Version::HTTP_2),
    ] {
        let answer = gateway.get(path, "").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.body.ends_with(b"4711"), "{path}: {answer:?}");
        assert_eq!(backend.seen().last().unwrap().version, version, "{path}");
    }
    let sent = gateway.send(Method::POST, "/new/4711", "", &[], b"whole".to_vec()).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(new.seen().last().unwrap().body, "whole");
    refused(&gateway.get("/wrong/4711", "").await, 502, "backend-failed");
}
