use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use super::idp::Answer;
use super::signer::{Signer, with};
use super::world::{ISSUER, NOW, World, claims, told};
use crate::auth::Authenticator;
use crate::auth::flaw::Flaw;
use crate::auth::keyring::Keyring;
use crate::config::model::KeySource;
use crate::request::Refusal;

/// Everything that an identity provider in trouble may answer.
fn troubles() -> Vec<Answer> {
    let keys_despite_status = json!({ "keys": [Signer::p256("evil").jwk] });
    vec![
        Answer::Status(500, keys_despite_status.clone()),
        Answer::Status(404, keys_despite_status.clone()),
        Answer::Status(301, keys_despite_status),
        Answer::Text(""),
        Answer::Text("<html>maintenance</html>"),
        Answer::Text("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"),
        Answer::Json(json!({ "keys": [] }), ""),
        Answer::Endless,
        Answer::Cut,
        Answer::Silence,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_requests_with_an_unknown_key_cause_one_fetch() {
    let (old, new) = (Signer::p256("old"), Arc::new(Signer::p256("new")));
    let world = Arc::new(World::with_keys(&[&old.jwk]).await);
    let gate = Arc::new(world.authenticator());
    world.ask(&gate, &old.token(&claims())).await.unwrap();
    assert_eq!(world.idp.fetches(), 1);

    world.idp.publish(&[&old.jwk, &new.jwk]);
    world.clock.advance(Duration::from_secs(11));
    let asking = (0..1000).map(|number| {
        let (world, gate, new) = (Arc::clone(&world), Arc::clone(&gate), Arc::clone(&new));
        tokio::spawn(async move {
            let token = new.token(&with(&claims(), "jti", json!(number)));
            world.ask(&gate, &token).await
        })
    });
    let answers = join_all(asking).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_ok()));
    assert_eq!(world.idp.fetches(), 2);
}

#[tokio::test]
async fn a_thousand_requests_at_the_start_wait_for_the_one_first_fetch() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let gate = world.authenticator();
    let token = signer.token(&claims());
    let answers = join_all((0..1000).map(|_| world.ask(&gate, &token))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(world.idp.fetches(), 1);
}

#[tokio::test]
async fn a_request_that_comes_during_a_fetch_waits_for_it() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let world = World::with_keys(&[&old.jwk]).await;
    let gate = world.authenticator();
    world.ask(&gate, &old.token(&claims())).await.unwrap();
    world.idp.arrived().await;

    world.idp.answer_keys(Answer::Held(json!({ "keys": [old.jwk, new.jwk] })));
    world.clock.advance(Duration::from_secs(11));
    let token = new.token(&claims());
    let first = world.ask(&gate, &token);
    let late = async {
        world.idp.arrived().await;
        // Callers whose keys are known don't wait.
        let known = old.token(&with(&claims(), "jti", json!("2")));
        assert!(world.ask(&gate, &known).await.is_ok());
        let mut asked = Box::pin(world.ask(&gate, &token));
        assert!(futures::poll!(&mut asked).is_pending());
        world.idp.release();
        asked.await
    };
    let (first, late) = futures::join!(first, late);
    assert!(first.is_ok() && late.is_ok(), "{first:?} {late:?}");
    assert_eq!(world.idp.fetches(), 2);
}

#[tokio::test]
async fn unknown_keys_cause_at_most_one_fetch_in_a_wait() {
    let (known, unknown) = (Signer::p256("known"), Signer::p256("unknown"));
    let world = World::with_keys(&[&known.jwk]).await;
    let gate = world.authenticator();
    let token = unknown.token(&claims());
    for (seconds, fetches) in [(0, 1), (9, 1), (1, 2), (9, 2), (0, 2), (1, 3)] {
        world.clock.advance(Duration::from_secs(seconds));
        assert_eq!(told(world.ask(&gate, &token).await), Flaw::UnknownKey.reason());
        assert_eq!(world.idp.fetches(), fetches, "after {seconds} s more");
    }
}

#[tokio::test]
async fn a_rotation_is_seen_without_a_refused_request() {
    let signers: Vec<Signer> = (0..5).map(|n| Signer::p256(&format!("k{n}"))).collect();
    let world = World::with_keys(&[&signers[0].jwk]).await;
    let gate = world.authenticator();
    for pair in signers.windows(2) {
        assert!(world.ask(&gate, &pair[0].token(&claims())).await.is_ok());
        world.idp.publish(&[&pair[0].jwk, &pair[1].jwk]);
        world.clock.advance(Duration::from_secs(11));
        assert!(world.ask(&gate, &pair[1].token(&claims())).await.is_ok());
        assert!(world.ask(&gate, &pair[0].token(&claims())).await.is_ok());
    }
}

#[tokio::test]
async fn the_last_good_keys_stay_in_use_whatever_the_provider_answers() {
    let (signer, unknown) = (Signer::p256("k1"), Signer::p256("evil"));
    let mut world = World::with_keys(&[&signer.jwk]).await;
    world.provider.timeout = Duration::from_millis(1500);
    let gate = world.authenticator();
    world.ask(&gate, &signer.token(&claims())).await.unwrap();
    for (round, trouble) in troubles().into_iter().enumerate() {
        world.idp.answer_keys(trouble);
        world.clock.advance(Duration::from_secs(11));
        let refused = told(world.ask(&gate, &unknown.token(&claims())).await);
        assert_eq!(refused, Flaw::UnknownKey.reason(), "{round}");
        let fresh = signer.token(&with(&claims(), "jti", json!(round + 100)));
        assert!(world.ask(&gate, &fresh).await.is_ok(), "{round}");
        let view = world.keyrings.describe().remove(0);
        assert_eq!(view.keys.len(), 1, "{round}");
        assert!(view.last_error.is_some(), "{round}");
        assert_eq!(view.fetched, Some(NOW), "{round}");
    }
    assert_eq!(world.keyrings.ready(), Ok(()));

    world.idp.publish(&[&signer.jwk, &unknown.jwk]);
    world.clock.advance(Duration::from_secs(11));
    assert!(world.ask(&gate, &unknown.token(&claims())).await.is_ok());
    assert_eq!(world.keyrings.describe().remove(0).last_error, None);
}

fn ring(world: &World) -> Arc<Keyring> {
    world.keyrings.ring(&world.provider).unwrap()
}

#[tokio::test]
async fn keys_are_fetched_again_when_cache_control_says() {
    let signer = Signer::p256("k1");
    let mut world = World::new().await;
    world.provider.unknown_key_wait = Duration::from_secs(1_000_000);
    let answer = |cache_control| Answer::Json(json!({ "keys": [signer.jwk] }), cache_control);
    world.idp.answer_keys(answer("max-age=600"));
    let ring = ring(&world);
    ring.ended(1).await;
    let next = world.keyrings.describe().remove(0).next.since(NOW).as_secs();
    assert!((540..=600).contains(&next), "{next}");

    world.idp.answer_keys(answer("no-store"));
    world.clock.advance(Duration::from_secs(600));
    ring.ended(2).await;
    let view = world.keyrings.describe().remove(0);
    assert_eq!(view.fetched, Some(NOW.plus(Duration::from_secs(600))));
    assert_eq!(view.next.since(NOW).as_secs(), 660, "not sooner than refresh_min");

    world.idp.answer_keys(answer("max-age=999999999"));
    world.clock.advance(Duration::from_secs(60));
    ring.ended(3).await;
    let next = world.keyrings.describe().remove(0).next.since(NOW).as_secs() - 660;
    assert!((3240..=3600).contains(&next), "not later than refresh_max: {next}");
    assert_eq!(world.idp.fetches(), 3);
}

#[tokio::test]
async fn failures_are_tried_again_after_growing_waits() {
    let signer = Signer::p256("k1");
    let mut world = World::new().await;
    world.provider.unknown_key_wait = Duration::from_secs(1_000_000);
    world.idp.answer_keys(Answer::Status(500, json!({})));
    let ring = ring(&world);
    ring.ended(1).await;
    let mut now = NOW;
    for (fetches, longest) in [(2, 1_000), (3, 2_000), (4, 4_000), (5, 8_000)] {
        let wait = world.keyrings.describe().remove(0).next.since(now);
        assert!((longest / 2..=longest).contains(&wait.as_millis()), "{fetches}: {wait:?}");
        world.clock.advance(wait);
        now = now.plus(wait);
        ring.ended(fetches).await;
    }
    assert_eq!(world.keyrings.ready(), Err(vec!["bank".into()]));

    world.idp.publish(&[&signer.jwk]);
    world.clock.advance(Duration::from_secs(16));
    ring.ended(6).await;
    assert_eq!(world.keyrings.ready(), Ok(()));
}

#[tokio::test]
async fn a_provider_in_trouble_is_not_asked_by_every_request() {
    let signer = Signer::p256("k1");
    let mut world = World::new().await;
    world.provider.refresh_max = Duration::from_secs(1_000_000);
    world.idp.answer_keys(Answer::Status(500, json!({})));
    let gate = world.authenticator();
    let token = signer.token(&claims());
    let answers = join_all((0..100).map(|_| world.ask(&gate, &token))).await;
    assert!(answers.iter().all(|answer| *answer == Err(Refusal::IdentityUnavailable)));
    assert_eq!(world.ask(&gate, &token).await, Err(Refusal::IdentityUnavailable));
    assert_eq!(world.idp.fetches(), 1);
}

fn discovered(world: &mut World) {
    world.provider.keys = KeySource::Discovery(world.idp.discovery_url().into());
}

#[tokio::test]
async fn a_discovery_document_leads_to_the_keys() {
    let signer = Signer::p256("k1");
    let mut world = World::with_keys(&[&signer.jwk]).await;
    discovered(&mut world);
    let document = json!({ "issuer": ISSUER, "jwks_uri": "IDP/keys" });
    world.idp.answer_discovery(Answer::Json(document, ""));
    assert!(world.ask(&world.authenticator(), &signer.token(&claims())).await.is_ok());
    assert_eq!((world.idp.discoveries(), world.idp.fetches()), (1, 1));
}

#[tokio::test]
async fn a_discovery_document_that_cannot_be_believed_gives_no_keys() {
    let signer = Signer::p256("k1");
    let mut world = World::with_keys(&[&signer.jwk]).await;
    discovered(&mut world);
    world.provider.timeout = Duration::from_millis(1500);
    let says = |issuer: &str| json!({ "issuer": issuer, "jwks_uri": "IDP/keys" });
    let documents = [
        (Answer::Json(says("https://idp.bank.example/"), ""), "another issuer's"),
        (Answer::Json(says("https://evil.example"), ""), "another issuer's"),
        (Answer::Json(json!({ "jwks_uri": "IDP/keys" }), ""), "another issuer's"),
        (Answer::Json(json!({ "issuer": ISSUER }), ""), "names no usable 'jwks_uri'"),
        (Answer::Text("<html>"), "is not a JSON object"),
        (Answer::Status(500, says(ISSUER)), "came with status 500"),
        (Answer::Endless, "larger than 524288 bytes"),
        (Answer::Silence, ""),
    ];
    for (document, why) in documents {
        world.idp.answer_discovery(document);
        let gate = world.authenticator();
        let answer = world.ask(&gate, &signer.token(&claims())).await;
        assert_eq!(answer, Err(Refusal::IdentityUnavailable), "{why}");
        let error = world.keyrings.describe().remove(0).last_error.unwrap();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(world.idp.fetches(), 0);
}

#[tokio::test]
async fn a_reload_finds_the_keys_that_are_there() {
    let signer = Signer::p256("k1");
    let mut world = World::with_keys(&[&signer.jwk]).await;
    let before = world.authenticator();
    world.ask(&before, &signer.token(&claims())).await.unwrap();

    // Other bounds make another ring, which begins with the keys of the old one.
    world.provider.refresh_min = Duration::from_secs(30);
    world.idp.answer_keys(Answer::Silence);
    let after = world.authenticator();
    drop(before);
    assert!(world.ask(&after, &signer.token(&claims())).await.is_ok());
    assert_eq!(world.idp.fetches(), 1);
    assert_eq!(world.keyrings.describe().len(), 1);
}

#[tokio::test]
async fn keys_of_one_source_are_not_taken_for_anothers() {
    let signer = Signer::p256("k1");
    let mut world = World::with_keys(&[&signer.jwk]).await;
    let before = world.authenticator();
    world.ask(&before, &signer.token(&claims())).await.unwrap();

    let elsewhere = World::with_keys(&[&Signer::p256("k1").jwk]).await;
    world.provider.keys = KeySource::Url(elsewhere.idp.keys_url().into());
    let after = world.authenticator();
    assert_eq!(told(world.ask(&after, &signer.token(&claims())).await), Flaw::Signature.reason());
}

#[tokio::test]
async fn a_provider_that_no_route_uses_any_more_is_left_in_peace() {
    let signer = Signer::p256("k1");
    let world = World::with_keys(&[&signer.jwk]).await;
    let gates: [Authenticator; 2] = [world.authenticator(), world.authenticator()];
    world.ask(&gates[0], &signer.token(&claims())).await.unwrap();
    assert_eq!(world.keyrings.describe().len(), 1);
    drop(gates);
    assert_eq!(world.keyrings.describe(), []);
    assert_eq!(world.keyrings.ready(), Ok(()));
}

#[tokio::test]
async fn operators_see_keys_and_times_and_no_secrets() {
    let (a, b) = (Signer::p256("a"), Signer::ed25519("b"));
    let world = World::with_keys(&[&a.jwk, &b.jwk]).await;
    let gate = world.authenticator();
    assert_eq!(world.keyrings.ready(), Err(vec!["bank".into()]));
    world.ask(&gate, &a.token(&claims())).await.unwrap();
    let view = world.keyrings.describe().remove(0);
    assert_eq!(&*view.provider, "bank");
    let keys: Vec<Value> =
        view.keys.iter().map(|key| json!([key.id, format!("{:?}", key.algorithms)])).collect();
    assert_eq!(keys, [json!(["a", "[ES256]"]), json!(["b", "[EdDSA]"])]);
    assert_eq!((view.fetched, view.last_error), (Some(NOW), None));
}

#[test]
fn an_unusable_bundle_of_authorities_is_told_at_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let mut provider = world.provider.clone();
    provider.authorities = Some(Arc::from(&b"no certificate"[..]));
    let refused =
        Authenticator::new(&[Arc::new(provider)], &world.keyrings, Arc::clone(&world.tokens));
    assert!(refused.is_err());
}
