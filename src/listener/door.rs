use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use openssl::ssl::NameType;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::prelude::timeout;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{ALPN, GetSocketDigest, Shutdown, Ssl, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncWriteExt;

use super::arrival::{Arrival, Expected, next};
use super::connection::Connection;
use super::http2;
use super::port::{EarlyRequest, Port};
use super::seats::{Full, Seat};
use super::sketch::Sketch;
use super::stream::ClientStream;
use super::tls::TlsFront;
use crate::config::model::Listener;
use crate::observe::Event;
use crate::request::Refusal;

/// How long a client that was refused has to take the answer.
const PARTING_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes read and dropped meanwhile: closing on unread bytes would reset the connection, and the
/// client would lose the answer.
const PARTING_BYTES: usize = 256 * 1024;

/// Where connections of one port come in: everything between `accept` and a request's session.
///
/// What serves the sessions must leave Pingora's pipelining off, as it is by default: with it on,
/// Pingora would keep the next request's first bytes to itself, and the door wait for them.
pub(super) struct Door<A> {
    app: Arc<A>,
    port: Arc<Port>,
}

impl<A> Door<A> {
    pub fn new(app: Arc<A>, port: Arc<Port>) -> Self {
        Self { app, port }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for Door<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let stream = stream.into_any().downcast::<L4Stream>().ok()?;
        let stream = self.let_in(*stream).await?;
        self.serve(Box::new(stream), shutdown).await;
        None
    }
}

impl<A: HttpServerApp + Send + Sync + 'static> Door<A> {
    /// Gives a connection its seat and its TLS.
    async fn let_in(&self, stream: L4Stream) -> Option<ClientStream> {
        let digest = stream.get_socket_digest()?;
        let peer = digest.peer_addr()?.as_inet()?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let settings = self.port.settings();
        let seat = match self.port.seats().take(peer.ip(), &settings.listener.limits) {
            Ok(seat) => seat,
            Err(Full::Port) => return self.refused("connections"),
            Err(Full::Address) => return self.refused("connections-per-address"),
        };
        match &settings.tls {
            None => self.client(Box::new(stream), peer, settings.listener.clone(), seat),
            Some(tls) => self.shake_hands(tls, stream, peer, &settings.listener, seat).await,
        }
    }

    async fn shake_hands(
        &self,
        tls: &TlsFront,
        stream: L4Stream,
        peer: SocketAddr,
        listener: &Arc<Listener>,
        seat: Seat,
    ) -> Option<ClientStream> {
        match timeout(listener.limits.header_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.client(Box::new(stream), peer, listener.clone(), seat),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                self.refused("tls-handshake")
            }
            Err(_) => self.refused("tls-timeout"),
        }
    }

    fn client(
        &self,
        stream: Stream,
        peer: SocketAddr,
        listener: Arc<Listener>,
        seat: Seat,
    ) -> Option<ClientStream> {
        let asked_for = stream.get_ssl().and_then(|ssl| ssl.servername(NameType::HOST_NAME));
        let certificate = stream
            .get_ssl_digest()
            .and_then(|digest| digest.cert_digest.as_slice().try_into().ok());
        let connection = Arc::new(Connection {
            peer,
            listener,
            server_name: asked_for.map(str::to_ascii_lowercase),
            certificate_thumbprint: certificate,
        });
        ClientStream::new(stream, connection, seat, self.port.metrics().clone()).ok()
    }

    fn refused<T>(&self, reason: &'static str) -> Option<T> {
        self.port.metrics().record(Event::ListenerRefused { reason });
        None
    }

    /// Serves requests one after the other, until the connection ends or turns out to be HTTP/2.
    async fn serve(&self, mut stream: Box<ClientStream>, shutdown: &ShutdownWatch) {
        let connection = stream.connection().clone();
        let limits = &connection.listener.limits;
        let mut closing = self.port.closing();
        let mut expected = expected_first(&stream);
        let mut carried = None;
        loop {
            match next(&mut stream, expected, limits, &mut closing).await {
                Arrival::Http1 => {}
                Arrival::Http2 => {
                    let metrics = self.port.metrics().clone();
                    return http2::serve(self.app.clone(), stream, metrics, shutdown).await;
                }
                Arrival::Refused(why, began) => return self.refuse(stream, &why, began).await,
                Arrival::Late => return self.refused("header-timeout").unwrap_or_default(),
                Arrival::Garbage => return self.refused("protocol").unwrap_or_default(),
                Arrival::Over => return Shutdown::shutdown(&mut *stream).await,
            }
            expected = Expected::Http1;
            match self.exchange(stream, carried.take(), shutdown).await {
                Some((next, settings)) => (stream, carried) = (next, settings),
                None => return,
            }
        }
    }

    /// Hands one request to the gateway; gives the connection back if it can take another.
    async fn exchange(
        &self,
        stream: Box<ClientStream>,
        carried: Option<HttpPersistentSettings>,
        shutdown: &ShutdownWatch,
    ) -> Option<(Box<ClientStream>, Option<HttpPersistentSettings>)> {
        let idle = stream.connection().listener.limits.idle_timeout.as_secs().max(1);
        let mut session = ServerSession::new_http1(stream);
        match carried {
            Some(settings) => settings.apply_to_session(&mut session),
            None => session.set_keepalive((!*shutdown.borrow()).then_some(idle)),
        }
        // Called here and nowhere deeper: a session has some kilobytes, and each async function that
        // it is handed to copies it.
        let serving = AssertUnwindSafe(self.app.process_new_http(session, shutdown));
        let Ok(reused) = serving.catch_unwind().await else {
            self.port.metrics().record(Event::Panicked);
            return None;
        };
        let (stream, settings) = reused?.consume();
        let stream = stream.into_any().downcast::<ClientStream>().ok()?;
        // Pingora drains what a request left unread. Should it ever see the end of a body
        // elsewhere than the door does, what follows must not be taken for a request.
        stream.body_is_over().then_some((stream, settings))
    }

    /// Answers a head that must not be passed on, and parts.
    async fn refuse(&self, mut stream: Box<ClientStream>, refusal: &Refusal, began: Instant) {
        self.port.metrics().record(Event::ListenerRefused { reason: word(refusal) });
        let Sketch { method, host, path } = Sketch::of(stream.ahead());
        let address = stream.connection().peer.ip();
        let request = EarlyRequest { refusal, began, address, method, host, path };
        let answer = self.port.answers().answer(&request);
        let parting = async {
            stream.write_all(&answer).await?;
            stream.flush().await?;
            AsyncWriteExt::shutdown(&mut stream).await?;
            let mut dropped = 0;
            while dropped < PARTING_BYTES {
                match stream.discard().await? {
                    0 => break,
                    count => dropped += count,
                }
            }
            std::io::Result::Ok(())
        };
        if let Ok(Err(error)) = timeout(PARTING_TIMEOUT, parting).await {
            tracing::debug!(%error, "a refused client did not take its answer");
        }
    }
}

fn expected_first(stream: &ClientStream) -> Expected {
    let listener = &stream.connection().listener;
    match (&listener.tls, stream.selected_alpn_proto()) {
        (Some(_), Some(ALPN::H2)) => Expected::Http2,
        (None, _) if listener.http2 => Expected::Either,
        (_, _) => Expected::Http1,
    }
}

const fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UriTooLong => "uri-too-long",
        Refusal::HeadersTooLarge => "headers-too-large",
        Refusal::HeadTimeout => "header-timeout",
        Refusal::MethodNotAllowed { .. } => "method",
        Refusal::BadPath(_) => "target",
        _ => "malformed-head",
    }
}
