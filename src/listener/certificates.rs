use std::fs;
use std::path::Path;

use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::Sha256;
use openssl::x509::{X509, X509Ref};

use super::error::ListenerError;
use crate::config::model::{CertificateFiles, ClientCertificates, ListenerTls};

/// What the files of a listener's TLS settings hold, read at one time.
pub(super) struct PemFiles {
    chains: Vec<(CertificateFiles, Vec<u8>, Vec<u8>)>,
    authorities: Option<Vec<u8>>,
}

/// A certificate with its chain and key, which belong together.
pub(super) struct Chain {
    pub leaf: X509,
    pub others: Vec<X509>,
    pub key: PKey<Private>,
    /// Names that it is for, lower case; `*.` begins a wildcard.
    pub names: Vec<String>,
}

impl PemFiles {
    /// Reads all files.
    pub fn read(tls: &ListenerTls) -> Result<Self, ListenerError> {
        let chains = tls
            .certificates
            .iter()
            .map(|files| Ok((files.clone(), read(&files.certificate)?, read(&files.key)?)))
            .collect::<Result<_, ListenerError>>()?;
        let authorities = authorities_file(tls).map(read).transpose()?;
        Ok(Self { chains, authorities })
    }

    /// SHA-256 of everything in the files: changes when one of them does. Keys themselves are not
    /// kept to compare.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let keys_and_chains = self.chains.iter().flat_map(|(_, chain, key)| [chain, key]);
        for file in keys_and_chains.chain(&self.authorities) {
            hash.update(&file.len().to_be_bytes());
            hash.update(file);
        }
        hash.finish()
    }

    /// The certificates, in the order of the configuration.
    pub fn chains(&self) -> Result<Vec<Chain>, ListenerError> {
        self.chains.iter().map(|(files, chain, key)| Chain::parse(files, chain, key)).collect()
    }

    /// The authorities that client certificates must come from; empty if none are asked for.
    pub fn authorities(&self, tls: &ListenerTls) -> Result<Vec<X509>, ListenerError> {
        match (&self.authorities, authorities_file(tls)) {
            (Some(pem), Some(path)) => certificates(path, pem),
            (_, _) => Ok(Vec::new()),
        }
    }
}

fn authorities_file(tls: &ListenerTls) -> Option<&Path> {
    match &tls.client_certificates {
        ClientCertificates::None => None,
        ClientCertificates::Optional { authorities }
        | ClientCertificates::Required { authorities } => Some(authorities),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ListenerError> {
    fs::read(path).map_err(|source| ListenerError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<X509>, ListenerError> {
    let bad = |reason: String| ListenerError::BadCertificate { path: path.to_owned(), reason };
    let found = X509::stack_from_pem(pem).map_err(|error| bad(error.to_string()))?;
    if found.is_empty() {
        return Err(bad("there is no PEM certificate in it".to_owned()));
    }
    Ok(found)
}

impl Chain {
    fn parse(files: &CertificateFiles, chain: &[u8], key: &[u8]) -> Result<Self, ListenerError> {
        let mut others = certificates(&files.certificate, chain)?;
        let leaf = others.remove(0);
        // With a passphrase given, OpenSSL doesn't ask for one at the terminal.
        let key = PKey::private_key_from_pem_passphrase(key, b"")
            .map_err(|_| ListenerError::BadKey { path: files.key.clone() })?;
        if !leaf.public_key()?.public_eq(&key) {
            return Err(ListenerError::KeyMismatch {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            });
        }
        let names = names(&leaf);
        Ok(Self { leaf, others, key, names })
    }
}

/// DNS names in the subject alternative names; without any, the common name (RFC 6125 section
/// 6.4.4).
fn names(leaf: &X509Ref) -> Vec<String> {
    let alternative: Vec<String> = leaf
        .subject_alt_names()
        .into_iter()
        .flatten()
        .filter_map(|name| name.dnsname().map(str::to_ascii_lowercase))
        .collect();
    if !alternative.is_empty() {
        return alternative;
    }
    leaf.subject_name()
        .entries_by_nid(Nid::COMMONNAME)
        .filter_map(|entry| entry.data().to_string().ok())
        .map(|name| name.to_ascii_lowercase())
        .collect()
}
