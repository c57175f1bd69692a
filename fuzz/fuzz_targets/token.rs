//! Any Authorization field is read or refused: a token as it came, and one whose header and claims
//! are two lines of text, so that what lies behind base64 is reached too.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::Algorithm;
use libfuzzer_sys::fuzz_target;
use tollgate::auth::read_unverified;
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
    read(token);
    let mut lines = token.splitn(2, |byte| *byte == b'\n');
    if let (Some(head), Some(claims)) = (lines.next(), lines.next()) {
        let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        read(format!("{head}.{claims}.AA").as_bytes());
    }
});

fn read(token: &[u8]) {
    let field = [b"Bearer ", token].concat();
    let Ok(field) = HeaderValue::from_bytes(&field) else { return };
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, field)]);
    if let Ok(caller) = read_unverified(&PROVIDERS, &headers, UnixMillis(1_700_000_000_000)) {
        assert!(!caller.client.is_empty());
    }
}
