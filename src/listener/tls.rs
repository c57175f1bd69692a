use std::collections::HashMap;
use std::net::SocketAddr;

use openssl::ssl::{
    AlpnError, NameType, SslAcceptor, SslAcceptorBuilder, SslContext, SslMethod, SslMode,
    SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode, SslVersion, select_next_proto,
};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::tls::SslStream;
use pingora::protocols::tls::server::handshake;
use serde::Serialize;

use super::certificates::{Chain, PemFiles};
use super::error::ListenerError;
use crate::config::expiry;
use crate::config::model::{ClientCertificates, ListenerTls, TlsVersion};
use crate::request::UnixMillis;

/// Protocols by ALPN (RFC 7301), most wanted first, as they stand on the wire.
const HTTP2_OR_HTTP1: &[u8] = b"\x02h2\x08http/1.1";
const HTTP1: &[u8] = b"\x08http/1.1";
/// Sessions are resumed only where they began: in this program.
const SESSION_CONTEXT: &[u8] = b"tollgate";

/// The TLS side of a port, made from files at one time and replaced whole when they change.
///
/// There is one OpenSSL context for each certificate, all with the same settings; the name that
/// the client asks for picks one. Pingora's own way, a callback in mid-handshake, changes the
/// certificate alone: new authorities for client certificates would need a restart.
pub(super) struct TlsFront {
    acceptor: SslAcceptor,
    digest: [u8; 32],
    certificates: Vec<CertificateView>,
}

/// A certificate in use, for the operators' views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// Names that it is for.
    pub names: Vec<String>,
    /// When it ends, as OpenSSL writes it: `Nov 23 15:06:00 2026 GMT`.
    pub not_after: String,
    /// When the first of its chain ends.
    #[serde(skip)]
    pub ends: Option<UnixMillis>,
}

impl TlsFront {
    /// Makes the TLS side of the port at `address`.
    pub fn load(
        address: SocketAddr,
        tls: &ListenerTls,
        http2: bool,
        files: &PemFiles,
    ) -> Result<Self, ListenerError> {
        let (chains, authorities) = (files.chains()?, files.authorities(tls)?);
        let settings = Settings { tls, authorities: &authorities, http2 };
        let Some((default, _)) = chains.split_first() else {
            return Err(ListenerError::NoCertificate(address));
        };
        let mut names = ByName::default();
        for chain in &chains {
            names.add(chain, settings.builder(chain)?.build().into_context());
        }
        let mut builder = settings.builder(default)?;
        builder.set_servername_callback(move |ssl, _alert| {
            names.pick(ssl);
            Ok(())
        });
        let certificates = chains.iter().map(view).collect();
        Ok(Self { acceptor: builder.build(), digest: files.digest(), certificates })
    }

    /// Whether it was made from files that hold this.
    pub fn is_from(&self, files: &PemFiles) -> bool {
        self.digest == files.digest()
    }

    /// The certificates in use.
    pub fn certificates(&self) -> &[CertificateView] {
        &self.certificates
    }

    /// Does the handshake on a connection.
    pub async fn accept(&self, stream: L4Stream) -> pingora::Result<SslStream<L4Stream>> {
        handshake(&self.acceptor, stream).await
    }
}

fn view(chain: &Chain) -> CertificateView {
    CertificateView {
        names: chain.names.clone(),
        not_after: chain.leaf.not_after().to_string(),
        ends: expiry::of_chain(std::iter::once(&chain.leaf).chain(&chain.others)),
    }
}

/// What all contexts of a port have in common.
struct Settings<'s> {
    tls: &'s ListenerTls,
    authorities: &'s [X509],
    http2: bool,
}

impl Settings<'_> {
    fn builder(&self, chain: &Chain) -> Result<SslAcceptorBuilder, ListenerError> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
        builder.set_min_proto_version(Some(match self.tls.min_version {
            TlsVersion::Tls12 => SslVersion::TLS1_2,
            TlsVersion::Tls13 => SslVersion::TLS1_3,
        }))?;
        builder.set_options(SslOptions::NO_RENEGOTIATION);
        builder.set_mode(SslMode::RELEASE_BUFFERS);
        // Tickets resume sessions without a store that clients could fill.
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        if !self.tls.session_tickets {
            // TLS 1.2, then 1.3.
            builder.set_options(SslOptions::NO_TICKET);
            builder.set_num_tickets(0)?;
        }
        builder.set_session_id_context(SESSION_CONTEXT)?;
        builder.set_private_key(&chain.key)?;
        builder.set_certificate(&chain.leaf)?;
        for certificate in &chain.others {
            builder.add_extra_chain_cert(certificate.clone())?;
        }
        let protocols = if self.http2 { HTTP2_OR_HTTP1 } else { HTTP1 };
        // A client that speaks none of them is told so (RFC 7301 section 3.2) instead of being
        // answered in a protocol that it doesn't expect.
        builder.set_alpn_select_callback(move |_, offered| {
            select_next_proto(protocols, offered).ok_or(AlpnError::ALERT_FATAL)
        });
        self.verify_clients(&mut builder)?;
        Ok(builder)
    }

    fn verify_clients(&self, builder: &mut SslAcceptorBuilder) -> Result<(), ListenerError> {
        builder.set_verify(match self.tls.client_certificates {
            ClientCertificates::None => return Ok(()),
            ClientCertificates::Optional { .. } => SslVerifyMode::PEER,
            ClientCertificates::Required { .. } => {
                SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT
            }
        });
        let mut store = X509StoreBuilder::new()?;
        for authority in self.authorities {
            store.add_cert(authority.clone())?;
            builder.add_client_ca(authority)?;
        }
        builder.set_verify_cert_store(store.build())?;
        Ok(())
    }
}

/// Contexts by the names of their certificates.
#[derive(Default)]
struct ByName {
    exact: HashMap<String, SslContext>,
    /// By what follows the `*`: a wildcard stands for one label (RFC 6125 section 6.4.3).
    wildcard: HashMap<String, SslContext>,
}

impl ByName {
    /// Adds a certificate; of two for the same name the first counts.
    fn add(&mut self, chain: &Chain, context: SslContext) {
        for name in &chain.names {
            let (map, name) = match name.strip_prefix('*') {
                Some(suffix) => (&mut self.wildcard, suffix),
                None => (&mut self.exact, name.as_str()),
            };
            map.entry(name.to_owned()).or_insert_with(|| context.clone());
        }
    }

    /// Gives a handshake the certificate for the name asked for: the exact one, else a wildcard,
    /// else it keeps the port's first.
    fn pick(&self, ssl: &mut SslRef) {
        let Some(name) = ssl.servername(NameType::HOST_NAME).map(str::to_ascii_lowercase) else {
            return;
        };
        let by_wildcard = || {
            let suffix = name.get(name.find('.')?..)?;
            self.wildcard.get(suffix)
        };
        if let Some(context) = self.exact.get(&name).or_else(by_wildcard)
            && let Err(error) = ssl.set_ssl_context(context)
        {
            tracing::warn!(%error, "a certificate could not be picked; the first one is shown");
        }
    }
}
