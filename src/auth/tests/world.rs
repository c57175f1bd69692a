use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::idp::Idp;
use crate::auth::{Authenticator, Keyrings, TokenCache};
use crate::config::model::{KeySource, Provider};
use crate::observe::Metrics;
use crate::request::{
    Caller, Challenge, Clock, ManualClock, NormalPath, Refusal, RequestHead, UnixMillis,
};

/// 2023-11-14T22:13:20Z.
pub const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
pub const ISSUER: &str = "https://idp.bank.example";

/// An identity provider and a gateway's worth of authentication.
pub struct World {
    pub idp: Idp,
    pub clock: Arc<ManualClock>,
    pub metrics: Arc<Metrics>,
    pub keyrings: Keyrings,
    pub tokens: Arc<TokenCache>,
    pub provider: Provider,
}

impl World {
    pub async fn new() -> Self {
        let idp = Idp::start().await;
        let clock = Arc::new(ManualClock::at(NOW));
        let dyn_clock: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let metrics = Arc::new(Metrics::default());
        let keyrings = Keyrings::new(Handle::current(), dyn_clock, Arc::clone(&metrics));
        let provider = provider(KeySource::Url(idp.keys_url().into()));
        Self { idp, clock, metrics, keyrings, tokens: Arc::default(), provider }
    }

    /// A world whose provider publishes these keys.
    pub async fn with_keys(jwks: &[&Value]) -> Self {
        let world = Self::new().await;
        world.idp.publish(jwks);
        world
    }

    /// An authenticator for the provider as it is configured now.
    pub fn authenticator(&self) -> Authenticator {
        self.authenticator_for(&[&self.provider])
    }

    pub fn authenticator_for(&self, providers: &[&Provider]) -> Authenticator {
        let providers: Vec<_> = providers.iter().map(|one| Arc::new((*one).clone())).collect();
        Authenticator::new(&providers, &self.keyrings, Arc::clone(&self.tokens)).unwrap()
    }

    pub async fn ask(&self, gate: &Authenticator, token: &str) -> Result<Arc<Caller>, Refusal> {
        gate.authenticate(&bearer(token), &head(None), self.clock.now()).await
    }
}

pub fn provider(keys: KeySource) -> Provider {
    Provider {
        name: "bank".into(),
        issuer: ISSUER.into(),
        audiences: vec!["accounts".into(), "payments".into()],
        keys,
        algorithms: vec![Algorithm::ES256, Algorithm::ES384, Algorithm::PS256, Algorithm::EdDSA],
        types: vec!["at+jwt".into(), "jwt".into()],
        leeway: Duration::from_secs(5),
        max_lifetime: Some(Duration::from_secs(3600)),
        client_claims: vec!["client_id".into(), "azp".into()],
        scope_claim: "scope".into(),
        refresh_min: Duration::from_secs(60),
        refresh_max: Duration::from_secs(3600),
        unknown_key_wait: Duration::from_secs(10),
        timeout: Duration::from_secs(10),
        authorities: None,
    }
}

/// Claims that the provider's policy accepts now, and for ten minutes.
pub fn claims() -> Value {
    let now = NOW.seconds();
    json!({
        "iss": ISSUER, "aud": "accounts", "sub": "anna", "client_id": "tpp-1",
        "scope": "payments accounts:read", "iat": now, "nbf": now, "exp": now + 600, "jti": "1"
    })
}

pub fn bearer(token: &str) -> HeaderMap {
    let field = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, field)])
}

pub fn head(certificate_thumbprint: Option<[u8; 32]>) -> RequestHead {
    RequestHead {
        method: Method::GET,
        https: true,
        host: "api.bank.example".into(),
        path: NormalPath { decoded: "/accounts".into(), encoded: "/accounts".into() },
        query: None,
        address: [192, 0, 2, 1].into(),
        certificate_thumbprint,
        request_id: "r1".into(),
    }
}

/// What the client is told.
pub fn told(refused: Result<Arc<Caller>, Refusal>) -> &'static str {
    match refused {
        Err(Refusal::Unauthenticated(Challenge::Invalid(why) | Challenge::Malformed(why))) => why,
        other => panic!("no refusal of a token: {other:?}"),
    }
}
