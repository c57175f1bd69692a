use serde_json::{Value, json};

use super::{Keys, Row};
use crate::auth::flaw::Flaw;
use crate::auth::tests::signer::{encode, with};
use crate::auth::tests::world::{NOW, claims};

/// Tokens with one claim changed each.
fn changed(keys: &Keys, rows: Vec<(&'static str, &str, Value, Flaw)>) -> Vec<Row> {
    rows.into_iter()
        .map(|(what, name, value, flaw)| {
            (what, keys.main.token(&with(&claims(), name, value)), flaw)
        })
        .collect()
}

pub(super) fn issuers_and_audiences(keys: &Keys) -> Vec<Row> {
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

pub(super) fn times(keys: &Keys) -> Vec<Row> {
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

pub(super) fn identities(keys: &Keys) -> Vec<Row> {
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

pub(super) fn bindings(keys: &Keys) -> Vec<Row> {
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
