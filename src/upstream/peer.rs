use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::x509::X509;
use pingora::protocols::tls::CaType;
use pingora::protocols::{ALPN, TcpKeepalive};
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::CertKey;

use crate::config::model::{BackendProtocol, BackendTls, Cluster, Deadlines};

/// An unused connection is closed after this: shorter than the 60 to 75 seconds after which most
/// servers and cloud load balancers close it themselves, so that few requests meet a closing one.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(50);

/// Streams of one HTTP/2 connection: the least that a server should allow (RFC 9113 section 6.5.2).
const MAX_H2_STREAMS: usize = 100;

/// Told apart from the key of requests, so that the pool never hands out a connection for it.
const FRESH: u64 = 0x66_72_65_73_68;
const PROBE: u64 = 0x70_72_6f_62_65;

/// How a cluster is connected to: everything of an [`HttpPeer`] but the address.
pub(super) struct Transport {
    protocol: BackendProtocol,
    deadlines: Deadlines,
    tls: Option<Tls>,
    policy: u64,
}

struct Tls {
    server_name: Option<Arc<str>>,
    authorities: Option<Arc<CaType>>,
    client: Option<Arc<CertKey>>,
}

/// Why a cluster's TLS settings can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The bundle of authorities is no PEM, or has no certificate.
    #[error("the authorities hold no usable PEM certificate")]
    Authorities,
    /// The client certificate is no PEM chain.
    #[error("the client certificate is no usable PEM chain")]
    ClientCertificate,
    /// The client key is no PEM key.
    #[error("the client key is no usable PEM key")]
    ClientKey,
    /// The key and the certificate are not a pair.
    #[error("the client key does not belong to the client certificate")]
    ClientPair,
    /// There is no host name that the backend's certificate could be checked against.
    #[error("'{0}' is an address: a TLS server name must say which name the certificate has")]
    NoServerName(Arc<str>),
}

impl Transport {
    /// Reads the cluster's certificates and keys.
    pub fn new(cluster: &Cluster) -> Result<Self, TransportError> {
        let tls = cluster.tls.as_ref().map(Tls::new).transpose()?;
        if let Some(tls) = &tls {
            // Pingora verifies names only, never IP addresses in a certificate: without a name
            // every handshake would fail, so say it here.
            let mut names = cluster.endpoints.iter().map(|endpoint| tls.name(&endpoint.host));
            if let Some(address) = names.find(|name| name.parse::<IpAddr>().is_ok()) {
                return Err(TransportError::NoServerName(address.clone()));
            }
        }
        Ok(Self {
            protocol: cluster.protocol,
            deadlines: cluster.deadlines,
            tls,
            policy: policy(cluster.protocol, cluster.tls.as_ref()),
        })
    }

    /// Whether the cluster is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The peer for requests, in the cluster's HTTP version.
    pub fn peer(&self, host: &Arc<str>, address: SocketAddr) -> HttpPeer {
        self.peer_speaking(self.protocol, host, address)
    }

    /// The same peer, spoken to in HTTP/1.1: a WebSocket can't go through HTTP/2.
    pub fn peer_http1(&self, host: &Arc<str>, address: SocketAddr) -> HttpPeer {
        self.peer_speaking(BackendProtocol::Http1, host, address)
    }

    fn peer_speaking(
        &self,
        protocol: BackendProtocol,
        host: &Arc<str>,
        address: SocketAddr,
    ) -> HttpPeer {
        let name = self.tls.as_ref().map_or(String::new(), |tls| tls.name(host).to_string());
        let mut peer = HttpPeer::new(address, self.is_tls(), name);
        let options = &mut peer.options;
        options.connection_timeout = Some(self.deadlines.connect);
        options.total_connection_timeout = Some(self.deadlines.connect);
        // Pingora has one read time-out for the head and for each part of the body.
        options.read_timeout = Some(self.deadlines.first_byte);
        options.write_timeout = Some(self.deadlines.idle);
        options.idle_timeout = Some(POOL_IDLE);
        options.tcp_keepalive = Some(keepalive());
        options.max_h2_streams = MAX_H2_STREAMS;
        options.alpn = match protocol {
            BackendProtocol::Http1 => ALPN::H1,
            BackendProtocol::Http2 => ALPN::H2,
        };
        if let Some(tls) = &self.tls {
            options.ca = tls.authorities.clone();
            peer.client_cert_key = tls.client.clone();
        }
        peer.group_key = group_key(self.policy, protocol);
        peer
    }
}

impl Tls {
    fn new(tls: &BackendTls) -> Result<Self, TransportError> {
        let authorities = tls.authorities.as_deref().map(authorities).transpose()?;
        let client = match &tls.client {
            Some((chain, key)) => Some(Arc::new(client_pair(chain, key.reveal().as_bytes())?)),
            None => None,
        };
        Ok(Self { server_name: tls.server_name.clone(), authorities, client })
    }

    fn name<'a>(&'a self, host: &'a Arc<str>) -> &'a Arc<str> {
        self.server_name.as_ref().unwrap_or(host)
    }
}

fn authorities(pem: &[u8]) -> Result<Arc<CaType>, TransportError> {
    let found = X509::stack_from_pem(pem).map_err(|_| TransportError::Authorities)?;
    // An empty store would make Pingora's handshake fail without a reason; the system's store in
    // its place would trust strangers.
    if found.is_empty() {
        return Err(TransportError::Authorities);
    }
    Ok(Arc::new(found.into_boxed_slice()))
}

fn client_pair(chain: &[u8], key: &[u8]) -> Result<CertKey, TransportError> {
    let chain = X509::stack_from_pem(chain).map_err(|_| TransportError::ClientCertificate)?;
    let leaf = chain.first().ok_or(TransportError::ClientCertificate)?;
    let key = PKey::private_key_from_pem(key).map_err(|_| TransportError::ClientKey)?;
    let public = leaf.public_key().map_err(|_| TransportError::ClientCertificate)?;
    if !public.public_eq(&key) {
        return Err(TransportError::ClientPair);
    }
    Ok(CertKey::new(chain, key))
}

/// What must be equal for two clusters, or two versions of one, to share connections. Pingora's
/// own pool key leaves out authorities and ALPN and knows a client certificate by its serial
/// number alone, so a connection would outlive the trust it was made with.
fn policy(protocol: BackendProtocol, tls: Option<&BackendTls>) -> u64 {
    // `DefaultHasher::new` has fixed keys: equal settings give an equal key after a reload.
    let mut hasher = DefaultHasher::new();
    matches!(protocol, BackendProtocol::Http2).hash(&mut hasher);
    if let Some(tls) = tls {
        tls.server_name.hash(&mut hasher);
        tls.authorities.hash(&mut hasher);
        let client = tls.client.as_ref().map(|(chain, key)| (chain, key.reveal()));
        client.hash(&mut hasher);
    }
    hasher.finish()
}

fn group_key(policy: u64, protocol: BackendProtocol) -> u64 {
    let mut hasher = DefaultHasher::new();
    (policy, matches!(protocol, BackendProtocol::Http2)).hash(&mut hasher);
    hasher.finish()
}

/// Finds connections that a firewall dropped silently before a request does.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(5),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::from_secs(30),
    }
}

/// The peer under a key that no connection is ever returned to: always a new connection.
pub(super) fn fresh(mut peer: HttpPeer) -> HttpPeer {
    peer.group_key ^= FRESH;
    peer
}

/// The peer for health checks: they must not find out that an old connection still works.
pub(super) fn probing(mut peer: HttpPeer) -> HttpPeer {
    peer.group_key ^= PROBE;
    peer
}
