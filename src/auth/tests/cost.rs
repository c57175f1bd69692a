use std::hint::black_box;
use std::time::Instant;

use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::Value;

use super::signer::Signer;
use super::world::{NOW, World, bearer, claims, head};
use crate::auth::jwk::Key;
use crate::auth::token::{Token, decode};

fn microseconds(what: &str, rounds: u32, mut work: impl FnMut()) {
    let started = Instant::now();
    for _ in 0..rounds {
        work();
    }
    println!("{what:>44}: {:8.2} us", started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
}

/// Costs of the parts, to be read by a person: `cargo test --lib costs -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures, proves nothing"]
fn costs_of_a_cached_and_of_a_new_token() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for signer in [
        Signer::p256("k"),
        Signer::p384("k"),
        Signer::ed25519("k"),
        Signer::rsa("k", Algorithm::PS256),
    ] {
        let name = format!("{:?}", signer.algorithm);
        let token = signer.token(&claims());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let raw = decode(signature).unwrap();
        let key = Key::read(&signer.jwk).unwrap();
        let jwk = serde_json::from_value(signer.jwk.clone()).unwrap();
        let library_key = DecodingKey::from_jwk(&jwk).unwrap();
        microseconds(&format!("{name} verify, key prepared"), 2000, || {
            assert!(key.verifies(signer.algorithm, signed.as_bytes(), &raw));
        });
        microseconds(&format!("{name} verify, key parsed each time"), 2000, || {
            let good = crypto::verify(signature, signed.as_bytes(), &library_key, signer.algorithm);
            assert!(good.unwrap());
        });
        microseconds(&format!("{name} parse"), 2000, || {
            black_box(Token::parse(black_box(&token)).unwrap());
        });
        runtime.block_on(cached(&signer.jwk, &token));
    }
}

async fn cached(jwk: &Value, token: &str) {
    let world = World::with_keys(&[jwk]).await;
    let gate = world.authenticator();
    let (headers, head) = (bearer(token), head(None));
    gate.authenticate(&headers, &head, NOW).await.unwrap();
    let started = Instant::now();
    let rounds = 100_000;
    for _ in 0..rounds {
        black_box(gate.authenticate(&headers, &head, NOW).await.unwrap());
    }
    println!(
        "{:>44}: {:8.2} us",
        "cached",
        started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
    );
}
