//! Keys: which algorithms they are good for, and how they come and go.

use futures::future::join_all;
use serde_json::json;

use super::{assert_challenged, config};
use crate::support::wire::{metric, metric_becomes};
use crate::support::{Bank, Tollgate, eventually};

async fn jwks_fetches(bank: &Bank) -> u64 {
    bank.get("/state").await["identity"]["requests"]["jwks"].as_u64().unwrap()
}

#[tokio::test]
async fn a_token_signed_with_any_accepted_algorithm_is_good() {
    let bank = Bank::start().await;
    let more =
        format!("  strict: {{ issuer: {}, audience: accounts }}\nclusters:\n", bank.issuer());
    let config = config(&bank, "").replace("clusters:\n", &more)
        + "  - { id: strict, match: { path: /strict }, authenticate: strict, answer: {} }\n";
    let gateway = Tollgate::start(&config).await;
    for (alg, by_default) in
        [("RS256", false), ("PS256", true), ("ES256", true), ("ES384", false), ("EdDSA", false)]
    {
        let token = bank.mint(json!({ "alg": alg })).await;
        let answer = gateway.get("/who", &token).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["path"]),
            (200, &"/echo/budget-app".into()),
            "{alg}"
        );
        let strict = gateway.get("/strict", &token).await;
        match by_default {
            true => assert_eq!(strict.status, 200, "{alg}"),
            false => assert_challenged(&strict, Some("invalid_token"), alg),
        }
        let nameless = bank.mint(json!({ "alg": alg, "header": { "kid": null } })).await;
        let fits_one = matches!(alg, "ES256" | "ES384" | "EdDSA");
        if fits_one {
            assert_eq!(gateway.get("/who", &nameless).await.status, 200, "{alg} fits one key");
        }
    }
    // What is known is answered from memory, and counted.
    let token = bank.mint(json!({})).await;
    let hits = r#"tollgate_token_cache_lookups_total{hit="true"}"#;
    let before = metric(&gateway, hits).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/who", &token).await.status, 200);
    }
    metric_becomes(&gateway, hits, before + 2).await;
}

#[tokio::test]
async fn what_a_key_says_of_its_use_is_honoured() {
    let bank = Bank::start().await;
    let mut keys = Vec::new();
    for (what, order, good) in [
        ("plain", json!({ "alg": "ES256" }), true),
        ("without use", json!({ "alg": "ES256", "publish": { "use": null, "alg": null } }), true),
        ("to verify", json!({ "alg": "ES256", "publish": { "key_ops": ["verify"] } }), true),
        ("to encrypt", json!({ "alg": "ES256", "publish": { "use": "enc" } }), false),
        (
            "to sign only",
            json!({ "alg": "ES256", "publish": { "use": null, "key_ops": ["sign"] } }),
            false,
        ),
        ("for another algorithm", json!({ "alg": "RS256", "publish": { "alg": "PS256" } }), false),
        ("of 1024 bits", json!({ "alg": "RS256", "bits": 1024 }), false),
        ("of another curve", json!({ "alg": "ES256", "publish": { "crv": "P-384" } }), false),
        ("not public", json!({ "alg": "ES256", "publish": { "d": "AAAA" } }), false),
    ] {
        let made = bank.post("/keys", order.clone()).await;
        let kid = made["kid"].as_str().unwrap().to_owned();
        keys.push((what, kid, order["alg"].as_str().unwrap().to_owned(), good));
    }
    let gateway = Tollgate::start(&config(&bank, "refresh: { unknown_key_wait: 1h }, ")).await;
    for (what, kid, alg, good) in keys {
        let token = bank.mint(json!({ "kid": kid, "alg": alg })).await;
        let answer = gateway.get("/who", &token).await;
        assert_eq!(answer.status == 200, good, "{what}: {}", String::from_utf8_lossy(&answer.body));
    }
}

#[tokio::test]
async fn new_keys_are_followed_at_once_and_old_ones_dropped_with_the_next_fetch() {
    let bank = Bank::start().await;
    let refresh = "refresh: { min: 1ms, max: 1s, unknown_key_wait: 1ms }, ";
    let gateway = Tollgate::start(&config(&bank, refresh)).await;
    let old = bank.mint(json!({})).await;
    assert_eq!(gateway.get("/who", &old).await.status, 200);

    bank.post("/rotate", json!({ "keep": true })).await;
    let new = bank.mint(json!({})).await;
    assert_eq!(gateway.get("/who", &new).await.status, 200, "an unknown key is looked for at once");
    assert_eq!(gateway.get("/who", &old).await.status, 200, "the old key is still published");

    bank.post("/rotate", json!({ "keep": false })).await;
    eventually("the old tokens to be refused", async || {
        let (old, new) = (gateway.get("/who", &old).await, gateway.get("/who", &new).await);
        match (old.status.as_u16(), new.status.as_u16()) {
            (401, 401) => {
                assert_challenged(&old, Some("invalid_token"), "old");
                Ok(())
            }
            statuses => Err(statuses),
        }
    })
    .await;
    let newest = bank.mint(json!({})).await;
    assert_eq!(gateway.get("/who", &newest).await.status, 200);
}

#[tokio::test]
async fn cache_control_decides_when_keys_are_fetched_again_within_the_bounds() {
    let bank = Bank::start().await;
    // Held back by `min`, pressed by `max`, or as the provider says; each with a URL of its own,
    // or they would begin with each other's keys.
    let provider = |name: &str, refresh: &str| {
        format!(
            "  {name}: {{ issuer: {0}, audience: accounts, jwks: \"{0}/jwks.json?{name}\", refresh: {{ {refresh} }} }}\n",
            bank.issuer()
        )
    };
    bank.put("/jwks-cache-control", json!({ "value": "max-age=1" })).await;
    let providers = provider("held", "min: 1h")
        + &provider("pressed", "min: 1ms, max: 1s")
        + &provider("told", "min: 1ms");
    let config = super::config(&bank, "")
        .replace("clusters:\n", &format!("{providers}clusters:\n"))
        + "  - { id: all, match: { path: /all }, authenticate: [held, pressed, told], answer: {} }\n";
    let gateway = Tollgate::start(&config).await;
    let fetches = async |name: &str| {
        metric(
            &gateway,
            &format!("tollgate_identity_key_fetches_total{{provider=\"{name}\",ok=\"true\"}}"),
        )
        .await
    };
    eventually("the keys to be fetched again", async || {
        match (fetches("pressed").await, fetches("told").await) {
            (3.., 3..) => Ok(()),
            counts => Err(counts),
        }
    })
    .await;
    assert_eq!(fetches("held").await, 1);
    bank.put("/jwks-cache-control", json!({ "value": "max-age=3600" })).await;
    eventually("the provider's word to be taken", async || {
        let view = gateway.view("/identity").await;
        let views = view.as_array().or_else(|| view["providers"].as_array()).unwrap().clone();
        let next = |name: &str| {
            let view = views.iter().find(|view| view["provider"] == name).unwrap();
            (
                view["fetched"].as_str().unwrap()[..16].to_owned(),
                view["next"].as_str().unwrap()[..16].to_owned(),
            )
        };
        let ((told, told_next), (pressed, pressed_next)) = (next("told"), next("pressed"));
        if told != told_next && pressed <= pressed_next { Ok(()) } else { Err(view) }
    })
    .await;
    let pressed = fetches("pressed").await;
    eventually("`max` to press on", async || {
        let now = fetches("pressed").await;
        if now > pressed { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn a_reload_that_asks_for_fresher_keys_does_not_wait_for_the_old_time() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank, "")).await;
    let token = bank.mint(json!({})).await;
    assert_eq!(gateway.get("/who", &token).await.status, 200);
    let before = jwks_fetches(&bank).await;
    gateway.rewrite_config(&config(&bank, "refresh: { min: 1ms, max: 1s }, "));
    eventually("keys to be fetched again", async || {
        assert_eq!(gateway.get("/who", &token).await.status, 200, "no request is lost by it");
        let now = jwks_fetches(&bank).await;
        if now >= before + 2 { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn however_many_unknown_keys_are_asked_for_the_provider_is_asked_once() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank, "refresh: { unknown_key_wait: 1h }, ")).await;
    let before = jwks_fetches(&bank).await;
    let tokens = join_all(
        (0..40)
            .map(|number| bank.mint(json!({ "header": { "kid": format!("unknown-{number}") } }))),
    )
    .await;
    let answers = join_all(tokens.iter().map(|token| gateway.get("/who", token))).await;
    for answer in &answers {
        assert_challenged(answer, Some("invalid_token"), "an unknown key");
    }
    let asked = jwks_fetches(&bank).await - before;
    assert!(asked <= 1, "{asked} fetches for 40 unknown keys");
    // After the wait one more is allowed.
    let patient = Tollgate::start(&config(&bank, "refresh: { unknown_key_wait: 300ms }, ")).await;
    let before = jwks_fetches(&bank).await;
    eventually("the wait to be over", async || {
        patient.get("/who", &tokens[0]).await;
        let now = jwks_fetches(&bank).await;
        if now > before { Ok(()) } else { Err(now) }
    })
    .await;
}
