//! Providers: several, by discovery or by URL, and those that fail.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::{assert_challenged, config};
use crate::support::gateway::base_config;
use crate::support::tls::{Authority, serve};
use crate::support::wire::{assert_problem, logged, metric};
use crate::support::{Bank, Tollgate, eventually};

fn view_of<'v>(views: &'v Value, provider: &str) -> &'v Value {
    let list = views.as_array().or_else(|| views["providers"].as_array()).unwrap();
    list.iter().find(|view| view["provider"] == provider).unwrap()
}

async fn ready(gateway: &Tollgate) -> (u16, Value) {
    let answer = gateway.client().get(gateway.admin_url("/ready")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_provider_that_fails_at_start_is_said_aloud_and_recovered_from() {
    let bank = Bank::start().await;
    let token = bank.mint(json!({})).await;
    for fault in ["refuse", "500", "garbage", "garbage-json", "cut", "huge", "slow"] {
        bank.fault("identity", fault).await;
        let refresh = "refresh: { timeout: 500ms, unknown_key_wait: 1ms }, ";
        let gateway = Tollgate::start_unready(&config(&bank, refresh));
        let error = eventually("a fetch to fail", async || {
            let answer = gateway.client().get(gateway.admin_url("/identity")).send().await;
            let views: Value = answer.map_err(|error| error.to_string())?.json().await.unwrap();
            let error = view_of(&views, "bank")["last_error"].as_str().map(str::to_owned);
            error.ok_or_else(|| views.to_string())
        })
        .await;
        assert!(
            error.contains("discovery document") || error.contains("longer than allowed"),
            "{fault}: {error}"
        );
        let (status, reasons) = ready(&gateway).await;
        assert_eq!(status, 503, "{fault}");
        assert_eq!(
            reasons["reasons"],
            json!(["identity provider 'bank' gave no keys yet"]),
            "{fault}"
        );

        let answer = gateway.get("/who", &token).await;
        let id = assert_problem(&answer, 503, "identity-unavailable");
        assert!(!answer.header("retry-after").is_empty(), "{fault}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("127.0.0.1"), "{fault}");
        assert_eq!(logged(&gateway, &id).await["tollgate"]["problem"], "identity-unavailable");
        let failed = r#"tollgate_identity_key_fetches_total{provider="bank",ok="false"}"#;
        assert!(metric(&gateway, failed).await >= 1, "{fault}");
        // Without a token there is nothing to verify.
        assert_challenged(&gateway.get("/who", "").await, None, fault);

        bank.fault("identity", "ok").await;
        gateway.until_ready().await;
        assert_eq!(gateway.get("/who", &token).await.status, 200, "{fault}");
    }
}

#[tokio::test]
async fn a_provider_that_fails_later_leaves_the_last_good_keys_in_use() {
    let bank = Bank::start().await;
    let refresh = "refresh: { min: 1ms, max: 1s, timeout: 500ms, unknown_key_wait: 1ms }, ";
    let gateway = Tollgate::start(&config(&bank, refresh)).await;
    let failed = r#"tollgate_identity_key_fetches_total{provider="bank",ok="false"}"#;
    for fault in ["refuse", "garbage", "500"] {
        let before = metric(&gateway, failed).await;
        bank.fault("identity", fault).await;
        let unknown = bank.mint(json!({ "header": { "kid": "unknown" } })).await;
        assert_challenged(&gateway.get("/who", &unknown).await, Some("invalid_token"), fault);
        eventually("a fetch to fail", async || {
            let now = metric(&gateway, failed).await;
            if now > before { Ok(()) } else { Err(now) }
        })
        .await;
        // One that was never seen: it needs the keys, not the memory of verified tokens.
        let fresh = bank.mint(json!({})).await;
        assert_eq!(gateway.get("/who", &fresh).await.status, 200, "{fault}");
        assert_eq!(ready(&gateway).await.0, 200, "{fault}");
        let views = gateway.view("/identity").await;
        assert!(view_of(&views, "bank")["last_error"].is_string(), "{views}");
        bank.fault("identity", "ok").await;
    }
    // A set without a usable key is no new set.
    eventually("a fetch to succeed", async || {
        let views = gateway.view("/identity").await;
        if view_of(&views, "bank")["last_error"].is_null() { Ok(()) } else { Err(views) }
    })
    .await;
}

#[tokio::test]
async fn a_route_takes_the_tokens_of_the_providers_that_it_names_and_of_no_other() {
    let (bank, staff) = (Bank::start().await, Bank::start().await);
    let config = config(&bank, "").replace(
        "clusters:\n",
        &format!("  staff: {{ issuer: {}, audience: accounts }}\nclusters:\n", staff.issuer()),
    ) + r#"
  - { id: both, match: { path: /both }, authenticate: [bank, staff], answer: { body: both } }
  - { id: staff, match: { path: /staff }, authenticate: staff, answer: { body: staff } }
"#;
    let gateway = Tollgate::start(&config).await;
    let (customers, employees) = (bank.mint(json!({})).await, staff.mint(json!({})).await);
    for (path, token, good) in [
        ("/both", &customers, true),
        ("/both", &employees, true),
        ("/staff", &employees, true),
        ("/staff", &customers, false),
        ("/who", &customers, true),
        ("/who", &employees, false),
    ] {
        let answer = gateway.get(path, token).await;
        match good {
            true => assert_eq!(answer.status, 200, "{path}"),
            false => assert_challenged(&answer, Some("invalid_token"), path),
        }
    }
    // Neither may speak in the other's name.
    let forged = bank.mint(json!({ "claims": { "iss": staff.issuer() } })).await;
    for path in ["/both", "/staff"] {
        assert_challenged(&gateway.get(path, &forged).await, Some("invalid_token"), path);
    }
}

#[tokio::test]
async fn keys_are_found_by_discovery_or_at_the_url_that_is_named() {
    let bank = Bank::start().await;
    let route = "routes:\n  - { id: in, match: { path: /in }, authenticate: bank, answer: {} }\n";
    let line = |text: &str| {
        let base = base_config(&bank);
        let (before, after) = base.split_once("  bank: {").unwrap();
        let after = after.split_once('\n').unwrap().1;
        format!("{before}  bank: {text}\n{after}{route}")
    };
    let counts = async || bank.get("/state").await["identity"]["requests"].clone();

    let named = line(&format!(
        "{{ issuer: \"https://idp.bank.example\", audience: accounts, jwks: \"{}/jwks.json\" }}",
        bank.issuer()
    ));
    let gateway = Tollgate::start(&named).await;
    let counted = counts().await;
    assert_eq!((&counted["discovery"], counted["jwks"].as_u64() >= Some(1)), (&json!(0), true));
    let theirs = bank.mint(json!({ "claims": { "iss": "https://idp.bank.example" } })).await;
    assert_eq!(gateway.get("/in", &theirs).await.status, 200);
    let own = bank.mint(json!({})).await;
    assert_challenged(&gateway.get("/in", &own).await, Some("invalid_token"), "another issuer");

    let found = line(&format!("{{ issuer: \"{}\", audience: accounts }}", bank.issuer()));
    let gateway = Tollgate::start(&found).await;
    assert_eq!(counts().await["discovery"], 1);
    assert_eq!(gateway.get("/in", &own).await.status, 200);

    // A document in which another issuer speaks, if only by a slash, is not believed.
    let other = line(&format!("{{ issuer: \"{}/\", audience: accounts }}", bank.issuer()));
    let gateway = Tollgate::start_unready(&other);
    eventually("the document to be refused", async || {
        let answer = gateway.client().get(gateway.admin_url("/identity")).send().await;
        let views: Value = answer.map_err(|error| error.to_string())?.json().await.unwrap();
        match view_of(&views, "bank")["last_error"].as_str() {
            Some(error) => {
                assert_eq!(error, "the discovery document is another issuer's");
                Ok(())
            }
            None => Err(views.to_string()),
        }
    })
    .await;
    assert_eq!(ready(&gateway).await.0, 503);
}

#[tokio::test]
async fn a_provider_with_a_private_certificate_is_believed_where_its_authority_is_named() {
    let bank = Bank::start().await;
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let acceptor = known.sign("idp", &["127.0.0.1"]).acceptor().build();
    let keys = reqwest::get(format!("{}/jwks.json", bank.issuer())).await.unwrap();
    let keys = keys.text().await.unwrap();
    let issuer = Arc::new(OnceLock::<String>::new());
    let known_as = issuer.clone();
    let port = serve(acceptor, move |_, target| match target {
        "/.well-known/openid-configuration" => {
            let issuer = known_as.get().unwrap();
            json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks.json") }).to_string()
        }
        _ => keys.clone(),
    });
    let issuer = issuer.get_or_init(|| format!("https://127.0.0.1:{port}"));
    let mut providers = String::new();
    let mut routes = "routes:\n".to_owned();
    for (name, authorities) in [
        ("trusting", format!(", authorities: {}", known.file().display())),
        ("plain", String::new()),
        ("strange", format!(", authorities: {}", stranger.file().display())),
    ] {
        providers +=
            &format!("  {name}: {{ issuer: \"{issuer}\", audience: accounts{authorities} }}\n");
        routes += &format!(
            "  - {{ id: {name}, match: {{ path: /{name} }}, authenticate: {name}, answer: {{}} }}\n"
        );
    }
    let base = base_config(&bank).replace("clusters:\n", &format!("{providers}clusters:\n"));
    let gateway = Tollgate::start_unready(&(base + &routes));
    let token = bank.mint(json!({ "claims": { "iss": issuer } })).await;
    eventually("the keys to be fetched", async || {
        let answer = gateway.client().get(gateway.url("/trusting")).bearer_auth(&token).send();
        match answer.await {
            Ok(answer) if answer.status() == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for name in ["plain", "strange"] {
        let refused = gateway.get(&format!("/{name}"), &token).await;
        assert_problem(&refused, 503, "identity-unavailable");
        let views = gateway.view("/identity").await;
        let error = view_of(&views, name)["last_error"].as_str().unwrap_or_default();
        assert!(error.contains("certificate"), "{name}: {views}");
    }
}
