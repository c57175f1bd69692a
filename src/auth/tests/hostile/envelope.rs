use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use openssl::ecdsa::EcdsaSig;
use serde_json::{Value, json};

use super::{Keys, Row};
use crate::auth::flaw::Flaw;
use crate::auth::tests::signer::{Signer, encode, with};
use crate::auth::tests::world::claims;

/// A token whose parts are these texts, with a signature that holds.
fn signed(keys: &Keys, header: &str, claims: impl AsRef<[u8]>) -> String {
    keys.main.sign_texts(header, claims)
}

pub(super) fn shapes(keys: &Keys) -> Vec<Row> {
    let good = keys.main.token(&claims());
    let (signed_part, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed_part.split_once('.').unwrap();
    let head = keys.main.header().to_string();
    let body = claims().to_string();
    let body_with = |extra: &str| format!("{},{extra}}}", &body[..body.len() - 1]);
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    vec![
        ("one part", header.into(), Flaw::NotThreeParts),
        ("two parts", signed_part.into(), Flaw::NotThreeParts),
        ("four parts", format!("{good}.AA"), Flaw::NotThreeParts),
        ("five parts, as in JWE", format!("{good}.AA.AA"), Flaw::NotThreeParts),
        ("a dot before", format!(".{good}"), Flaw::NotThreeParts),
        ("empty parts", "..".into(), Flaw::NotJson),
        ("empty claims", format!("{header}..{signature}"), Flaw::NotJson),
        ("a padded signature", format!("{good}=="), Flaw::NotBase64),
        ("standard base64", format!("{header}.{payload}.+/+/"), Flaw::NotBase64),
        ("stray bits in the claims", format!("{header}.e31.{signature}"), Flaw::NotBase64),
        ("a cut base64 group", format!("{header}.A.{signature}"), Flaw::NotBase64),
        ("a header of garbage", signed(keys, "garbage", &body), Flaw::NotJson),
        ("a header in single quotes", signed(keys, "{'alg':'ES256'}", &body), Flaw::NotJson),
        ("a header that is a list", signed(keys, "[]", &body), Flaw::NotAnObject),
        ("claims that are a text", signed(keys, &head, "\"sub\""), Flaw::NotAnObject),
        ("claims that are null", signed(keys, &head, "null"), Flaw::NotAnObject),
        ("claims followed by more", signed(keys, &head, format!("{body}{{}}")), Flaw::NotJson),
        (
            "claims with a byte order mark",
            signed(keys, &head, format!("\u{feff}{body}")),
            Flaw::NotJson,
        ),
        ("claims that are not UTF-8", signed(keys, &head, b"{\"sub\":\"\xff\"}"), Flaw::NotJson),
        ("half a surrogate pair", signed(keys, &head, body_with(r#""x":"\ud800""#)), Flaw::NotJson),
        ("an endless number", signed(keys, &head, body_with("\"x\":1e999")), Flaw::NotJson),
        ("NaN", signed(keys, &head, body_with("\"x\":NaN")), Flaw::NotJson),
        ("a raw NUL", signed(keys, &head, body_with("\"x\":\"\0\"")), Flaw::NotJson),
        ("nesting", signed(keys, &head, body_with(&format!("\"x\":{deep}"))), Flaw::TooDeep),
        (
            "two audiences by name",
            signed(keys, &head, body_with(r#""aud":"accounts""#)),
            Flaw::RepeatedMember,
        ),
        (
            "two expiries, one escaped",
            signed(keys, &head, body_with(r#""\u0065xp":9999999999"#)),
            Flaw::RepeatedMember,
        ),
        (
            "two names deep inside",
            signed(keys, &head, body_with(r#""a":[{"b":1,"b":2}]"#)),
            Flaw::RepeatedMember,
        ),
        (
            "two algorithms",
            signed(keys, r#"{"alg":"ES256","kid":"main","alg":"none"}"#, &body),
            Flaw::RepeatedMember,
        ),
    ]
}

pub(super) fn headers(keys: &Keys) -> Vec<Row> {
    let token = |name: &str, value: Value| {
        keys.main.token_with(&with(&keys.main.header(), name, value), &claims())
    };
    let unsigned = |algorithm: &str| {
        let header = with(&keys.main.header(), "alg", json!(algorithm));
        format!("{}.{}.", encode(header.to_string()), encode(claims().to_string()))
    };
    vec![
        ("alg none", unsigned("none"), Flaw::Algorithm),
        ("alg None", unsigned("None"), Flaw::Algorithm),
        ("alg empty", unsigned(""), Flaw::Algorithm),
        ("no alg", token("alg", Value::Null), Flaw::Algorithm),
        ("alg in lower case", token("alg", json!("es256")), Flaw::Algorithm),
        ("alg a list", token("alg", json!(["ES256"])), Flaw::Algorithm),
        (
            "an algorithm that is not configured",
            keys.rsa
                .token_with(&json!({ "alg": "RS256", "kid": "rsa", "typ": "at+jwt" }), &claims()),
            Flaw::Algorithm,
        ),
        ("HS256 with the public key as the secret", keyed_with_public_key(keys), Flaw::Algorithm),
        ("another curve's algorithm", token("alg", json!("ES384")), Flaw::KeyMisfit),
        ("another family's algorithm", token("alg", json!("PS256")), Flaw::KeyMisfit),
        ("an unknown key", token("kid", json!("other")), Flaw::UnknownKey),
        ("a key in another case", token("kid", json!("Main")), Flaw::UnknownKey),
        ("a path as key id", token("kid", json!("../../main")), Flaw::UnknownKey),
        ("a key for encryption", keys.encryption.token(&claims()), Flaw::UnknownKey),
        ("a number as key id", token("kid", json!(1)), Flaw::KeyId),
        ("an empty key id", token("kid", json!("")), Flaw::KeyId),
        ("a long key id", token("kid", json!("k".repeat(300))), Flaw::KeyId),
        ("no key id with two keys that fit", token("kid", Value::Null), Flaw::NoSingleKey),
        ("a critical extension", token("crit", json!(["exp"])), Flaw::Critical),
        ("an empty list of critical ones", token("crit", json!([])), Flaw::Critical),
        (
            "an unencoded payload",
            keys.main.token_with(
                &json!({ "alg": "ES256", "kid": "main", "b64": false, "crit": ["b64"] }),
                &claims(),
            ),
            Flaw::Critical,
        ),
        ("an identity token's type", token("typ", json!("id+jwt")), Flaw::Type),
        ("a logout token's type", token("typ", json!("logout+jwt")), Flaw::Type),
        ("a type below text/", token("typ", json!("text/at+jwt")), Flaw::Type),
        ("no type", token("typ", Value::Null), Flaw::Type),
        ("a number as type", token("typ", json!(1)), Flaw::Type),
    ]
}

/// The classic confusion: a verifier that takes the algorithm from the token would use the public
/// key, which everybody knows, as an HMAC secret.
fn keyed_with_public_key(keys: &Keys) -> String {
    let header = with(&keys.main.header(), "alg", json!("HS256")).to_string();
    let signed = format!("{}.{}", encode(header), encode(claims().to_string()));
    let secret = EncodingKey::from_secret(keys.main.jwk.to_string().as_bytes());
    let signature = crypto::sign(signed.as_bytes(), &secret, Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

pub(super) fn signatures(keys: &Keys) -> Vec<Row> {
    let good = keys.main.token(&claims());
    let (signed_part, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed_part.split_once('.').unwrap();
    let raw = crate::auth::token::decode(signature).unwrap();
    let mut flipped = raw.clone();
    flipped[10] ^= 1;
    let other_claims = encode(with(&claims(), "sub", json!("boris")).to_string());
    let other_header = encode(with(&keys.main.header(), "kid", json!("second")).to_string());
    let with_signature = |bytes: &[u8]| format!("{signed_part}.{}", encode(bytes));
    let own_key = |name: &str, value: Value| {
        keys.attacker.token_with(&with(&keys.main.header(), name, value), &claims())
    };
    let payload = signed_part.split_once('.').unwrap().1;
    vec![
        ("no signature", format!("{signed_part}."), Flaw::Signature),
        ("a flipped bit", with_signature(&flipped), Flaw::Signature),
        ("a cut signature", with_signature(&raw[..63]), Flaw::Signature),
        (
            "a signature with more behind",
            with_signature(&[&raw[..], &[0]].concat()),
            Flaw::Signature,
        ),
        ("zeros", with_signature(&[0; 64]), Flaw::Signature),
        ("the curve's order", with_signature(&[0xff; 64]), Flaw::Signature),
        ("the signature in DER", with_signature(&der(&raw)), Flaw::Signature),
        ("other claims", format!("{header}.{other_claims}.{signature}"), Flaw::Signature),
        ("another key's id", format!("{other_header}.{payload}.{signature}"), Flaw::Signature),
        ("an attacker's key of the same id", keys.attacker.token(&claims()), Flaw::Signature),
        ("the attacker's key in jwk", own_key("jwk", keys.attacker.jwk.clone()), Flaw::Signature),
        ("a key set at a URL", own_key("jku", json!("https://evil.example/k")), Flaw::Signature),
        (
            "a certificate at a URL",
            own_key("x5u", json!("https://evil.example/c")),
            Flaw::Signature,
        ),
        ("PKCS#1 padding where PSS is said", pkcs1_said_to_be_pss(), Flaw::UnknownKey),
        ("PKCS#1 padding under a known key", keys.rsa_token_with_other_padding(), Flaw::Signature),
    ]
}

fn der(raw: &[u8]) -> Vec<u8> {
    let number = |bytes| openssl::bn::BigNum::from_slice(bytes).unwrap();
    EcdsaSig::from_private_components(number(&raw[..32]), number(&raw[32..]))
        .unwrap()
        .to_der()
        .unwrap()
}

fn pkcs1_said_to_be_pss() -> String {
    Signer::rsa("unknown", Algorithm::RS256)
        .token_with(&json!({ "alg": "PS256", "kid": "unknown", "typ": "jwt" }), &claims())
}

impl Keys {
    fn rsa_token_with_other_padding(&self) -> String {
        let header = self.rsa.header().to_string();
        let signed = format!("{}.{}", encode(header), encode(claims().to_string()));
        let signature = self.rsa.sign_as(Algorithm::RS256, signed.as_bytes());
        format!("{signed}.{signature}")
    }
}
