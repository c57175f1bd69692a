//! Access tokens (RFC 9068) and, for tests, tokens that no honest provider would make.

use std::time::{SystemTime, UNIX_EPOCH};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::algorithm::Algorithm;
use super::base64url;
use super::key::Key;
use super::keyring::KeyRing;

/// Who every token is for.
const AUDIENCE: &str = "accounts";

/// What a token allows when nothing was asked for.
pub const DEFAULT_SCOPE: &str = "accounts:read";

/// How long a token lives, in seconds.
pub const LIFETIME: i64 = 3_600;

/// What the token endpoint grants.
pub struct Grant<'a> {
    /// Who says so.
    pub issuer: &'a str,
    /// To whom.
    pub client_id: &'a str,
    /// Separated by spaces.
    pub scope: &'a str,
    /// Seconds from now; in the past when negative.
    pub expires_in: i64,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No such key.
    #[error("there is no key `{0}`")]
    NoKey(String),
    /// No such algorithm.
    #[error(
        "the bank can't sign with `{0}`; it can with RS256 to PS512, ES256, ES384, EdDSA, none and HS256"
    )]
    NoAlgorithm(String),
    /// The two exclude each other.
    #[error("`hs256_with` goes with the algorithm HS256, and HS256 with `hs256_with`")]
    Hs256,
    /// An unsigned token has no signature to tamper with.
    #[error("there is no signature to tamper with")]
    NothingToTamper,
    /// The key is not one for the algorithm.
    #[error("the key can't sign with this algorithm: {0}")]
    Key(#[from] ErrorStack),
}

/// An order for an odd token. All left out: the token that the token endpoint would give `budget-app`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mint {
    /// `ES256`, or the one of the key named by `kid`. Also `none` and `HS256`.
    alg: Option<String>,
    /// Which key signs. To name another than the one that signs, use `header`.
    kid: Option<String>,
    /// Members to set or (`null`) to leave out.
    header: Map<String, Value>,
    /// Members to set or (`null`) to leave out.
    claims: Map<String, Value>,
    /// Seconds from now; may be negative.
    expires_in: Option<i64>,
    /// Stands in the place of the header, byte for byte.
    raw_header: Option<String>,
    /// Stands in the place of the claims, byte for byte.
    raw_payload: Option<String>,
    /// The key of an HMAC.
    hs256_with: Option<String>,
    /// Spoils the signature.
    tamper: bool,
}

/// What signs a minted token.
enum Signing<'a> {
    Key(&'a Key, Algorithm),
    Hs256(&'a str),
    Nothing,
}

impl Grant<'_> {
    fn claims(&self, now: SystemTime) -> Map<String, Value> {
        let issued = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let issued = i64::try_from(issued).unwrap_or(i64::MAX);
        let claims = json!({
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": self.client_id,
            "client_id": self.client_id,
            "scope": self.scope,
            "iat": issued,
            "nbf": issued,
            "exp": issued.saturating_add(self.expires_in),
            "jti": Uuid::new_v4().to_string(),
        });
        object(claims)
    }
}

/// An honest token, signed with ES256.
pub fn issue(ring: &KeyRing, grant: &Grant<'_>, now: SystemTime) -> Result<String, TokenError> {
    let missing = || TokenError::NoKey(Algorithm::Es256.name().to_owned());
    let signing =
        Signing::Key(ring.current(Algorithm::Es256).ok_or_else(missing)?, Algorithm::Es256);
    let (header, claims) = (signing.header(), grant.claims(now));
    join(&json!(header).to_string(), &json!(claims).to_string(), |message| signing.sign(message))
}

/// The token that was ordered.
pub fn mint(
    ring: &KeyRing,
    order: &Mint,
    issuer: &str,
    now: SystemTime,
) -> Result<String, TokenError> {
    let signing = order.signing(ring)?;
    let mut header = signing.header();
    if let (Some(kid), false) = (&order.kid, header.contains_key("kid")) {
        header.insert("kid".to_owned(), json!(kid));
    }
    edit(&mut header, &order.header);
    let expires_in = order.expires_in.unwrap_or(LIFETIME);
    let grant = Grant { issuer, client_id: "budget-app", scope: DEFAULT_SCOPE, expires_in };
    let mut claims = grant.claims(now);
    edit(&mut claims, &order.claims);
    let header = order.raw_header.clone().unwrap_or_else(|| json!(header).to_string());
    let payload = order.raw_payload.clone().unwrap_or_else(|| json!(claims).to_string());
    join(&header, &payload, |message| {
        let mut signature = signing.sign(message)?;
        if order.tamper {
            *signature.first_mut().ok_or(TokenError::NothingToTamper)? ^= 1;
        }
        Ok(signature)
    })
}

impl Mint {
    fn signing<'a>(&'a self, ring: &'a KeyRing) -> Result<Signing<'a>, TokenError> {
        let no_key = |name: &str| TokenError::NoKey(name.to_owned());
        match (self.alg.as_deref(), &self.hs256_with) {
            (None | Some("HS256"), Some(secret)) => return Ok(Signing::Hs256(secret)),
            (Some(_), Some(_)) | (Some("HS256"), None) => return Err(TokenError::Hs256),
            (Some("none"), None) => return Ok(Signing::Nothing),
            (_, None) => {}
        }
        let named = self
            .kid
            .as_deref()
            .map(|kid| ring.named(kid).ok_or_else(|| no_key(kid)))
            .transpose()?;
        let algorithm = match (self.alg.as_deref(), named) {
            (Some(name), _) => algorithm(name)?,
            (None, Some(key)) => key.algorithm,
            (None, None) => Algorithm::Es256,
        };
        let current = || ring.current(algorithm).ok_or_else(|| no_key(algorithm.name()));
        Ok(Signing::Key(named.map_or_else(current, Ok)?, algorithm))
    }
}

fn algorithm(name: &str) -> Result<Algorithm, TokenError> {
    serde_json::from_value(json!(name)).map_err(|_| TokenError::NoAlgorithm(name.to_owned()))
}

impl Signing<'_> {
    /// The header of an honest token that is signed in this way.
    fn header(&self) -> Map<String, Value> {
        // RFC 9068 section 2.1.
        let typ = "at+jwt";
        object(match self {
            Self::Key(key, algorithm) => {
                json!({ "alg": algorithm.name(), "typ": typ, "kid": key.kid })
            }
            Self::Hs256(_) => json!({ "alg": "HS256", "typ": typ }),
            Self::Nothing => json!({ "alg": "none", "typ": typ }),
        })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        match self {
            Self::Key(key, algorithm) => Ok(key.sign(*algorithm, message)?),
            Self::Hs256(secret) => {
                let key = PKey::hmac(secret.as_bytes())?;
                Ok(Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(message)?)
            }
            Self::Nothing => Ok(Vec::new()),
        }
    }
}

/// The compact serialization of RFC 7515 section 7.1.
fn join(
    header: &str,
    payload: &str,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, TokenError>,
) -> Result<String, TokenError> {
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
    let signature = sign(message.as_bytes())?;
    Ok(format!("{message}.{}", base64url(&signature)))
}

/// Sets members, and removes those whose new value is `null`.
pub fn edit(members: &mut Map<String, Value>, edits: &Map<String, Value>) {
    for (name, value) in edits {
        if value.is_null() {
            members.shift_remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
