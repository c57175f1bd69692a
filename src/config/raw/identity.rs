use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, OneOrMany, seconds};

/// An identity provider whose tokens (RFC 7519, RFC 9068) are accepted.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Exact value of a token's `iss`. With discovery also the URL below which the provider
    /// publishes its document.
    #[schemars(length(min = 1))]
    pub issuer: String,
    /// Accepted values of `aud`; one of them must be there.
    pub audience: OneOrMany<String>,
    /// URL of the provider's keys (JWK Set). Without it the discovery document names them.
    pub jwks: Option<String>,
    /// Signature algorithms accepted.
    #[serde(default = "safe_algorithms")]
    #[schemars(length(min = 1))]
    pub algorithms: Vec<Algorithm>,
    /// Accepted values of the `typ` header; an empty list accepts any.
    #[serde(default = "token_types")]
    pub types: Vec<String>,
    /// Clock difference forgiven at `exp` and `nbf`.
    #[serde(default = "seconds::<30>")]
    pub leeway: Duration,
    /// Longest time until `exp` that is believed. Without it any is.
    pub max_lifetime: Option<Duration>,
    /// Claims that name the client; the first one that a token has counts.
    #[serde(default = "client_claims")]
    #[schemars(length(min = 1))]
    pub client_claims: Vec<String>,
    /// Claim with the scopes: a text with blanks, or a list.
    #[serde(default = "scope_claim")]
    #[schemars(length(min = 1))]
    pub scope_claim: String,
    /// When keys are fetched.
    #[serde(default)]
    pub refresh: Refresh,
    /// PEM file with authorities that are trusted for the fetch, beside the system's.
    pub authorities: Option<String>,
}

/// A signature algorithm (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub enum Algorithm {
    /// RSA-PSS with SHA-256.
    PS256,
    /// RSA-PSS with SHA-384.
    PS384,
    /// RSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    RS384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    RS512,
}

/// When a provider's keys are fetched.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refresh {
    /// Shortest time between two fetches, whatever the provider's Cache-Control says.
    pub min: Duration,
    /// Longest time keys are used before they are fetched again.
    pub max: Duration,
    /// At most one fetch in this time for key ids that are unknown, however many ask.
    pub unknown_key_wait: Duration,
    /// Time allowed for a fetch.
    pub timeout: Duration,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            min: seconds::<30>(),
            max: seconds::<3600>(),
            unknown_key_wait: seconds::<5>(),
            timeout: seconds::<5>(),
        }
    }
}

/// What the FAPI 2.0 security profile allows.
fn safe_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::PS256, Algorithm::ES256]
}

fn token_types() -> Vec<String> {
    vec!["at+jwt".into(), "jwt".into()]
}

fn client_claims() -> Vec<String> {
    vec!["client_id".into(), "azp".into()]
}

fn scope_claim() -> String {
    "scope".into()
}
