//! An identity provider with one key, and a gateway's authentication that knows it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::runtime::Runtime;
use tollgate::auth::{Authenticator, Keyrings, TokenCache};
use tollgate::config::model::{KeySource, Provider};
use tollgate::observe::Metrics;
use tollgate::request::{Caller, ManualClock, RequestHead, UnixMillis};

pub const ISSUER: &str = "https://idp.bank.example";
pub const AUDIENCE: &str = "accounts";
pub const LEEWAY: Duration = Duration::from_secs(30);
pub const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

pub struct World {
    pub providers: Vec<Arc<Provider>>,
    key: EcdsaKeyPair,
    random: SystemRandom,
    gate: Authenticator,
    runtime: Runtime,
    _keyrings: Keyrings,
}

impl World {
    pub fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key pair");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let keys = KeySource::Url(serve(key_set(&key)).into());
        let providers = vec![Arc::new(provider(keys))];
        let clock = Arc::new(ManualClock::at(NOW));
        let metrics = Arc::new(Metrics::default());
        let keyrings = Keyrings::new(runtime.handle().clone(), clock, metrics);
        let tokens = Arc::new(TokenCache::with_capacity(1 << 20));
        let gate = Authenticator::new(&providers, &keyrings, tokens).expect("authentication");
        for _ in 0..1000 {
            if keyrings.ready().is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(keyrings.ready().is_ok(), "no keys: {:?}", keyrings.describe());
        Self { providers, key, random: SystemRandom::new(), gate, runtime, _keyrings: keyrings }
    }

    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.key.sign(&self.random, text).expect("a signature").as_ref().to_vec()
    }

    pub fn authenticate(&self, headers: &HeaderMap) -> Option<Caller> {
        let head = RequestHead::default();
        let outcome = self.runtime.block_on(self.gate.authenticate(headers, &head, NOW));
        outcome.ok().map(|caller| Caller::clone(&caller))
    }
}

fn provider(keys: KeySource) -> Provider {
    Provider {
        name: "bank".into(),
        issuer: ISSUER.into(),
        audiences: vec![AUDIENCE.into()],
        keys,
        algorithms: vec![Algorithm::ES256, Algorithm::PS256, Algorithm::EdDSA],
        types: Vec::new(),
        leeway: LEEWAY,
        max_lifetime: None,
        client_claims: vec!["client_id".into(), "act.sub".into()],
        scope_claim: "scope".into(),
        refresh_min: Duration::from_secs(30),
        refresh_max: Duration::from_secs(3600),
        // The clock stands, so a key that is not known is never asked for.
        unknown_key_wait: Duration::from_secs(3600),
        timeout: Duration::from_secs(5),
        authorities: None,
    }
}

fn key_set(key: &EcdsaKeyPair) -> String {
    let point = key.public_key().as_ref();
    let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
    json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "x": x, "y": y}]}).to_string()
}

/// Answers every connection with a text; gives the URL.
fn serve(text: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let length = text.len();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{text}");
        }
    });
    url
}
