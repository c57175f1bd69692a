//! The control port: what tests and demos turn, and what they read afterwards. The bank's own; no gateway is in front of it.

mod keys;
mod switches;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::middleware::from_fn;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::bank::Bank;
use crate::identity::Identity;
use crate::problem::Problem;
use crate::receive::receive;

/// Everything that the control port reaches.
pub struct Control {
    /// The account services.
    pub bank: Arc<Bank>,
    /// The identity provider.
    pub identity: Arc<Identity>,
}

/// All that the control port answers.
pub fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/", get(async || Json(json!(CALLS))))
        .route("/state", get(state))
        .route("/counts", get(counts))
        .route("/counts/{account}", get(counts_of))
        .route("/delay", put(switches::delay))
        .route("/fault/{place}", put(switches::fault))
        .route("/reset", post(switches::reset))
        .route("/mint", post(keys::mint))
        .route("/keys", get(keys::list).post(keys::make))
        .route("/rotate", post(keys::rotate))
        .route("/jwks-extra", put(keys::publish_extra))
        .route("/jwks-cache-control", put(keys::cache_control))
        .fallback(async || Problem::not_found("GET / lists what there is"))
        .layer(from_fn(receive))
        .with_state(control)
}

/// For a person with curl.
const CALLS: [&str; 13] = [
    "GET /state: delay, faults and counters",
    "GET /counts: requests for /v1 by service, and in all",
    "GET /counts/ACCOUNT: the same, for one account",
    "PUT /delay {\"ms\":100}",
    "PUT /fault/SERVICE|all|identity {\"fault\":\"ok|slow|500|garbage|garbage-json|cut|wrong-length|short-length|smuggle|endless|huge|down|refuse\",\"ms\":..,\"times\":..}",
    "POST /reset: counters, transfers, faults, delay and published keys to their start values",
    "POST /mint {\"alg\",\"kid\",\"header\",\"claims\",\"expires_in\",\"raw_header\",\"raw_payload\",\"hs256_with\",\"tamper\"}",
    "GET /keys: every signing key with its public half as JWK and PEM",
    "POST /keys {\"alg\",\"bits\",\"publish\":{..}}: one more signing key, published as wanted",
    "POST /rotate {\"keep\":true|false|N}: new keys",
    "PUT /jwks-extra [JWK, ..]: published beside the bank's own keys",
    "PUT /jwks-cache-control {\"value\":\"max-age=1\"|null}",
    "GET /: this list",
];

async fn state(State(control): State<Arc<Control>>) -> Json<Map<String, Value>> {
    let mut view = control.bank.view();
    view.insert("identity".to_owned(), control.identity.view());
    Json(view)
}

async fn counts(State(control): State<Arc<Control>>) -> Json<Map<String, Value>> {
    Json(control.bank.counts())
}

async fn counts_of(
    State(control): State<Arc<Control>>,
    Path(account): Path<String>,
) -> Json<Map<String, Value>> {
    Json(control.bank.counts_of(&account))
}

/// The body as what is expected. No content type is asked for: this is for people with curl.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

/// The same; an empty body stands for all members left out.
fn read_or_default<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Problem> {
    if body.is_empty() { Ok(T::default()) } else { read(body) }
}
