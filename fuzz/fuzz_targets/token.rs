//! No token is accepted that the provider's key has not signed, whatever else is right with it;
//! and what a signed one says is believed only within the provider's rules. The input is a token
//! as it came, or two lines of text, its header and claims, so that what lies behind base64 is
//! reached too.
#![no_main]

mod provider;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use provider::{AUDIENCE, ISSUER, LEEWAY, NOW, World};
use serde_json::Value;
use tollgate::auth::read_unverified;
use tollgate::request::Caller;

static WORLD: LazyLock<World> = LazyLock::new(World::new);

fuzz_target!(|input: &[u8]| {
    let token = String::from_utf8_lossy(input);
    assert_eq!(accepted(&token), None, "a token that nobody signed: {token}");
    let Some((head, claims)) = token.split_once('\n') else { return };
    let [head, claims_part] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let signed = format!("{head}.{claims_part}");
    let signature = URL_SAFE_NO_PAD.encode(WORLD.sign(signed.as_bytes()));
    // Refused before it is accepted: what was accepted is remembered.
    let forged = [
        format!("{signed}."),
        format!("{signed}.AA"),
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(WORLD.sign(b"another text"))),
        format!("{signed}.{}", flipped(&signature, input.len())),
    ];
    forged.iter().for_each(|token| assert_eq!(accepted(token), None, "forged: {token}"));
    let good = format!("{signed}.{signature}");
    let Some(caller) = accepted(&good) else { return };
    check(&caller, claims);
    // From memory it is the same, and one changed in any letter is another.
    assert_eq!(accepted(&good), Some(caller));
    assert_eq!(accepted(&flipped(&good, input.len())), None, "changed: {good}");
    forged.iter().for_each(|token| assert_eq!(accepted(token), None, "forged: {token}"));
});

/// With one letter changed.
fn flipped(token: &str, nth: usize) -> String {
    let mut bytes = token.as_bytes().to_vec();
    let at = nth % bytes.len();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8_lossy(&bytes).into_owned()
}

fn accepted(token: &str) -> Option<Caller> {
    let field = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, field)]);
    let read = read_unverified(&WORLD.providers, &headers, NOW);
    let caller = WORLD.authenticate(&headers)?;
    assert_eq!(read.as_ref(), Ok(&caller));
    Some(caller)
}

/// The provider's rules, told once more and in the plainest way.
fn check(caller: &Caller, claims: &str) {
    let claims: Value = serde_json::from_str(claims).expect("what is accepted is JSON");
    assert_eq!(claims["iss"], ISSUER);
    let audiences = claims["aud"].as_array().cloned().unwrap_or_else(|| vec![claims["aud"].clone()]);
    assert!(audiences.contains(&Value::from(AUDIENCE)));
    let now = NOW.0 as f64 / 1000.0;
    assert!(claims["exp"].as_f64().expect("it ends") + LEEWAY.as_secs_f64() > now);
    for begins in ["nbf", "iat"] {
        assert!(claims[begins].as_f64().unwrap_or(0.0) <= now + LEEWAY.as_secs_f64() + 0.001);
    }
    assert!(claims.get("cnf").is_none(), "nobody holds what it is bound to");
    assert!((1..=256).contains(&caller.client.len()));
    assert!(!caller.client.contains(char::is_control));
    assert!(caller.subject.as_ref().is_none_or(|subject| (1..=512).contains(&subject.len())));
    assert!(caller.scopes.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(caller.expires.is_some_and(|expires| NOW < expires));
}
