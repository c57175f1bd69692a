//! Any Authorization field is read or refused.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use tollgate::auth::read_unverified;
use jsonwebtoken::Algorithm;
use tollgate::config::model::{KeySource, Provider};
use tollgate::request::UnixMillis;

static PROVIDERS: LazyLock<Vec<Arc<Provider>>> = LazyLock::new(|| {
    vec![Arc::new(Provider {
        name: "bank".into(),
        issuer: "https://idp.bank.example".into(),
        audiences: vec!["accounts".into()],
        keys: KeySource::Url("https://idp.bank.example/jwks.json".into()),
        algorithms: vec![Algorithm::ES256],
        types: Vec::new(),
        leeway: Duration::from_secs(30),
        max_lifetime: None,
        client_claims: vec!["client_id".into()],
        scope_claim: "scope".into(),
        refresh_min: Duration::from_secs(30),
        refresh_max: Duration::from_secs(3600),
        unknown_key_wait: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        authorities: None,
    })]
});

fuzz_target!(|token: &[u8]| {
    let field = [b"Bearer ", token].concat();
    let Ok(field) = HeaderValue::from_bytes(&field) else { return };
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, field)]);
    let _ = read_unverified(&PROVIDERS, &headers, UnixMillis(1_700_000_000_000));
});
