//! What Tollgate is measured against: a bare Pingora proxy built with the same flags, and a
//! backend that answers at once. `bench-peer proxy|backend LISTEN [BACKEND]`.

use std::net::SocketAddr;

use async_trait::async_trait;
use axum::Router;
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
        ["proxy", listen, backend] => proxy(listen, backend.parse().unwrap()),
        ["backend", listen] => backend(listen),
        _ => {
            eprintln!("usage: bench-peer proxy LISTEN BACKEND | backend LISTEN");
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

fn proxy(listen: &str, backend: SocketAddr) {
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let mut service = pingora_proxy::http_proxy_service(&server.configuration, Bare { backend });
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

/// One JSON document of 1 KiB for every path.
#[tokio::main(flavor = "current_thread")]
async fn backend(listen: &str) {
    let body = format!("{{\"padding\":\"{}\"}}", "x".repeat(1010));
    let answer = move || {
        let body = body.clone();
        async move { ([("content-type", "application/json")], body) }
    };
    let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
    axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
}
