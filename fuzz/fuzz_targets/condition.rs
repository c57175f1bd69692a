//! Any text is a condition that gives every request an answer, on the stack that a request has, or
//! is refused when the configuration is checked. The input is lines: the value of a header, a
//! query, and the condition.
#![no_main]

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tollgate::config::load_text;
use tollgate::request::{Caller, Captures, Condition, Facts, RequestHead, RouteId};

/// Of a thread that serves requests.
const STACK: usize = 2 << 20;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (field, query, written) = (line(), line(), line());
    let Some(condition) = checked(written) else { return };
    assert_eq!(condition.to_string(), written);
    let served = std::thread::Builder::new().stack_size(STACK).spawn({
        let (field, query) = (field.to_owned(), query.to_owned());
        move || {
            let once = ask(&condition, &field, &query);
            assert_eq!(once, ask(&condition, &field, &query), "it depends on nothing else");
        }
    });
    served.expect("a thread").join().expect("an answer");
});

/// The condition of a configuration that has it, if the check accepts it.
fn checked(text: &str) -> Option<Condition> {
    let config = json!({
        "listen": [{"address": "0.0.0.0:80"}],
        "identity": {"bank": {"issuer": "https://idp.bank.example", "audience": "a"}},
        "routes": [{
            "id": "r", "match": {"path": "/"}, "authenticate": "bank", "answer": {},
            "condition": text.replace("${", "$${"),
        }],
    });
    let config = load_text(Path::new("condition.yaml"), &config.to_string()).ok()?;
    config.routes.first()?.access.condition.clone()
}

fn ask(condition: &Condition, field: &str, query: &str) -> Result<bool, String> {
    let head = RequestHead { query: Some(query.into()), ..RequestHead::default() };
    let value = HeaderValue::from_str(field).ok();
    let headers: HeaderMap =
        value.into_iter().map(|value| (HeaderName::from_static("x-a"), value)).collect();
    let claims = json!({"sub": "1", "n": 1.5, "i": i64::MIN, "u": u64::MAX, "l": [1, field, null]});
    let caller = Caller {
        provider: "bank".into(),
        client: "app".into(),
        subject: Some("1".into()),
        scopes: vec!["accounts:read".into()],
        claims: claims.as_object().cloned().unwrap_or_default(),
        certificate_thumbprint: None,
        expires: None,
    };
    let facts = Facts {
        head: &head,
        headers: &headers,
        route: &RouteId::new("r"),
        captures: &Captures::default(),
        caller: Some(&caller),
        account: None,
        body: Some(&Value::Null),
    };
    condition.holds(&facts).map_err(|error| error.to_string())
}
