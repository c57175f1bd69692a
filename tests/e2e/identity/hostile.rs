//! Tokens that no honest provider made, or that it made for something else.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{assert_challenged, config};
use crate::support::wire::{ask, assert_problem, logged, metric_becomes};
use crate::support::{Bank, Tollgate};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What to mint, and what is wrong with it.
fn wishes(bank: &Bank) -> Vec<(&'static str, Value)> {
    let issuer = bank.issuer();
    let claims = |name: &str, value: Value| json!({ "claims": { name: value } });
    let header = |name: &str, value: Value| json!({ "header": { name: value } });
    let payload = |members: &str| {
        let exp = now() + 600;
        let text = format!(
            r#"{{"iss":"{issuer}","aud":"accounts","client_id":"budget-app","exp":{exp}{members}}}"#
        );
        json!({ "raw_payload": text })
    };
    vec![
        ("no signature", json!({ "alg": "none" })),
        ("no signature, in capitals", json!({ "alg": "none", "header": { "alg": "NONE" } })),
        ("a signature, but alg none", header("alg", json!("none"))),
        ("no algorithm", header("alg", Value::Null)),
        ("an algorithm that isn't text", header("alg", json!(["ES256"]))),
        ("an algorithm that isn't accepted", json!({ "alg": "RS512" })),
        ("PS384, which isn't accepted", json!({ "alg": "PS384" })),
        (
            "another algorithm than it is signed with",
            json!({ "alg": "RS256", "header": { "alg": "PS256" } }),
        ),
        ("tampered", json!({ "tamper": true })),
        ("tampered RSA", json!({ "alg": "PS256", "tamper": true })),
        ("tampered EdDSA", json!({ "alg": "EdDSA", "tamper": true })),
        ("another issuer", claims("iss", json!("https://evil.example"))),
        ("an issuer with a slash more", claims("iss", json!(format!("{issuer}/")))),
        ("no issuer", claims("iss", Value::Null)),
        ("a list of issuers", claims("iss", json!([issuer]))),
        ("another audience", claims("aud", json!("payments"))),
        ("an audience in other case", claims("aud", json!("Accounts"))),
        ("no audience", claims("aud", Value::Null)),
        ("other audiences", claims("aud", json!(["payments", "cards"]))),
        ("an audience that isn't text", claims("aud", json!(["accounts", 1]))),
        ("expired", json!({ "expires_in": -31, "claims": { "iat": null } })),
        ("no expiry", claims("exp", Value::Null)),
        ("an expiry in text", claims("exp", json!("9999999999"))),
        ("a negative expiry", claims("exp", json!(-1))),
        ("not valid yet", claims("nbf", json!(now() + 90))),
        ("a start in text", claims("nbf", json!("0"))),
        ("issued in the future", claims("iat", json!(now() + 90))),
        ("a critical extension", json!({ "header": { "crit": ["exp2"], "exp2": 1 } })),
        ("an empty list of them", header("crit", json!([]))),
        ("unencoded content", json!({ "header": { "crit": ["b64"], "b64": false } })),
        ("an identity token", header("typ", json!("id+jwt"))),
        ("a logout token", header("typ", json!("logout+jwt"))),
        ("no type", header("typ", Value::Null)),
        ("a type that isn't text", header("typ", json!(1))),
        ("an unknown key", header("kid", json!("nobodys"))),
        ("an empty key id", header("kid", json!(""))),
        ("a key id that isn't text", header("kid", json!(7))),
        ("a long key id", header("kid", json!("k".repeat(257)))),
        ("a key id as a path", header("kid", json!("../../../../dev/null"))),
        ("no client", claims("client_id", Value::Null)),
        ("an empty client", claims("client_id", json!(""))),
        ("a client that isn't text", claims("client_id", json!(7))),
        ("a client with a line end", claims("client_id", json!("a\nb"))),
        ("a long client", claims("client_id", json!("c".repeat(257)))),
        ("a subject that isn't text", claims("sub", json!({ "a": 1 }))),
        ("scopes that aren't text", claims("scope", json!(7))),
        ("bound to a key of DPoP", claims("cnf", json!({ "jkt": "x" }))),
        (
            "bound to a certificate",
            claims("cnf", json!({ "x5t#S256": URL_SAFE_NO_PAD.encode([7; 32]) })),
        ),
        ("bound to something unknown", claims("cnf", json!({ "osc": "x" }))),
        ("two audiences", payload(r#","aud":"accounts""#)),
        ("two expiries", payload(r#","exp":1"#)),
        ("a repeated member deep inside", payload(r#","a":{"b":[{"c":1,"c":2}]}"#)),
        ("a member repeated by its escape", payload(r#","\u0061ud":"payments""#)),
        ("deep claims", payload(&format!(r#","a":{}{}"#, "[".repeat(500), "]".repeat(500)))),
        (
            "two algorithms",
            json!({ "raw_header": r#"{"alg":"ES256","typ":"at+jwt","alg":"none"}"# }),
        ),
        ("a header that is a list", json!({ "raw_header": r#"["ES256"]"# })),
        ("a header that isn't JSON", json!({ "raw_header": "alg=ES256" })),
        ("claims that are a list", json!({ "raw_payload": "[]" })),
        ("claims that aren't JSON", json!({ "raw_payload": "{" })),
        ("more behind the claims", json!({ "raw_payload": "{}{}" })),
        (
            "a token in a token",
            json!({ "header": { "cty": "JWT" }, "raw_payload": "eyJhbGciOiJub25lIn0.e30." }),
        ),
    ]
}

/// The public half of the bank's RSA key as PEM and as JWK, for those who take it for a secret.
async fn public_keys(bank: &Bank) -> Vec<(String, String, String)> {
    let keys = bank.get("/keys").await;
    let keys = keys["keys"].as_array().unwrap().iter();
    keys.map(|key| {
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        (text("kid"), text("publicPem"), key["jwk"].to_string())
    })
    .collect()
}

#[tokio::test]
async fn hostile_tokens_are_401_with_a_challenge_and_reach_no_backend() {
    let bank = Bank::start().await;
    // Else unknown key ids would wait for fetches.
    let gateway = Tollgate::start(&config(&bank, "refresh: { unknown_key_wait: 1h }, ")).await;
    let wishes = wishes(&bank);
    let mut count = wishes.len() as u64;
    for (what, wish) in wishes {
        let token = bank.mint(wish).await;
        let answer = gateway.get("/who", &token).await;
        assert_challenged(&answer, Some("invalid_token"), what);
    }
    for (kid, pem, jwk) in public_keys(&bank).await {
        for secret in [pem.as_str(), pem.trim_end(), &jwk] {
            for alg in ["HS256", "RS256"] {
                let header = json!({ "kid": kid, "alg": alg });
                let token = bank.mint(json!({ "hs256_with": secret, "header": header })).await;
                let answer = gateway.get("/who", &token).await;
                assert_challenged(&answer, Some("invalid_token"), &format!("{alg} with {kid}"));
                count += 1;
            }
        }
    }
    let refusals = r#"tollgate_refusals_total{type="unauthenticated"}"#;
    metric_becomes(&gateway, refusals, count).await;
    let good = gateway.get("/who", &bank.mint(json!({})).await).await;
    assert_eq!((good.status.as_u16(), &good.json()["path"]), (200, &"/echo/budget-app".into()));
}

#[tokio::test]
async fn a_good_token_that_was_changed_in_any_part_is_good_no_more() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank, "refresh: { unknown_key_wait: 1h }, ")).await;
    let token = bank.mint(json!({})).await;
    let richer = bank.mint(json!({ "claims": { "client_id": "ledger-app" } })).await;
    let parts: Vec<&str> = token.split('.').collect();
    let others: Vec<&str> = richer.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{token}") };
    // It is known to the gateway: only the whole token may count as known.
    assert_eq!(gateway.get("/who", &token).await.status, 200);
    let of_json = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let key = json!({ "kty": "oct", "k": "AAAA" });
    for (what, forged) in [
        ("another's claims", format!("{header}.{}.{signature}", others[1])),
        ("another's signature", format!("{header}.{claims}.{}", others[2])),
        ("no signature", format!("{header}.{claims}.")),
        ("no signature and no dot", format!("{header}.{claims}")),
        ("half a signature", format!("{header}.{claims}.{}", &signature[..43])),
        ("a doubled signature", format!("{header}.{claims}.{signature}{signature}")),
        ("a signature of zeros", format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        ("five parts", format!("{header}.{claims}.{signature}.{claims}.{signature}")),
        ("padding", format!("{header}.{claims}.{signature}==")),
        (
            "base64 with + and /",
            format!("{header}.{claims}.{}", signature.replace(['-', '_'], "+")),
        ),
        ("a dot in front", format!(".{token}")),
        ("empty parts", "..".to_owned()),
        ("one word", "token".to_owned()),
        (
            "its own key in its header",
            format!(
                "{}.{claims}.{signature}",
                of_json(json!({ "alg": "HS256", "jwk": key, "typ": "at+jwt" }))
            ),
        ),
    ] {
        // Two of the signature's characters may not be there to be replaced.
        if forged == token {
            continue;
        }
        let answer = gateway.get("/who", &forged).await;
        assert_challenged(&answer, Some("invalid_token"), what);
    }
    assert_eq!(gateway.get("/who", &token).await.status, 200);
}

#[tokio::test]
async fn a_token_counts_only_in_the_one_authorization_field() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank, "")).await;
    let token = bank.mint(json!({})).await;
    let get =
        |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let long = "a".repeat(17 * 1024);
    for (what, request, error) in [
        ("nothing", get("/who", ""), None),
        ("in the query", get(&format!("/who?access_token={token}"), ""), None),
        ("in a cookie", get("/who", &format!("Cookie: access_token={token}\r\n")), None),
        ("in another field", get("/who", &format!("X-Authorization: Bearer {token}\r\n")), None),
        ("Basic", get("/who", "Authorization: Basic dXNlcjpwYXNz\r\n"), None),
        ("DPoP", get("/who", &format!("Authorization: DPoP {token}\r\n")), None),
        ("without scheme", get("/who", &format!("Authorization: {token}\r\n")), None),
        ("twice", get("/who", &bearer.repeat(2)), Some("invalid_request")),
        (
            "with Basic first",
            get("/who", &format!("Authorization: Basic eDp5\r\n{bearer}")),
            Some("invalid_request"),
        ),
        (
            "two in one",
            get("/who", &format!("Authorization: Bearer {token}, Bearer {token}\r\n")),
            Some("invalid_request"),
        ),
        ("empty", get("/who", "Authorization: Bearer \r\n"), Some("invalid_request")),
        (
            "quoted",
            get("/who", &format!("Authorization: Bearer \"{token}\"\r\n")),
            Some("invalid_request"),
        ),
        (
            "too long",
            get("/who", &format!("Authorization: Bearer {long}\r\n")),
            Some("invalid_request"),
        ),
    ] {
        let answer = ask(&gateway, request).await;
        assert_challenged(&answer, error, what);
        // RFC 6750 section 3.1: a malformed request is 400.
        let status = if error.is_some() { 400 } else { 401 };
        let id = assert_problem(&answer, status, "unauthenticated");
        let line = logged(&gateway, &id).await.to_string();
        assert!(
            !line.contains(&token)
                && !answer.body.windows(20).any(|bytes| bytes == &token.as_bytes()[..20])
        );
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let answer =
            ask(&gateway, get("/who", &format!("Authorization: {scheme} {token}\r\n"))).await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
    assert!(!gateway.log().contains(&token), "no token stands in the log");
}
