use std::time::{Duration, UNIX_EPOCH};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};

use super::*;
use crate::fault::FaultSwitch;

fn provider(keys: Option<&Path>) -> Identity {
    Identity::open("https://idp.example".to_owned(), 7106, FaultSwitch::new(), keys).unwrap()
}

fn order(json: &str) -> Mint {
    serde_json::from_str(json).unwrap()
}

/// Verifies with a library that shares no code with what signed.
fn verify(identity: &Identity, token: &str) -> Result<Value, String> {
    let set: JwkSet =
        serde_json::from_value(json!({ "keys": identity.with_ring(KeyRing::jwks) })).unwrap();
    let header = decode_header(token).map_err(|error| error.to_string())?;
    let jwk = set.find(header.kid.as_deref().unwrap_or_default()).ok_or("unknown kid")?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["accounts"]);
    validation.set_issuer(&["https://idp.example"]);
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    decode::<Value>(token, &key, &validation)
        .map(|data| data.claims)
        .map_err(|error| error.to_string())
}

fn part(token: &str, index: usize) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn tokens_of_every_algorithm_verify_against_the_published_keys() {
    let identity = provider(None);
    for algorithm in
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
    {
        let mut mint = order(&format!(r#"{{"alg":"{algorithm}"}}"#));
        let token = identity.mint(&mint).unwrap();
        // The published `alg` of an RSA key names one hash only: the others are for tests that must fail.
        let strict = verify(&identity, &token);
        assert!(strict.is_ok(), "{algorithm}: {strict:?}");
        mint = order(&format!(r#"{{"alg":"{algorithm}","tamper":true}}"#));
        assert!(verify(&identity, &identity.mint(&mint).unwrap()).is_err(), "{algorithm}");
    }
}

#[test]
fn a_granted_token_has_the_shape_of_rfc_9068() {
    let identity = provider(None);
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let grant = Grant {
        issuer: "https://idp.example",
        client_id: "ledger-app",
        scope: "a b",
        expires_in: 60,
    };
    let token = identity.with_ring(|ring| token::issue(ring, &grant, now)).unwrap();
    let header: Value = serde_json::from_str(&part(&token, 0)).unwrap();
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("at+jwt")));
    let mut claims: Value = serde_json::from_str(&part(&token, 1)).unwrap();
    let jti = claims.as_object_mut().unwrap().shift_remove("jti").unwrap();
    assert_eq!(jti.as_str().map(str::len), Some(36));
    assert_eq!(
        claims,
        json!({
            "iss": "https://idp.example", "aud": "accounts", "sub": "ledger-app", "client_id": "ledger-app",
            "scope": "a b", "iat": 1_700_000_000, "nbf": 1_700_000_000, "exp": 1_700_000_060,
        })
    );
}

#[test]
fn odd_tokens_come_out_as_ordered() {
    let identity = provider(None);
    let mint = |json| identity.mint(&order(json));
    let edited =
        mint(r#"{"claims":{"aud":null,"sub":"x"},"header":{"crit":["y"],"kid":"nobody"}}"#)
            .unwrap();
    assert!(part(&edited, 0).contains(r#""kid":"nobody","crit":["y"]"#));
    assert!(part(&edited, 1).contains(r#""sub":"x""#) && !part(&edited, 1).contains("\"aud\""));
    assert!(
        verify(&identity, &mint(r#"{"expires_in":-3600}"#).unwrap())
            .unwrap_err()
            .contains("Expired")
    );
    let raw = mint(r#"{"raw_payload":"{\"sub\":\"a\",\"sub\":\"b\"}"}"#).unwrap();
    assert_eq!(part(&raw, 1), r#"{"sub":"a","sub":"b"}"#);
    assert!(mint(r#"{"alg":"none"}"#).unwrap().ends_with('.'));
    let hmac = mint(r#"{"hs256_with":"text","kid":"k"}"#).unwrap();
    let key = DecodingKey::from_secret(b"text");
    let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.set_audience(&["accounts"]);
    assert!(decode::<Value>(&hmac, &key, &validation).is_ok());
    for refused in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"ES512"}"#,
        r#"{"kid":"nobody"}"#,
        r#"{"alg":"none","tamper":true}"#,
    ] {
        assert!(mint(refused).is_err(), "{refused}");
    }
}

#[test]
fn a_key_signs_only_with_algorithms_of_its_kind() {
    let identity = provider(None);
    let kid = |algorithm| identity.with_ring(|ring| ring.current(algorithm).unwrap().kid.clone());
    let mint = |alg: &str, kid: String| {
        identity.mint(&order(&format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#)))
    };
    assert!(mint("PS256", kid(Algorithm::Rs256)).is_ok());
    assert!(mint("RS256", kid(Algorithm::Es256)).is_err());
    assert!(mint("ES256", kid(Algorithm::Es384)).is_err());
    assert!(mint("EdDSA", kid(Algorithm::Es256)).is_err());
    assert!(mint("ES256", kid(Algorithm::EdDsa)).is_err());
}

#[test]
fn retired_keys_stay_published_for_as_many_rotations_as_asked() {
    let kids = |ring: &KeyRing| ring.all().map(|key| key.kid.clone()).collect::<Vec<_>>();
    let one_key = || vec![Key::generate(Algorithm::Es256, 0).unwrap()];
    let identity = provider(None);
    identity.change_ring(|ring| {
        ring.rotate(one_key(), 0).unwrap();
        let first = kids(ring);
        assert_eq!(first.len(), 1, "nothing of what was before");
        ring.rotate(one_key(), 2).unwrap();
        assert_eq!(kids(ring).len(), 2);
        ring.rotate(one_key(), 2).unwrap();
        assert!(kids(ring).contains(&first[0]) && kids(ring).len() == 3);
        ring.rotate(one_key(), 2).unwrap();
        assert!(!kids(ring).contains(&first[0]) && kids(ring).len() == 3);
        ring.rotate(one_key(), 0).unwrap();
        assert_eq!(kids(ring).len(), 1);
    });
}

#[test]
fn a_restart_finds_its_keys_again() {
    let directory = tempfile::tempdir().unwrap();
    let jwks = |identity: &Identity| identity.with_ring(KeyRing::jwks);
    let before = provider(Some(directory.path()));
    before.change_ring(|ring| ring.rotate(make_keys().unwrap(), 1)).unwrap();
    assert_eq!(jwks(&before).len(), 10);
    assert_eq!(jwks(&provider(Some(directory.path()))), jwks(&before));
    std::fs::write(directory.path().join("keys.json"), "[{").unwrap();
    let broken = Identity::open(String::new(), 0, FaultSwitch::new(), Some(directory.path()));
    assert!(broken.is_err_and(|error| error.to_string().contains("not a key file")));
}

#[test]
fn a_weak_key_for_a_test_is_published_as_ordered() {
    let identity = provider(None);
    let mut weak = Key::generate(Algorithm::Rs256, 1024).unwrap();
    weak.publish_as(json!({ "kid": "weak", "use": "enc", "alg": null }).as_object().unwrap());
    identity.change_ring(|ring| ring.add_test_key(weak).map(|_| ())).unwrap();
    let published = identity.with_ring(|ring| ring.named("weak").unwrap().jwk());
    assert_eq!((&published["use"], published.get("alg")), (&json!("enc"), None));
    assert!(published["n"].as_str().is_some_and(|modulus| modulus.len() < 180));
    let token = identity.mint(&order(r#"{"kid":"weak"}"#)).unwrap();
    assert!(part(&token, 0).contains(r#""alg":"RS256""#));
    identity.reset();
    assert!(identity.mint(&order(r#"{"kid":"weak"}"#)).is_err());
}
