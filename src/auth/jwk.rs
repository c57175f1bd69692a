use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{self as sig, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::token;

/// NIST SP 800-131A and RFC 7518 section 3.3.
const MIN_RSA_BITS: usize = 2048;
/// Beyond this a verification costs milliseconds, which is a way to attack the gateway.
const MAX_RSA_BITS: usize = 8192;

/// A public key that verifies signatures, parsed once: parsing it anew for each token, as
/// jsonwebtoken's verifiers do, makes an RSA verification half as dear again.
pub(super) struct Key {
    pub(super) id: Option<Arc<str>>,
    /// One prepared key for each algorithm that it may be used with; never empty.
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

/// Why a key of a set can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFlaw {
    #[error("it is not an object")]
    NotAnObject,
    #[error("its id is not a text of 1 to 256 bytes")]
    Id,
    #[error("it is not for signatures")]
    Use,
    #[error("its operations don't include verifying")]
    Operations,
    #[error("its type or curve is not supported")]
    Type,
    #[error("a symmetric key must not be published")]
    Symmetric,
    #[error("its private part is published: anybody can sign with it")]
    Private,
    #[error("its algorithm is not supported or doesn't fit its type")]
    Algorithm,
    #[error("a number in it is not base64url, or has the wrong length")]
    Encoding,
    #[error("an RSA key needs 2048 to 8192 bits")]
    RsaSize,
    #[error("it is no valid public key")]
    Invalid,
}

impl Key {
    /// Reads a JWK (RFC 7517, RFC 7518 section 6, RFC 8037).
    pub(super) fn read(jwk: &Value) -> Result<Self, KeyFlaw> {
        let jwk = jwk.as_object().ok_or(KeyFlaw::NotAnObject)?;
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) if token::is_key_id(id) => Some(Arc::from(id.as_str())),
            Some(_) => return Err(KeyFlaw::Id),
        };
        check_purpose(jwk)?;
        let material = Material::read(jwk)?;
        let algorithms = match jwk.get("alg") {
            None => material.algorithms(),
            Some(name) => only(name, material.algorithms())?,
        };
        let verifiers = algorithms
            .iter()
            .map(|algorithm| Ok((*algorithm, material.prepare(*algorithm)?)))
            .collect::<Result<_, KeyFlaw>>()?;
        Ok(Self { id, verifiers })
    }

    /// Whether it may verify this algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifiers.iter().any(|(known, _)| *known == algorithm)
    }

    /// Whether the signature is this key's, by an algorithm that the key may be used with.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.verifiers
            .iter()
            .find(|(known, _)| *known == algorithm)
            .is_some_and(|(_, key)| key.verify_sig(signed, signature).is_ok())
    }

    /// Algorithms it may be used with.
    pub(super) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.verifiers.iter().map(|(algorithm, _)| *algorithm)
    }
}

/// Two keys are one if they verify the same tokens.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.verifiers.len() == other.verifiers.len()
            && self
                .verifiers
                .iter()
                .zip(&other.verifiers)
                .all(|(ours, theirs)| ours.0 == theirs.0 && ours.1.as_ref() == theirs.1.as_ref())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// RFC 7517 sections 4.2 and 4.3: a key for encryption must not verify signatures.
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), KeyFlaw> {
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err(KeyFlaw::Use);
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|one| one == "verify") => Ok(()),
        Some(_) => Err(KeyFlaw::Operations),
    }
}

fn only(name: &Value, possible: &'static [Algorithm]) -> Result<&'static [Algorithm], KeyFlaw> {
    name.as_str()
        .and_then(token::algorithm)
        .and_then(|wanted| possible.iter().find(|one| **one == wanted))
        .map(std::slice::from_ref)
        .ok_or(KeyFlaw::Algorithm)
}

/// The numbers of a public key.
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point (SEC 1 section 2.3.3).
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Material {
    fn read(jwk: &Map<String, Value>) -> Result<Self, KeyFlaw> {
        let kind = jwk.get("kty").and_then(Value::as_str);
        let curve = jwk.get("crv").and_then(Value::as_str);
        if kind == Some("oct") {
            return Err(KeyFlaw::Symmetric);
        }
        if jwk.contains_key("d") {
            return Err(KeyFlaw::Private);
        }
        match (kind, curve) {
            (Some("RSA"), _) => Self::read_rsa(jwk),
            (Some("EC"), Some("P-256")) => Ok(Self::P256(point(jwk, 32)?)),
            (Some("EC"), Some("P-384")) => Ok(Self::P384(point(jwk, 48)?)),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519(number(jwk, "x", Some(32))?)),
            _ => Err(KeyFlaw::Type),
        }
    }

    fn read_rsa(jwk: &Map<String, Value>) -> Result<Self, KeyFlaw> {
        let modulus = without_leading_zeros(number(jwk, "n", None)?);
        let exponent = without_leading_zeros(number(jwk, "e", None)?);
        let bits =
            modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
            return Err(KeyFlaw::RsaSize);
        }
        // An exponent of 1 makes every text its own signature; an even one has no inverse. Large
        // ones make verification slow: 65537 has three bytes.
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !odd(&modulus) || !odd(&exponent) || exponent == [1] || exponent.len() > 4 {
            return Err(KeyFlaw::Invalid);
        }
        Ok(Self::Rsa { modulus, exponent })
    }

    fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa { .. } => &[
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
            ],
            Self::P256(_) => &[Algorithm::ES256],
            Self::P384(_) => &[Algorithm::ES384],
            Self::Ed25519(_) => &[Algorithm::EdDSA],
        }
    }

    fn prepare(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, KeyFlaw> {
        let prepared = match self {
            Self::Rsa { modulus, exponent } => {
                let parameters = rsa_parameters(algorithm).ok_or(KeyFlaw::Algorithm)?;
                RsaPublicKeyComponents { n: modulus, e: exponent }.to_parsed_public_key(parameters)
            }
            Self::P256(point) => ParsedPublicKey::new(&sig::ECDSA_P256_SHA256_FIXED, point),
            Self::P384(point) => ParsedPublicKey::new(&sig::ECDSA_P384_SHA384_FIXED, point),
            Self::Ed25519(point) => ParsedPublicKey::new(&sig::ED25519, point),
        };
        prepared.map_err(|_: KeyRejected| KeyFlaw::Invalid)
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&sig::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&sig::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&sig::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&sig::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&sig::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&sig::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn number(jwk: &Map<String, Value>, name: &str, length: Option<usize>) -> Result<Vec<u8>, KeyFlaw> {
    jwk.get(name)
        .and_then(Value::as_str)
        .and_then(|text| token::decode(text).ok())
        .filter(|bytes| length.is_none_or(|length| bytes.len() == length))
        .ok_or(KeyFlaw::Encoding)
}

fn point(jwk: &Map<String, Value>, length: usize) -> Result<Vec<u8>, KeyFlaw> {
    let x = number(jwk, "x", Some(length))?;
    let y = number(jwk, "y", Some(length))?;
    Ok([&[4][..], &x, &y].concat())
}

/// Some providers write a sign byte that RFC 7518 section 6.3.1.1 forbids; it changes nothing.
fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}
