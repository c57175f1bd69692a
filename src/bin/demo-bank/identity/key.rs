//! One signing key and the JWK that is published for it.

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use serde_json::{Map, Value, json};

use super::algorithm::Algorithm;
use super::base64url;

/// A signing key.
pub struct Key {
    /// Its name in the published set.
    pub kid: String,
    /// What it signs with unless asked otherwise.
    pub algorithm: Algorithm,
    pair: PKey<Private>,
    published: Map<String, Value>,
}

impl Key {
    /// Makes a new key; RSA keys of this many bits.
    pub fn generate(algorithm: Algorithm, rsa_bits: u32) -> Result<Self, ErrorStack> {
        Self::new(algorithm, algorithm.generate(rsa_bits)?)
    }

    /// Reads a key that [`Key::to_pem`] wrote.
    pub fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, ErrorStack> {
        Self::new(algorithm, PKey::private_key_from_pem(pem.as_bytes())?)
    }

    /// The private key, as PKCS #8 in PEM.
    pub fn to_pem(&self) -> Result<String, ErrorStack> {
        self.pair.private_key_to_pem_pkcs8().map(text)
    }

    /// The public key, as SubjectPublicKeyInfo in PEM.
    pub fn public_pem(&self) -> Result<String, ErrorStack> {
        self.pair.public_key_to_pem().map(text)
    }

    fn new(algorithm: Algorithm, pair: PKey<Private>) -> Result<Self, ErrorStack> {
        let members = algorithm.public_members(&pair)?;
        let hashed: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        // RFC 7638. A kid that follows from the key never names two keys, not even across restarts with new keys.
        let thumbprint = base64url(&sha256(format!("{{{}}}", hashed.join(",")).as_bytes()));
        let short: String = thumbprint.chars().take(12).collect();
        let kid = format!("{}-{short}", algorithm.name().to_lowercase());
        let mut published: Map<String, Value> =
            members.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        for (name, value) in [("kid", kid.as_str()), ("use", "sig"), ("alg", algorithm.name())] {
            published.insert(name.to_owned(), json!(value));
        }
        Ok(Self { kid, algorithm, pair, published })
    }

    /// Publishes the key otherwise: under another kid, with other members or (`null`) without them.
    pub fn publish_as(&mut self, members: &Map<String, Value>) {
        super::token::edit(&mut self.published, members);
        if let Some(kid) = self.published.get("kid").and_then(Value::as_str) {
            self.kid = kid.to_owned();
        }
    }

    /// The JWK, as it stands in the published set.
    pub fn jwk(&self) -> Value {
        Value::Object(self.published.clone())
    }

    /// Signs with this algorithm, which need not be the key's own. Fails when the key can't.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        algorithm.sign(&self.pair, message)
    }
}

/// PEM is ASCII.
fn text(pem: Vec<u8>) -> String {
    String::from_utf8_lossy(&pem).into_owned()
}
