//! The identity provider: discovery document, key set with rotation, token endpoint with client credentials.

mod algorithm;
mod clients;
mod key;
mod keyring;
#[cfg(test)]
mod tests;
mod token;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

pub use algorithm::Algorithm;
pub use key::Key;
pub use keyring::{KeyError, KeyRing, LONGEST_STAY, make_keys};
pub use token::{Mint, TokenError};

use crate::bank::hold;
use crate::fault::{FaultSwitch, Setting, strike};
use crate::problem::Problem;
use crate::receive::receive;
use crate::server::Wire;
use token::{Grant, LIFETIME};

const FIRST_CACHE_CONTROL: HeaderValue = HeaderValue::from_static("max-age=300");

const DISCOVERY: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/jwks.json";
const TOKEN: &str = "/token";

/// The identity provider.
pub struct Identity {
    issuer: String,
    port: u16,
    /// What is wrong with it.
    pub faults: FaultSwitch,
    ring: RwLock<KeyRing>,
    published: Mutex<Published>,
    discovery_requests: AtomicU64,
    jwks_requests: AtomicU64,
    token_requests: AtomicU64,
}

/// What a test changed about the published key set.
struct Published {
    extra: Vec<Value>,
    cache_control: Option<HeaderValue>,
}

impl Default for Published {
    fn default() -> Self {
        Self { extra: Vec::new(), cache_control: Some(FIRST_CACHE_CONTROL) }
    }
}

impl Identity {
    /// Opens the provider with the keys of this directory, or with new ones.
    pub fn open(
        issuer: String,
        port: u16,
        faults: FaultSwitch,
        keys: Option<&Path>,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            issuer,
            port,
            faults,
            ring: RwLock::new(KeyRing::open(keys)?),
            published: Mutex::default(),
            discovery_requests: AtomicU64::new(0),
            jwks_requests: AtomicU64::new(0),
            token_requests: AtomicU64::new(0),
        })
    }

    /// Uses the keys.
    pub fn with_ring<T>(&self, use_ring: impl FnOnce(&KeyRing) -> T) -> T {
        use_ring(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the keys.
    pub fn change_ring<T>(&self, change: impl FnOnce(&mut KeyRing) -> T) -> T {
        change(&mut self.ring.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The token that a test orders.
    pub fn mint(&self, order: &Mint) -> Result<String, TokenError> {
        self.with_ring(|ring| token::mint(ring, order, &self.issuer, SystemTime::now()))
    }

    /// Publishes these beside the provider's own keys, in the place of those given before.
    pub fn publish_extra(&self, extra: Vec<Value>) {
        hold(&self.published).extra = extra;
    }

    /// The key set's `cache-control`; `None` sends none.
    pub fn set_cache_control(&self, value: Option<HeaderValue>) {
        hold(&self.published).cache_control = value;
    }

    /// Back to the start values, but for rotations: the current keys stay.
    pub fn reset(&self) {
        *hold(&self.published) = Published::default();
        self.change_ring(KeyRing::drop_test_keys);
        for counter in [&self.discovery_requests, &self.jwks_requests, &self.token_requests] {
            counter.store(0, Ordering::Relaxed);
        }
        self.faults.set(Setting::default());
    }

    /// Fault and counters.
    pub fn view(&self) -> Value {
        let setting = self.faults.setting();
        let mut view = json!({ "port": self.port, "issuer": self.issuer });
        let more = json!({
            "requests": {
                "discovery": self.discovery_requests.load(Ordering::Relaxed),
                "jwks": self.jwks_requests.load(Ordering::Relaxed),
                "token": self.token_requests.load(Ordering::Relaxed),
            },
            "kids": self.with_ring(|ring| ring.all().map(|key| key.kid.clone()).collect::<Vec<_>>()),
        });
        for part in [json!(setting), more] {
            if let (Some(view), Value::Object(part)) = (view.as_object_mut(), part) {
                view.extend(part);
            }
        }
        view
    }

    fn counter_of(&self, path: &str) -> Option<&AtomicU64> {
        match path {
            DISCOVERY => Some(&self.discovery_requests),
            JWKS => Some(&self.jwks_requests),
            TOKEN => Some(&self.token_requests),
            _ => None,
        }
    }
}

/// Everything that the identity provider answers.
pub fn router(identity: Arc<Identity>) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "up" }))))
        .route(DISCOVERY, get(discovery))
        .route(JWKS, get(jwks))
        .route(TOKEN, post(grant))
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .layer(from_fn_with_state(identity.clone(), attend))
        .layer(from_fn(receive))
        .with_state(identity)
}

/// Counts a request and, if the switch says so, strikes it.
async fn attend(State(identity): State<Arc<Identity>>, request: Request, next: Next) -> Response {
    if let Some(counter) = identity.counter_of(request.uri().path()) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    let wire = request.extensions().get::<Wire>().cloned();
    strike(&identity.faults, request, next).await.land(wire).await
}

/// OpenID Connect Discovery 1.0 section 4.
async fn discovery(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Json<Value> {
    // The issuer is a name and may stand for another address: the places are where the asker found us.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let base = host.map_or_else(|| identity.issuer.clone(), |host| format!("http://{host}"));
    Json(json!({
        "issuer": identity.issuer,
        "jwks_uri": format!("{base}{JWKS}"),
        "token_endpoint": format!("{base}{TOKEN}"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": Algorithm::OFFERED,
        "scopes_supported": [token::DEFAULT_SCOPE],
    }))
}

async fn jwks(State(identity): State<Arc<Identity>>) -> Response {
    let mut keys = identity.with_ring(KeyRing::jwks);
    let published = hold(&identity.published);
    keys.extend(published.extra.iter().cloned());
    let mut response = Json(json!({ "keys": keys })).into_response();
    if let Some(value) = &published.cache_control {
        response.headers_mut().insert(CACHE_CONTROL, value.clone());
    }
    response
}

/// RFC 6749 section 5.1.
async fn grant(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Bytes) -> Response {
    let asked = match clients::read(&headers, &body) {
        Ok(asked) => asked,
        Err(denied) => return denied.into_response(),
    };
    let grant = Grant {
        issuer: &identity.issuer,
        client_id: &asked.client_id,
        scope: &asked.scope,
        expires_in: LIFETIME,
    };
    match identity.with_ring(|ring| token::issue(ring, &grant, SystemTime::now())) {
        Ok(token) => {
            let mut body = Map::new();
            body.insert("access_token".to_owned(), json!(token));
            body.insert("token_type".to_owned(), json!("Bearer"));
            body.insert("expires_in".to_owned(), json!(LIFETIME));
            body.insert("scope".to_owned(), json!(asked.scope));
            let headers: [(HeaderName, &str); 2] =
                [(CACHE_CONTROL, "no-store"), (http::header::PRAGMA, "no-cache")];
            (StatusCode::OK, headers, Json(Value::Object(body))).into_response()
        }
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}

/// Base64url without padding (RFC 7515 section 2).
fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
