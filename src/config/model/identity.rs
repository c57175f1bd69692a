use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

/// An identity provider whose tokens are accepted (RFC 7519, RFC 9068).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Exact value of `iss`.
    pub issuer: Arc<str>,
    /// Accepted values of `aud`; one must be there.
    pub audiences: Vec<Arc<str>>,
    /// Where its keys are.
    pub keys: KeySource,
    /// Signature algorithms accepted; never `none`, never symmetric.
    pub algorithms: Vec<Algorithm>,
    /// Accepted values of the `typ` header, lower case without `application/`; empty accepts any.
    pub types: Vec<Arc<str>>,
    /// Clock difference forgiven at `exp` and `nbf`.
    pub leeway: Duration,
    /// Longest time from now to `exp` that is believed; `None` believes any.
    pub max_lifetime: Option<Duration>,
    /// Claim that names the client; the first one present counts.
    pub client_claims: Vec<Arc<str>>,
    /// Claim with the scopes: a text with spaces or an array.
    pub scope_claim: Arc<str>,
    /// Shortest time between two fetches of the keys, whatever Cache-Control says.
    pub refresh_min: Duration,
    /// Longest time keys are used before they are fetched again.
    pub refresh_max: Duration,
    /// At most one fetch in this time for a key id that is unknown.
    pub unknown_key_wait: Duration,
    /// Time allowed for a fetch.
    pub timeout: Duration,
    /// PEM bundle of authorities trusted for the fetch, beside the system's.
    pub authorities: Option<Arc<[u8]>>,
}

/// Where a provider's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The issuer's discovery document names them (OpenID Connect Discovery 1.0, RFC 8414).
    Discovery(Arc<str>),
    /// A JWK Set (RFC 7517) at a URL.
    Url(Arc<str>),
}
