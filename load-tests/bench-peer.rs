//! What Tollgate is measured against: a bare Pingora proxy built with the same flags, and a
//! backend that answers at once. `bench-peer proxy LISTEN BACKEND [TLS_LISTEN CERTIFICATE KEY]`,
//! `bench-peer backend LISTEN`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::http::Uri;
use bytes::Bytes;
use pingora::listeners::tls::TlsSettings;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["proxy", listen, backend] => proxy(listen, backend.parse().unwrap(), None),
        ["proxy", listen, backend, tls_listen, certificate, key] => {
            let tls = Tls { listen: tls_listen, certificate, key };
            proxy(listen, backend.parse().unwrap(), Some(tls));
        }
        ["backend", listen] => backend(listen),
        _ => {
            eprintln!(
                "usage: bench-peer proxy LISTEN BACKEND [TLS_LISTEN CERTIFICATE KEY] | backend LISTEN"
            );
            std::process::exit(2);
        }
    }
}

/// No policies: the least that any gateway on Pingora costs.
struct Bare {
    backend: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.backend, false, String::new())))
    }
}

/// A second port, with TLS and HTTP/2 by ALPN.
struct Tls<'a> {
    listen: &'a str,
    certificate: &'a str,
    key: &'a str,
}

fn proxy(listen: &str, backend: SocketAddr, tls: Option<Tls<'_>>) {
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let mut service = pingora_proxy::http_proxy_service(&server.configuration, Bare { backend });
    service.add_tcp(listen);
    if let Some(tls) = tls {
        let mut settings = TlsSettings::intermediate(tls.certificate, tls.key).unwrap();
        settings.enable_h2();
        service.add_tls_with_settings(tls.listen, None, settings);
    }
    server.add_service(service);
    server.run_forever();
}

/// One JSON document for every path: of N bytes for `/size/N/...`, else of 1 KiB. Whoever caches may
/// keep it for an hour; `x-served` counts, so that it shows whether an answer came from here.
#[tokio::main(flavor = "current_thread")]
async fn backend(listen: &str) {
    static SERVED: AtomicU64 = AtomicU64::new(0);
    static DOCUMENTS: Mutex<Option<HashMap<usize, Bytes>>> = Mutex::new(None);
    let answer = async |uri: Uri| {
        let size = size(uri.path());
        let body = {
            let mut documents = DOCUMENTS.lock().unwrap();
            let documents = documents.get_or_insert_default();
            documents.entry(size).or_insert_with(|| document(size)).clone()
        };
        let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        (
            [("content-type", "application/json"), ("cache-control", "max-age=3600")],
            [("x-served", served.to_string())],
            body,
        )
    };
    let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
    axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
}

/// Bytes that this path asks for.
fn size(path: &str) -> usize {
    let asked = path.strip_prefix("/size/").and_then(|rest| rest.split('/').next()?.parse().ok());
    asked.unwrap_or(1024).clamp(EMPTY.len(), 16 * 1024 * 1024)
}

const EMPTY: &str = r#"{"padding":""}"#;

fn document(bytes: usize) -> Bytes {
    format!("{{\"padding\":\"{}\"}}", "x".repeat(bytes - EMPTY.len())).into()
}
