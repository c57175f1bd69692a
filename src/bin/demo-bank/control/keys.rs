//! Tokens to order, keys, and what is published of them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Control, read, read_or_default};
use crate::identity::{Algorithm, Key, KeyError, KeyRing, LONGEST_STAY, Mint, make_keys};
use crate::problem::Problem;

/// More would make the published set a fault of its own; there is `huge` for that.
const MOST_EXTRA: usize = 1_000;

/// `POST /mint`
pub async fn mint(
    State(control): State<Arc<Control>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let order: Mint = read_or_default(&body)?;
    let token =
        control.identity.mint(&order).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(Json(json!({ "access_token": token })))
}

/// `GET /keys`
pub async fn list(State(control): State<Arc<Control>>) -> Result<Json<Value>, Problem> {
    let views = |ring: &KeyRing| ring.all().map(view).collect::<Result<Vec<Value>, KeyError>>();
    let keys = control.identity.with_ring(views).map_err(internal)?;
    Ok(Json(json!({ "keys": keys })))
}

/// A key to make for a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    alg: Algorithm,
    #[serde(default)]
    bits: Option<u32>,
    /// Members of the JWK to set or (`null`) to leave out.
    #[serde(default)]
    publish: Map<String, Value>,
}

/// `POST /keys`
pub async fn make(
    State(control): State<Arc<Control>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let Order { alg, bits, publish } = read(&body)?;
    if bits.is_some_and(|bits| !alg.is_rsa() || !matches!(bits, 1024 | 2048 | 3072 | 4096)) {
        return Err(Problem::bad_request(
            "`bits` belongs to RSA keys only: 1024, 2048, 3072 or 4096",
        ));
    }
    let made = tokio::task::spawn_blocking(move || Key::generate(alg, bits.unwrap_or(2048)));
    let mut key = made
        .await
        .map_err(|_| internal(KeyError::Thread))?
        .map_err(|error| internal(error.into()))?;
    key.publish_as(&publish);
    let add = |ring: &mut KeyRing| ring.add_test_key(key).and_then(view);
    control.identity.change_ring(add).map(Json).map_err(|error| match error {
        KeyError::TooMany => Problem::storage_full(error.to_string()),
        other => internal(other),
    })
}

/// How long the keys of before stay published.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rotation {
    keep: Keep,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`keep` is true, false or a number of rotations")]
enum Keep {
    YesOrNo(bool),
    Rotations(u32),
}

impl Default for Keep {
    fn default() -> Self {
        Self::YesOrNo(true)
    }
}

/// `POST /rotate`
pub async fn rotate(
    State(control): State<Arc<Control>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let keep = match read_or_default::<Rotation>(&body)?.keep {
        Keep::YesOrNo(keep) => u32::from(keep),
        Keep::Rotations(keep) if keep <= LONGEST_STAY => keep,
        Keep::Rotations(_) => {
            return Err(Problem::bad_request(format!("`keep` is at most {LONGEST_STAY}")));
        }
    };
    let made = tokio::task::spawn_blocking(make_keys);
    let keys = made.await.map_err(|_| internal(KeyError::Thread))?.map_err(internal)?;
    control.identity.change_ring(|ring| ring.rotate(keys, keep)).map_err(internal)?;
    let kids = |ring: &KeyRing| ring.all().map(|key| key.kid.clone()).collect::<Vec<_>>();
    Ok(Json(json!({ "kids": control.identity.with_ring(kids) })))
}

/// `PUT /jwks-extra`
pub async fn publish_extra(
    State(control): State<Arc<Control>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let extra: Vec<Value> = read(&body)?;
    if extra.len() > MOST_EXTRA {
        return Err(Problem::bad_request(format!("at most {MOST_EXTRA} keys")));
    }
    let count = extra.len();
    control.identity.publish_extra(extra);
    Ok(Json(json!({ "extra": count })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheControl {
    value: Option<String>,
}

/// `PUT /jwks-cache-control`
pub async fn cache_control(
    State(control): State<Arc<Control>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let CacheControl { value } = read(&body)?;
    let header = value.as_deref().map(HeaderValue::from_str).transpose();
    let header = header.map_err(|_| Problem::bad_request("`value` can't stand in a header"))?;
    control.identity.set_cache_control(header);
    Ok(Json(json!({ "value": value })))
}

fn view(key: &Key) -> Result<Value, KeyError> {
    Ok(
        json!({ "kid": key.kid, "alg": key.algorithm, "jwk": key.jwk(), "publicPem": key.public_pem()? }),
    )
}

fn internal(error: KeyError) -> Problem {
    Problem::internal(error.to_string())
}
