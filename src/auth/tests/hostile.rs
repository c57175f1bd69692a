use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use openssl::ecdsa::EcdsaSig;
use serde_json::{Value, json};

use super::signer::{Signer, encode, with};
use super::world::{NOW, World, claims, head, told};
use crate::auth::flaw::Flaw;
use crate::request::Caller;

/// The keys of the table's provider, and one of an attacker.
struct Keys {
    main: Signer,
    second: Signer,
    rsa: Signer,
    encryption: Signer,
    attacker: Signer,
}

impl Keys {
    fn make() -> Self {
        Self {
            main: Signer::p256("main"),
            second: Signer::p256("second"),
            rsa: Signer::rsa("rsa", Algorithm::PS256),
            encryption: Signer::p384("encryption"),
            attacker: Signer::p256("main"),
        }
    }

    async fn published(&self) -> World {
        let encryption = self.encryption.jwk_with("use", json!("enc"));
        World::with_keys(&[&self.main.jwk, &self.second.jwk, &self.rsa.jwk, &encryption]).await
    }
}

type Row = (&'static str, String, Flaw);

#[tokio::test]
async fn every_hostile_token_is_refused_for_what_is_wrong_with_it() {
    let keys = Keys::make();
    let world = keys.published().await;
    let gate = world.authenticator();
    let good: Arc<Caller> = world.ask(&gate, &keys.main.token(&claims())).await.unwrap();
    assert_eq!(&*good.client, "tpp-1");

    let table: Vec<Row> = [
        shapes(&keys),
        headers(&keys),
        signatures(&keys),
        issuers_and_audiences(&keys),
        times(&keys),
        identities(&keys),
        bindings(&keys),
    ]
    .concat();
    assert!(table.len() >= 100, "{}", table.len());
    for (what, token, flaw) in &table {
        assert_eq!(told(world.ask(&gate, token).await), flaw.reason(), "{what}");
    }
    assert_eq!(world.idp.fetches(), 1, "hostile tokens made the gateway fetch keys");
    world.tokens.settle();
    assert_eq!(world.tokens.len(), 1, "a hostile token is in the cache");
}

/// A token whose parts are these texts, with a signature that holds.
fn signed(keys: &Keys, header: &str, claims: impl AsRef<[u8]>) -> String {
    keys.main.sign_texts(header, claims)
}

fn shapes(keys: &Keys) -> Vec<Row> {
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

fn headers(keys: &Keys) -> Vec<Row> {
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

fn signatures(keys: &Keys) -> Vec<Row> {
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

/// Tokens with one claim changed each.
fn changed(keys: &Keys, rows: Vec<(&'static str, &str, Value, Flaw)>) -> Vec<Row> {
    rows.into_iter()
        .map(|(what, name, value, flaw)| {
            (what, keys.main.token(&with(&claims(), name, value)), flaw)
        })
        .collect()
}

fn issuers_and_audiences(keys: &Keys) -> Vec<Row> {
    changed(
        keys,
        vec![
            ("no issuer", "iss", Value::Null, Flaw::Issuer),
            ("another issuer", "iss", json!("https://evil.example"), Flaw::Issuer),
            (
                "an issuer with a slash more",
                "iss",
                json!("https://idp.bank.example/"),
                Flaw::Issuer,
            ),
            ("an issuer in another case", "iss", json!("https://IDP.bank.example"), Flaw::Issuer),
            ("a list of issuers", "iss", json!(["https://idp.bank.example"]), Flaw::Issuer),
            ("no audience", "aud", Value::Null, Flaw::Audience),
            ("another audience", "aud", json!("cards"), Flaw::Audience),
            ("an audience that begins alike", "aud", json!("accounts-test"), Flaw::Audience),
            ("audiences in one text", "aud", json!("accounts payments"), Flaw::Audience),
            ("other audiences", "aud", json!(["cards", "loans"]), Flaw::Audience),
            ("an empty list of audiences", "aud", json!([]), Flaw::Audience),
            ("a number among the audiences", "aud", json!(["accounts", 1]), Flaw::Audience),
            ("an object as audience", "aud", json!({ "accounts": true }), Flaw::Audience),
        ],
    )
}

fn times(keys: &Keys) -> Vec<Row> {
    let now = NOW.seconds();
    changed(
        keys,
        vec![
            ("no expiry", "exp", Value::Null, Flaw::NoExpiry),
            ("a text as expiry", "exp", json!("1700000600"), Flaw::NoExpiry),
            ("a negative expiry", "exp", json!(-1), Flaw::NoExpiry),
            ("a list as expiry", "exp", json!([now + 600]), Flaw::NoExpiry),
            ("expired", "exp", json!(now - 60), Flaw::Expired),
            ("expired as the leeway ends", "exp", json!(now - 5), Flaw::Expired),
            ("an expiry of 0", "exp", json!(0), Flaw::Expired),
            ("not valid yet", "nbf", json!(now + 60), Flaw::NotYetValid),
            ("a text as start", "nbf", json!("now"), Flaw::NotYetValid),
            ("issued in the future", "iat", json!(now + 60), Flaw::IssuedAt),
            ("a text as time of issue", "iat", json!("now"), Flaw::IssuedAt),
            ("a life that is too long", "exp", json!(now + 7200), Flaw::TooLong),
            ("a life without end", "exp", json!(u64::MAX), Flaw::TooLong),
            ("a life without end, as a float", "exp", json!(1e300), Flaw::TooLong),
        ],
    )
    .into_iter()
    .chain([(
        "issued after it expires",
        keys.main.token(&with(&with(&claims(), "iat", json!(now + 4)), "exp", json!(now + 2))),
        Flaw::IssuedAt,
    )])
    .collect()
}

fn identities(keys: &Keys) -> Vec<Row> {
    changed(
        keys,
        vec![
            ("no client", "client_id", Value::Null, Flaw::Client),
            ("an empty client", "client_id", json!(""), Flaw::Client),
            ("a number as client", "client_id", json!(7), Flaw::Client),
            ("a long client", "client_id", json!("c".repeat(257)), Flaw::Client),
            ("a client with a line break", "client_id", json!("tpp\n1"), Flaw::Client),
            ("an empty subject", "sub", json!(""), Flaw::Subject),
            ("a number as subject", "sub", json!(7), Flaw::Subject),
            ("a long subject", "sub", json!("s".repeat(513)), Flaw::Subject),
            ("a subject with a NUL", "sub", json!("anna\0"), Flaw::Subject),
            ("a number as scope", "scope", json!(7), Flaw::Scope),
            ("numbers as scopes", "scope", json!(["a", 7]), Flaw::Scope),
            ("an object as scope", "scope", json!({}), Flaw::Scope),
        ],
    )
}

fn bindings(keys: &Keys) -> Vec<Row> {
    let thumbprint = encode([7; 32]);
    changed(
        keys,
        vec![
            (
                "bound to a certificate that isn't there",
                "cnf",
                json!({ "x5t#S256": thumbprint }),
                Flaw::Certificate,
            ),
            ("bound to a DPoP key", "cnf", json!({ "jkt": thumbprint }), Flaw::Confirmation),
            (
                "bound to both",
                "cnf",
                json!({ "jkt": "x", "x5t#S256": thumbprint }),
                Flaw::Confirmation,
            ),
            ("bound to nothing known", "cnf", json!({ "kid": "k" }), Flaw::Confirmation),
            ("an empty binding", "cnf", json!({}), Flaw::Confirmation),
            ("a binding that is a text", "cnf", json!("x5t#S256"), Flaw::Confirmation),
            (
                "a short thumbprint",
                "cnf",
                json!({ "x5t#S256": encode([7; 31]) }),
                Flaw::Confirmation,
            ),
            (
                "a hexadecimal thumbprint",
                "cnf",
                json!({ "x5t#S256": "07".repeat(32) }),
                Flaw::Confirmation,
            ),
        ],
    )
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_is_good_with_that_certificate_alone() {
    let keys = Keys::make();
    let world = keys.published().await;
    let gate = world.authenticator();
    let bound = with(&claims(), "cnf", json!({ "x5t#S256": encode([7; 32]) }));
    let headers = super::world::bearer(&keys.main.token(&bound));
    let ask = async |certificate| gate.authenticate(&headers, &head(certificate), NOW).await;

    let caller = ask(Some([7; 32])).await.unwrap();
    assert_eq!(caller.certificate_thumbprint, Some([7; 32]));
    // Once verified it is in the cache, and must be no easier to use.
    let mut other = [7; 32];
    other[31] = 6;
    assert_eq!(told(ask(Some(other)).await), Flaw::Certificate.reason());
    assert_eq!(told(ask(None).await), Flaw::Certificate.reason());
    assert!(Arc::ptr_eq(&ask(Some([7; 32])).await.unwrap(), &caller));
}
