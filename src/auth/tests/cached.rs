use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::signer::{Signer, with};
use super::world::{NOW, World, bearer, claims, head, told};
use crate::auth::TokenCache;
use crate::auth::flaw::Flaw;
use crate::request::Refusal;

#[tokio::test]
async fn a_token_is_verified_once() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let gate = world.authenticator();
    let token = signer.token(&claims());
    let first = world.ask(&gate, &token).await.unwrap();
    for _ in 0..10 {
        assert!(Arc::ptr_eq(&world.ask(&gate, &token).await.unwrap(), &first));
    }
}

#[tokio::test]
async fn hits_misses_and_fetches_are_counted() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let gate = world.authenticator();
    let token = signer.token(&claims());
    for _ in 0..3 {
        world.ask(&gate, &token).await.unwrap();
    }
    let shown = world.metrics.exposition();
    for line in [
        "tollgate_token_cache_lookups_total{hit=\"true\"} 2",
        "tollgate_token_cache_lookups_total{hit=\"false\"} 1",
        "tollgate_identity_key_fetches_total{provider=\"bank\",ok=\"true\"} 1",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
}

#[tokio::test]
async fn a_cached_token_ends_when_it_expires() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let gate = world.authenticator();
    let token = signer.token(&claims());
    let first = world.ask(&gate, &token).await.unwrap();

    world.clock.advance(Duration::from_millis(604_999));
    assert!(Arc::ptr_eq(&world.ask(&gate, &token).await.unwrap(), &first));
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(told(world.ask(&gate, &token).await), Flaw::Expired.reason());
}

#[tokio::test]
async fn a_token_without_end_is_accepted_where_no_longest_life_is_set() {
    let signer = Signer::p256("k1");
    let mut world = World::with_keys(&[&signer.jwk]).await;
    world.provider.max_lifetime = None;
    let gate = world.authenticator();
    for expiry in [json!(u64::MAX), json!(1e300)] {
        let token = signer.token(&with(&claims(), "exp", expiry));
        let first = world.ask(&gate, &token).await.unwrap();
        assert!(Arc::ptr_eq(&world.ask(&gate, &token).await.unwrap(), &first));
    }
}

#[tokio::test]
async fn a_token_that_differs_in_one_character_is_another_token() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let gate = world.authenticator();
    let token = signer.token(&claims());
    world.ask(&gate, &token).await.unwrap();
    // The end, which alone is hashed, stays; every place before it is changed in turn.
    for place in (0..token.len() - 40).step_by(7) {
        let mut changed = token.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let answer = world.ask(&gate, &changed).await;
        assert!(matches!(answer, Err(Refusal::Unauthenticated(_))), "{place}: {answer:?}");
    }
}

#[tokio::test]
async fn changed_keys_make_every_token_be_looked_at_again() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let world = World::with_keys(&[&old.jwk, &new.jwk]).await;
    let gate = world.authenticator();
    let token = old.token(&claims());
    let first = world.ask(&gate, &token).await.unwrap();

    // A refresh that brings the same keys keeps it.
    world.clock.advance(Duration::from_secs(20));
    let unknown = with(&new.header(), "kid", json!("unknown"));
    let unknown = new.token_with(&unknown, &claims());
    assert_eq!(told(world.ask(&gate, &unknown).await), Flaw::UnknownKey.reason());
    assert_eq!(world.idp.fetches(), 2);
    assert!(Arc::ptr_eq(&world.ask(&gate, &token).await.unwrap(), &first));

    // The provider withdraws the key.
    world.idp.publish(&[&new.jwk]);
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(told(world.ask(&gate, &unknown).await), Flaw::UnknownKey.reason());
    assert_eq!(world.idp.fetches(), 3);
    assert_eq!(told(world.ask(&gate, &token).await), Flaw::UnknownKey.reason());
    assert!(world.ask(&gate, &new.token(&claims())).await.is_ok());
}

#[tokio::test]
async fn a_reload_with_another_policy_does_not_reuse_verdicts() {
    let signer = Signer::p256("k1");
    let mut world = World::with_keys(&[&signer.jwk]).await;
    let before = world.authenticator();
    let token = signer.token(&claims());
    let first = world.ask(&before, &token).await.unwrap();

    // The same policy again: nothing is verified or fetched anew.
    let same = world.authenticator();
    assert!(Arc::ptr_eq(&world.ask(&same, &token).await.unwrap(), &first));

    world.provider.audiences = vec!["payments".into()];
    let after = world.authenticator();
    assert_eq!(told(world.ask(&after, &token).await), Flaw::Audience.reason());
    // Requests in flight finish under the old one.
    assert!(world.ask(&before, &token).await.is_ok());
    assert_eq!(world.idp.fetches(), 1);
}

#[tokio::test]
async fn routes_with_other_providers_do_not_share_verdicts() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let mut strict = world.provider.clone();
    strict.name = "strict".into();
    strict.types = vec!["jwt".into()];
    let lax_gate = world.authenticator();
    let strict_gate = world.authenticator_for(&[&strict]);
    let token = signer.token(&claims());
    assert!(world.ask(&lax_gate, &token).await.is_ok());
    assert_eq!(told(world.ask(&strict_gate, &token).await), Flaw::Type.reason());
}

#[tokio::test]
async fn a_caller_has_the_certificate_of_its_own_connection() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let gate = world.authenticator();
    let headers = bearer(&signer.token(&claims()));
    for certificate in [None, Some([1; 32]), Some([2; 32]), None] {
        let caller = gate.authenticate(&headers, &head(certificate), NOW).await.unwrap();
        assert_eq!(caller.certificate_thumbprint, certificate);
    }
}

#[tokio::test]
async fn the_cache_holds_no_more_than_its_bytes() {
    let signer = Signer::ed25519("k1");
    let mut world = World::with_keys(&[&signer.jwk]).await;
    world.tokens = Arc::new(TokenCache::with_capacity(64 * 1024));
    let gate = world.authenticator();
    for number in 0..200 {
        let token = signer.token(&with(&claims(), "jti", json!(number)));
        assert!(world.ask(&gate, &token).await.is_ok());
    }
    world.tokens.settle();
    assert!((5..100).contains(&world.tokens.len()), "{}", world.tokens.len());
}
