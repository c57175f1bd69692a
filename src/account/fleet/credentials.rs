use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::CertKey;

use crate::config::{expiry, model};
use crate::request::UnixMillis;

/// What this gateway shows to others and what it trusts.
pub(super) struct Credentials {
    pub pair: Arc<CertKey>,
    pub authorities: Arc<CaType>,
    /// For the fleet's own calls.
    pub client: reqwest::Client,
    /// Tells these files' contents from any others.
    pub generation: u64,
    /// When this gateway's certificate, or the authority that signed it, ends.
    pub ends: Option<UnixMillis>,
}

/// Why the fleet's certificates can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}", path = path.display())]
pub struct CredentialsError {
    /// The file.
    path: PathBuf,
    /// What is wrong with it.
    why: String,
}

impl Credentials {
    pub fn load(settings: &model::Fleet) -> Result<Self, CredentialsError> {
        let authorities_pem = read(&settings.authorities)?;
        let chain_pem = read(&settings.certificate)?;
        let key_pem = read(&settings.key)?;
        let wrong =
            |path: &Path, why: &str| CredentialsError { path: path.into(), why: why.into() };
        let authorities = X509::stack_from_pem(&authorities_pem)
            .ok()
            .filter(|found| !found.is_empty())
            .ok_or_else(|| wrong(&settings.authorities, "it holds no PEM certificate"))?;
        let chain = X509::stack_from_pem(&chain_pem).unwrap_or_default();
        let public = chain.first().and_then(|leaf| leaf.public_key().ok());
        let public = public
            .ok_or_else(|| wrong(&settings.certificate, "it holds no PEM certificate chain"))?;
        let key = PKey::private_key_from_pem(&key_pem)
            .map_err(|_| wrong(&settings.key, "it holds no PEM private key"))?;
        if !public.public_eq(&key) {
            let why = "the key does not belong to the fleet's certificate";
            return Err(wrong(&settings.key, why));
        }
        let client = client(&authorities_pem, &chain, &key)
            .ok_or_else(|| wrong(&settings.certificate, "no TLS client can be made with it"))?;
        // Never kept: it only tells one set of files from another within this process.
        let mut hasher = DefaultHasher::new();
        (&authorities_pem, &chain_pem, &key_pem).hash(&mut hasher);
        let ends = expiry::of_trusted(&chain, &authorities);
        Ok(Self {
            pair: Arc::new(CertKey::new(chain, key)),
            authorities: Arc::new(authorities.into_boxed_slice()),
            client,
            generation: hasher.finish(),
            ends,
        })
    }
}

/// Trusts the fleet's authority and nobody else, and shows the gateway's own certificate.
fn client(authorities: &[u8], chain: &[X509], key: &PKey<Private>) -> Option<reqwest::Client> {
    let chain: Result<Vec<_>, _> = chain.iter().map(|one| one.to_pem()).collect();
    let chain = chain.ok()?.concat();
    // The one form that the client takes; the file may have another.
    let key = key.private_key_to_pem_pkcs8().ok()?;
    let identity = reqwest::Identity::from_pkcs8_pem(&chain, &key).ok()?;
    reqwest::Client::builder()
        .tls_backend_native()
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(authorities).ok()?)
        .identity(identity)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(super::CONNECT)
        .build()
        .ok()
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    fs::read(path).map_err(|error| CredentialsError { path: path.into(), why: error.to_string() })
}
