use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

use super::idp::Answer;
use super::signer::{Signer, with};
use super::world::{NOW, World, bearer, claims, head, told};
use crate::auth::flaw::Flaw;
use crate::request::{Challenge, Refusal, UnixMillis};

#[tokio::test]
async fn a_good_token_says_who_is_calling() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let caller = world.ask(&world.authenticator(), &signer.token(&claims())).await.unwrap();
    assert_eq!(&*caller.provider, "bank");
    assert_eq!(&*caller.client, "tpp-1");
    assert_eq!(caller.subject.as_deref(), Some("anna"));
    assert_eq!(caller.scopes, [Arc::from("accounts:read"), Arc::from("payments")]);
    assert_eq!(caller.claims["jti"], "1");
    assert_eq!(caller.certificate_thumbprint, None);
    // Until the leeway ends.
    assert_eq!(caller.expires, Some(UnixMillis(NOW.0 + 605_000)));
}

#[tokio::test]
async fn every_configured_algorithm_is_accepted() {
    let signers = [
        Signer::p256("a"),
        Signer::p384("b"),
        Signer::ed25519("c"),
        Signer::rsa("d", Algorithm::PS256),
    ];
    let jwks: Vec<&Value> = signers.iter().map(|signer| &signer.jwk).collect();
    let world = World::with_keys(&jwks).await;
    let gate = world.authenticator();
    for signer in &signers {
        let answer = world.ask(&gate, &signer.token(&claims())).await;
        assert!(answer.is_ok(), "{:?}: {answer:?}", signer.algorithm);
    }
}

#[tokio::test]
async fn lawful_variations_are_accepted() {
    let signer = Signer::ed25519("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let gate = world.authenticator();
    let now = NOW.seconds();
    for (name, value) in [
        ("aud", json!(["cards", "payments"])),
        ("exp", json!(now as f64 + 0.5)),
        ("exp", json!(now - 4)),
        ("exp", json!(now + 3600)),
        ("nbf", json!(now + 4)),
        ("nbf", Value::Null),
        ("iat", json!(now + 4)),
        ("iat", Value::Null),
        ("iat", json!(0)),
        ("sub", Value::Null),
        ("scope", Value::Null),
        ("scope", json!("")),
        ("scope", json!(["a", "b"])),
        ("ext", json!({ "nested": [{ "deep": [1, 2, { "x": null }] }] })),
    ] {
        // A time of issue that fits a token which has just expired.
        let claims = with(&with(&claims(), "iat", json!(now - 60)), name, value.clone());
        let answer = world.ask(&gate, &signer.token(&claims)).await;
        assert!(answer.is_ok(), "{name} {value}: {answer:?}");
    }
    for (name, value) in [
        ("typ", json!("JWT")),
        ("typ", json!("application/AT+jwt")),
        ("alg", json!("Ed25519")),
        ("kid", Value::Null),
        ("cty", json!("x")),
    ] {
        let header = with(&signer.header(), name, value.clone());
        let answer = world.ask(&gate, &signer.token_with(&header, &claims())).await;
        assert!(answer.is_ok(), "{name} {value}: {answer:?}");
    }
}

#[tokio::test]
async fn the_first_client_claim_that_is_there_counts() {
    let signer = Signer::p256("k1");
    let mut world = World::with_keys(&[&signer.jwk]).await;
    world.provider.client_claims = vec!["client.id".into(), "azp".into()];
    world.provider.scope_claim = "realm_access.roles".into();
    let gate = world.authenticator();
    let base = with(&claims(), "azp", json!("tpp-2"));
    let caller = world.ask(&gate, &signer.token(&base)).await.unwrap();
    assert_eq!((&*caller.client, caller.scopes.len()), ("tpp-2", 0));

    let nested = with(&base, "client", json!({ "id": "tpp-3" }));
    let nested = with(&nested, "realm_access", json!({ "roles": ["b", "a", "b"] }));
    let caller = world.ask(&gate, &signer.token(&nested)).await.unwrap();
    assert_eq!(&*caller.client, "tpp-3");
    assert_eq!(caller.scopes, [Arc::from("a"), Arc::from("b")]);

    let broken = with(&base, "client", json!({ "id": 3 }));
    assert_eq!(told(world.ask(&gate, &signer.token(&broken)).await), Flaw::Client.reason());
}

#[tokio::test]
async fn a_request_without_a_good_field_learns_what_is_missing() {
    let world = World::with_keys(&[&Signer::p256("k1").jwk]).await;
    let gate = world.authenticator();
    let none = gate.authenticate(&HeaderMap::new(), &head(None), NOW).await;
    assert_eq!(none, Err(Refusal::Unauthenticated(Challenge::Missing)));

    let mut basic = HeaderMap::new();
    basic.insert(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
    let other_scheme = gate.authenticate(&basic, &head(None), NOW).await;
    assert_eq!(other_scheme, Err(Refusal::Unauthenticated(Challenge::Missing)));

    let mut twice = bearer("a.b.c");
    twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
    let several = gate.authenticate(&twice, &head(None), NOW).await;
    assert!(matches!(several, Err(Refusal::Unauthenticated(Challenge::Malformed(_)))));
}

#[tokio::test]
async fn a_token_in_the_query_is_no_credential() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let mut head = head(None);
    head.query = Some(format!("access_token={}", signer.token(&claims())));
    let answer = world.authenticator().authenticate(&HeaderMap::new(), &head, NOW).await;
    assert_eq!(answer, Err(Refusal::Unauthenticated(Challenge::Missing)));
}

#[tokio::test]
async fn the_issuer_decides_whose_policy_and_keys_count() {
    let (ours, theirs) = (Signer::p256("same-id"), Signer::p256("same-id"));
    let world = World::with_keys(&[&ours.jwk]).await;
    let partner_world = World::with_keys(&[&theirs.jwk]).await;
    let mut partner = partner_world.provider.clone();
    partner.name = "partner".into();
    partner.issuer = "https://partner.example".into();
    partner.audiences = vec!["partner-api".into()];
    let gate = world.authenticator_for(&[&world.provider, &partner]);

    let caller = world.ask(&gate, &ours.token(&claims())).await.unwrap();
    assert_eq!(&*caller.provider, "bank");

    let partner_claims = with(&claims(), "iss", json!("https://partner.example"));
    let to_partner = with(&partner_claims, "aud", json!("partner-api"));
    let caller = world.ask(&gate, &theirs.token(&to_partner)).await.unwrap();
    assert_eq!(&*caller.provider, "partner");

    for (what, token, flaw) in [
        ("a partner who says to be the bank", theirs.token(&claims()), Flaw::Signature),
        ("the bank's key under the partner's name", ours.token(&to_partner), Flaw::Signature),
        ("the bank's audience", theirs.token(&partner_claims), Flaw::Audience),
    ] {
        assert_eq!(told(world.ask(&gate, &token).await), flaw.reason(), "{what}");
    }
    // On a route that takes the bank's tokens only, the partner is nobody.
    let gate = world.authenticator();
    assert_eq!(told(world.ask(&gate, &theirs.token(&to_partner)).await), Flaw::Issuer.reason());
}

#[tokio::test]
async fn two_providers_with_one_issuer_differ_by_audience() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let mut accounts = world.provider.clone();
    accounts.audiences = vec!["accounts".into()];
    let mut cards = world.provider.clone();
    cards.name = "cards".into();
    cards.audiences = vec!["cards".into()];
    let gate = world.authenticator_for(&[&accounts, &cards]);
    for (audience, provider) in [("accounts", "bank"), ("cards", "cards")] {
        let token = signer.token(&with(&claims(), "aud", json!(audience)));
        assert_eq!(&*world.ask(&gate, &token).await.unwrap().provider, provider);
    }
    let token = signer.token(&with(&claims(), "aud", json!("loans")));
    assert_eq!(told(world.ask(&gate, &token).await), Flaw::Audience.reason());
}

#[tokio::test]
async fn a_provider_that_never_gave_keys_makes_it_unavailable_and_not_unauthorised() {
    let signer = Signer::p256("k1");
    let world = World::new().await;
    for answer in [
        Answer::Status(503, json!({})),
        Answer::Text("<html>maintenance</html>"),
        Answer::Json(json!({ "keys": [] }), ""),
        Answer::Endless,
        Answer::Cut,
        Answer::Silence,
    ] {
        world.idp.answer_keys(answer);
        let mut provider = world.provider.clone();
        provider.timeout = Duration::from_millis(1500);
        let gate = world.authenticator_for(&[&provider]);
        let answer = world.ask(&gate, &signer.token(&claims())).await;
        assert_eq!(answer, Err(Refusal::IdentityUnavailable));
        // What is wrong with the token itself is still said.
        let wrong = signer.token(&with(&claims(), "iss", json!("x")));
        assert_eq!(told(world.ask(&gate, &wrong).await), Flaw::Issuer.reason());
    }
}

#[tokio::test]
async fn any_bytes_in_the_field_are_refused_and_nothing_breaks() {
    let world = World::with_keys(&[&Signer::p256("k1").jwk]).await;
    let gate = world.authenticator();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let texts = proptest::collection::vec(
        any::<u8>()
            .prop_filter("a header's", |byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)),
        0..200,
    );
    for round in 0..500 {
        let bytes = texts.new_tree(&mut runner).unwrap().current();
        let scheme = if round % 2 == 0 { &b"Bearer "[..] } else { b"" };
        let field = HeaderValue::from_bytes(&[scheme, &bytes].concat()).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, field)]);
        let answer = gate.authenticate(&headers, &head(None), NOW).await;
        assert!(matches!(answer, Err(Refusal::Unauthenticated(_))), "{bytes:?}");
    }
}
