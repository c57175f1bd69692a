use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::Check;
use crate::config::expiry::{self, Nearness};
use crate::config::source::{MAX_SECRET, plain, read_bytes};
use crate::config::spot::Spot;
use crate::request::{Clock, SystemClock, UnixMillis};

/// A certificate chain and its key, read and found to belong together.
pub(super) struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub chain_pem: Arc<[u8]>,
    pub key_pem: String,
}

/// A path as written: relative ones start at the folder of the file in which they stand.
pub(super) fn path(text: &str, at: &Spot<'_>, check: &Check<'_>) -> PathBuf {
    let folder = check.report.source(at.value_span().file).map(|source| source.folder());
    folder.unwrap_or(Path::new("")).join(text)
}

fn read(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<(PathBuf, Vec<u8>)> {
    let path = path(text, at, check);
    check.report.depends_on(&path);
    match read_bytes(&path, MAX_SECRET) {
        Ok(bytes) => {
            check.report.content(&bytes);
            Some((path, bytes))
        }
        Err(error) => {
            check.error(at, format!("{} can't be read: {}", at.quoted(), plain(&error)));
            None
        }
    }
}

fn certificates(
    text: &str,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<(PathBuf, Vec<u8>, Vec<X509>)> {
    let (path, bytes) = read(text, at, check)?;
    match X509::stack_from_pem(&bytes) {
        Ok(chain) if !chain.is_empty() => Some((path, bytes, chain)),
        Ok(_) | Err(_) => {
            let message = format!("{} holds no PEM certificate", at.quoted());
            let problem = check.error(at, message);
            if contains(&bytes, b"PRIVATE KEY") {
                problem.hint("this is a private key; are certificate and key swapped?");
            } else {
                problem.hint("it should begin with `-----BEGIN CERTIFICATE-----`");
            }
            None
        }
    }
}

fn private_key(
    text: &str,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<(PathBuf, Vec<u8>, PKey<Private>)> {
    let (path, bytes) = read(text, at, check)?;
    // Without a callback OpenSSL would ask for the passphrase on the terminal.
    match PKey::private_key_from_pem_callback(&bytes, |_| Ok(0)) {
        Ok(key) => Some((path, bytes, key)),
        Err(_) => {
            let problem = check.error(at, format!("{} holds no PEM private key", at.quoted()));
            if contains(&bytes, b"ENCRYPTED") {
                problem.hint("the key is encrypted; decrypt it with `openssl pkey`");
            } else if contains(&bytes, b"CERTIFICATE") {
                problem.hint("this is a certificate; are certificate and key swapped?");
            } else {
                problem.hint("it should begin with `-----BEGIN PRIVATE KEY-----`");
            }
            None
        }
    }
}

/// Reads a chain and its key.
pub(super) fn pair(
    (certificate, at_certificate): (&str, &Spot<'_>),
    (key, at_key): (&str, &Spot<'_>),
    check: &mut Check<'_>,
) -> Option<Pair> {
    let chain = certificates(certificate, at_certificate, check);
    let key = private_key(key, at_key, check);
    let ((chain_path, chain_pem, chain), (key_path, key_pem, key)) = (chain?, key?);
    let leaf = chain.first()?.public_key().ok()?;
    if !leaf.public_eq(&key) {
        check
            .error(
                at_key,
                format!("{} is not the key of {}", at_key.quoted(), at_certificate.quoted()),
            )
            .hint("the first certificate of the chain must be the server's own");
        return None;
    }
    warn_of_end(expiry::of_chain(&chain), "", at_certificate, check);
    Some(Pair {
        certificate: chain_path,
        key: key_path,
        chain_pem: chain_pem.into(),
        key_pem: String::from_utf8_lossy(&key_pem).into_owned(),
    })
}

/// Reads a chain and its key where both may be missing, below the keys `certificate` and `key`.
pub(super) fn optional_pair(
    certificate: Option<&str>,
    key: Option<&str>,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<Pair> {
    let (at_certificate, at_key) = (at.key("certificate"), at.key("key"));
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            pair((certificate, &at_certificate), (key, &at_key), check)
        }
        (None, None) => None,
        (Some(_), None) => {
            check.error_on_key(&at_certificate, "`certificate` needs `key`");
            None
        }
        (None, Some(_)) => {
            check.error_on_key(&at_key, "`key` needs `certificate`");
            None
        }
    }
}

/// Reads a bundle of authorities.
pub(super) fn authorities(
    text: &str,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<(PathBuf, Arc<[u8]>)> {
    let (path, bytes, authorities) = certificates(text, at, check)?;
    warn_of_end(expiry::of_authorities(&authorities), "the last authority in ", at, check);
    Some((path, bytes.into()))
}

/// Says so of what has ended or soon will. It is no problem: a gateway must be able to start with
/// it, and to load what mends it.
fn warn_of_end(ends: Option<UnixMillis>, of: &str, at: &Spot<'_>, check: &mut Check<'_>) {
    let (Some(ends), now) = (ends, SystemClock.now()) else { return };
    let hint = match Nearness::of(ends, now) {
        Nearness::Far => return,
        Nearness::Soon | Nearness::VerySoon => "put a new one in its place before then",
        Nearness::Over => "put a new one in its place: nobody accepts this one any more",
    };
    let message = format!("{of}{} {}", at.quoted(), expiry::words(ends, now));
    check.warning(at, message).hint(hint);
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
