//! The other gateways of the fleet and how requests are passed to them: HTTP/2 over mutual TLS,
//! under a certificate authority of the fleet's own.

mod call;
mod credentials;
mod names;
mod passport;
mod refused;

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
use self::names::Names;
use self::refused::Looks;
use crate::config::model;
use crate::net::{NetError, Resolved, Resolver};
use crate::request::UnixMillis;

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
    /// Those of the start, but for the files, which a reload may change.
    settings: ArcSwap<model::Fleet>,
    name: Arc<str>,
    credentials: ArcSwap<Credentials>,
    resolver: Arc<Resolver>,
    names: Arc<Names>,
    looks: Looks,
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
        let (names, looks) = (Arc::default(), Looks::default());
        let name = Arc::clone(&settings.advertise);
        let settings = ArcSwap::from_pointee(settings);
        Ok(Self { settings, name, credentials, resolver, names, looks })
    }

    /// What this gateway calls itself in its claims: where the others reach it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A reload names the certificate's files, others perhaps: they are read at once.
    pub fn take_files(&self, settings: &model::Fleet) {
        self.settings.store(Arc::new(settings.clone()));
        self.refresh();
    }

    /// When the certificate in use ends, or before it the authority that signed it.
    pub fn certificate_ends(&self) -> Option<UnixMillis> {
        self.credentials.load().ends
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
        match Credentials::load(&self.settings.load()) {
            Ok(new) if new.generation == self.credentials.load().generation => {}
            Ok(new) => {
                self.credentials.store(Arc::new(new));
                tracing::info!("the fleet's changed certificates are in use");
            }
            Err(error) => tracing::error!(%error, "the fleet's certificates are kept"),
        }
    }

    /// The peer for requests to the gateway of this name, to be answered within `left`. While its
    /// name can't be looked up, it is where it was found last.
    ///
    /// # Errors
    /// [`FleetError`]: its name leads nowhere.
    pub async fn peer(&self, name: &Arc<str>, left: Duration) -> Result<HttpPeer, FleetError> {
        let unusable = || FleetError::NoAddress(Arc::clone(name));
        let (host, port) = name.rsplit_once(':').ok_or_else(unusable)?;
        let port: u16 = port.parse().map_err(|_| unusable())?;
        if name == self.name() {
            // Others may know this gateway by a name that it can't look up itself.
            return Ok(self.peer_at(host, names::own_port(self.settings.load().listen), left));
        }
        let look_up = || look_up(Arc::clone(&self.resolver), host.to_owned());
        let address = self.names.address(host, CONNECT.min(left), look_up).await?;
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

async fn look_up(resolver: Arc<Resolver>, host: String) -> Result<Resolved, NetError> {
    resolver.lookup(&host).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::authority::Authority;

    #[test]
    fn files_that_a_reload_names_are_in_use_at_once_and_unusable_ones_are_not() {
        let authority = Authority::new("fleet");
        let settings = |name: &str, ends: u64| {
            let signed = authority.sign_until(name, &["127.0.0.1"], ends);
            model::Fleet {
                listen: "127.0.0.1:7443".parse().unwrap(),
                advertise: "127.0.0.1:7443".into(),
                authorities: authority.file(),
                certificate: signed.certificate_file,
                key: signed.key_file,
            }
        };
        let resolver = Arc::new(Resolver::from_system().unwrap());
        let fleet = Fleet::open(settings("first", 2_000_000_000), resolver).unwrap();
        let second = settings("second", 2_100_000_000);
        fleet.take_files(&second);
        let ends = Some(UnixMillis(2_100_000_000_000));
        assert_eq!(fleet.certificate_ends(), ends);
        fleet.take_files(&model::Fleet { key: "/nowhere".into(), ..second });
        assert_eq!(fleet.certificate_ends(), ends);
    }
}
