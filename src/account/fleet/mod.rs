//! The other gateways of the fleet and how requests are passed to them: HTTP/2 over mutual TLS,
//! under a certificate authority of the fleet's own.

mod call;
mod credentials;
mod passport;

pub use call::{CallError, ERRANDS};
pub use credentials::CredentialsError;
pub use passport::{PASSPORT, Passport, PassportError};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::protocols::{ALPN, TcpKeepalive};
use pingora::upstreams::peer::HttpPeer;

use self::credentials::Credentials;
use crate::config::model;
use crate::net::{NetError, Resolver};

/// How often the certificate's files are looked at for changes.
const REFRESH_EVERY: Duration = Duration::from_secs(10);
/// Connect and handshake together. An owner that is alive answers at once; one that is not should
/// be found out long before the caller's patience ends.
const CONNECT: Duration = Duration::from_secs(1);
/// A stopped process keeps its connections: only an unanswered ping tells (Pingora waits 5 s for
/// its answer).
const PING_EVERY: Duration = Duration::from_secs(1);
/// Between requests.
const IDLE: Duration = Duration::from_secs(50);
/// Requests of one connection at once; the listener of the other side allows as many.
const STREAMS: usize = 100;

/// This gateway as a member of its fleet.
pub struct Fleet {
    settings: model::Fleet,
    credentials: ArcSwap<Credentials>,
    resolver: Arc<Resolver>,
}

/// Why another gateway can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// What its claim calls it is no address.
    #[error("'{0}' is no address of a gateway (host:port)")]
    NoAddress(Arc<str>),
    /// Its name can't be resolved.
    #[error(transparent)]
    Resolve(#[from] NetError),
}

impl Fleet {
    /// Reads the certificate's files.
    ///
    /// # Errors
    /// [`CredentialsError`], with the file and what is wrong with it.
    pub fn open(settings: model::Fleet, resolver: Arc<Resolver>) -> Result<Self, CredentialsError> {
        let credentials = ArcSwap::from_pointee(Credentials::load(&settings)?);
        Ok(Self { settings, credentials, resolver })
    }

    /// What this gateway calls itself in its claims: where the others reach it.
    pub fn name(&self) -> &Arc<str> {
        &self.settings.advertise
    }

    /// Takes changed files into use for as long as it runs; files that can't be used leave the old
    /// ones in use.
    pub async fn refresh_for_ever(&self) {
        let mut ticks = tokio::time::interval(REFRESH_EVERY);
        loop {
            ticks.tick().await;
            self.refresh();
        }
    }

    fn refresh(&self) {
        match Credentials::load(&self.settings) {
            Ok(new) if new.generation == self.credentials.load().generation => {}
            Ok(new) => {
                self.credentials.store(Arc::new(new));
                tracing::info!("the fleet's changed certificates are in use");
            }
            Err(error) => tracing::error!(%error, "the fleet's certificates are kept"),
        }
    }

    /// The peer for requests to the gateway of this name, to be answered within `left`.
    ///
    /// # Errors
    /// [`FleetError`]: its name leads nowhere.
    pub async fn peer(&self, name: &Arc<str>, left: Duration) -> Result<HttpPeer, FleetError> {
        let unusable = || FleetError::NoAddress(Arc::clone(name));
        let (host, port) = name.rsplit_once(':').ok_or_else(unusable)?;
        let port: u16 = port.parse().map_err(|_| unusable())?;
        let resolved = self.resolver.lookup(host).await?;
        let address = *resolved.addresses.first().ok_or_else(unusable)?;
        Ok(self.peer_at(host, SocketAddr::new(address, port), left))
    }

    fn peer_at(&self, host: &str, address: SocketAddr, left: Duration) -> HttpPeer {
        let credentials = self.credentials.load();
        let pair = Arc::clone(&credentials.pair);
        let mut peer = HttpPeer::new_mtls(address, host.to_owned(), pair);
        // The pool's key has no authorities in it: a connection must not outlive the trust that it
        // was made with.
        peer.group_key = credentials.generation;
        let options = &mut peer.options;
        options.ca = Some(Arc::clone(&credentials.authorities));
        options.verify_cert = true;
        // Pingora compares names only, never addresses. Whoever has a certificate of the fleet's
        // own authority is a gateway of the fleet.
        options.verify_hostname = host.parse::<IpAddr>().is_err();
        options.alpn = ALPN::H2;
        options.max_h2_streams = STREAMS;
        options.h2_ping_interval = Some(PING_EVERY);
        options.connection_timeout = Some(CONNECT.min(left));
        options.total_connection_timeout = Some(CONNECT.min(left));
        options.read_timeout = Some(left);
        options.write_timeout = Some(left);
        options.idle_timeout = Some(IDLE);
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(5),
            interval: Duration::from_secs(1),
            count: 3,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::from_secs(8),
        });
        peer
    }
}
