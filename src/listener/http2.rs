use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;

use super::stream::ClientStream;
use crate::config::model::ListenerLimits;
use crate::observe::{Event, Metrics};

/// Serves one HTTP/2 connection: Pingora drives it, under the limits of its port.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    app: Arc<A>,
    mut stream: Box<ClientStream>,
    metrics: Arc<Metrics>,
    shutdown: &ShutdownWatch,
) {
    stream.speak_http2();
    let connection = Arc::new(Http2::new(app, &stream.connection().listener.limits, metrics));
    connection.process_new(stream, shutdown).await;
}

struct Http2<A> {
    app: Arc<A>,
    server: HttpServerOptions,
    protocol: H2Options,
    metrics: Arc<Metrics>,
}

impl<A> Http2<A> {
    fn new(app: Arc<A>, limits: &ListenerLimits, metrics: Arc<Metrics>) -> Self {
        let mut server = HttpServerOptions::default();
        server.h2_idle_timeout = Some(limits.idle_timeout);
        let mut protocol = default_h2_options();
        // A head above it is answered with 431 by the protocol itself. It counts 32 bytes more for
        // each field (RFC 9113 section 6.5.2) than the port's limit does, and the target as well.
        let spare = limits.max_headers.saturating_mul(32).saturating_add(limits.max_uri_bytes);
        let list = limits.max_header_bytes.saturating_add(spare);
        protocol.max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX));
        Self { app, server, protocol, metrics }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for Http2<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let serving = AssertUnwindSafe(self.app.process_new_http(session, shutdown));
        serving.catch_unwind().await.unwrap_or_else(|_| {
            self.metrics.record(Event::Panicked);
            None
        })
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.protocol.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.server)
    }
}
