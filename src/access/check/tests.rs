use http::{HeaderMap, Method};
use serde_json::json;

use super::*;
use crate::request::{Captures, NormalPath, RequestHead, RouteId};

fn head(address: &str) -> RequestHead {
    RequestHead {
        method: Method::GET,
        https: true,
        host: "api.bank.example".into(),
        path: NormalPath { decoded: "/accounts".into(), encoded: "/accounts".into() },
        query: None,
        address: address.parse().unwrap(),
        certificate_thumbprint: None,
        request_id: "r1".into(),
    }
}

fn caller(scopes: &[&str], claims: Value) -> Caller {
    Caller {
        provider: "bank".into(),
        client: "c1".into(),
        subject: None,
        scopes: scopes.iter().map(|scope| Arc::from(*scope)).collect(),
        claims: claims.as_object().unwrap().clone(),
        certificate_thumbprint: None,
        expires: None,
    }
}

fn asked(access: &Access, caller: Option<&Caller>, address: &str) -> Result<(), Refusal> {
    let head = head(address);
    check(
        access,
        &Facts {
            head: &head,
            headers: &HeaderMap::new(),
            route: &RouteId::new("summary"),
            captures: &Captures::default(),
            caller,
            account: None,
            body: None,
        },
    )
}

fn texts(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|text| Arc::from(*text)).collect()
}

fn rule(refused: Result<(), Refusal>) -> String {
    match refused {
        Err(Refusal::Forbidden { rule }) => rule.to_string(),
        other => panic!("not forbidden: {other:?}"),
    }
}

#[test]
fn a_route_that_asks_for_nothing_takes_everybody() {
    assert_eq!(asked(&Access::default(), None, "192.0.2.1"), Ok(()));
}

#[test]
fn all_of_the_scopes_are_needed() {
    let access = Access { scopes_all: texts(&["accounts:read", "payments"]), ..Access::default() };
    let both = caller(&["accounts:read", "other", "payments"], json!({}));
    assert_eq!(asked(&access, Some(&both), "192.0.2.1"), Ok(()));
    for scopes in [&["accounts:read"][..], &["payments", "accounts"], &[]] {
        assert_eq!(
            asked(&access, Some(&caller(scopes, json!({}))), "192.0.2.1"),
            Err(Refusal::MissingScope {
                required: "accounts:read payments".into(),
                one_is_enough: false
            }),
        );
    }
}

#[test]
fn any_of_the_scopes_is_enough() {
    let access = Access { scopes_any: texts(&["a", "b"]), ..Access::default() };
    assert_eq!(asked(&access, Some(&caller(&["b"], json!({}))), "192.0.2.1"), Ok(()));
    assert_eq!(
        asked(&access, Some(&caller(&["ab"], json!({}))), "192.0.2.1"),
        Err(Refusal::MissingScope { required: "a b".into(), one_is_enough: true }),
    );
}

#[test]
fn scopes_and_claims_without_a_caller_ask_for_a_credential() {
    let claims = vec![(Arc::from("acr"), ClaimCheck::Equals(json!("x")))];
    for access in [
        Access { scopes_all: texts(&["a"]), ..Access::default() },
        Access { scopes_any: texts(&["a"]), ..Access::default() },
        Access { claims, ..Access::default() },
    ] {
        let refused = asked(&access, None, "192.0.2.1");
        assert_eq!(refused, Err(Refusal::Unauthenticated(Challenge::Missing)));
    }
}

#[test]
fn claims_are_checked_by_value() {
    let claims = json!({
        "acr": "sca", "level": 2, "half": 0.5, "vip": true, "nothing": null,
        "groups": ["ops", 7, null], "entitlements": "read write", "gaps": " a  b ",
        "act": { "sub": "tpp-1" }, "https://bank.example/tier": "gold"
    });
    let caller = caller(&[], claims);
    let equals = ClaimCheck::Equals;
    let contains = ClaimCheck::Contains;
    for (name, check, holds) in [
        ("acr", equals(json!("sca")), true),
        ("acr", equals(json!("SCA")), false),
        ("acr", equals(json!("sc")), false),
        ("level", equals(json!(2)), true),
        ("level", equals(json!(2.0)), true),
        ("level", equals(json!("2")), false),
        ("half", equals(json!(0.5)), true),
        ("vip", equals(json!(true)), true),
        ("vip", equals(json!("true")), false),
        ("nothing", equals(json!(null)), true),
        ("absent", equals(json!(null)), false),
        ("groups", equals(json!(["ops", 7, null])), true),
        ("act.sub", equals(json!("tpp-1")), true),
        ("act.sub.x", equals(json!("tpp-1")), false),
        ("https://bank.example/tier", equals(json!("gold")), true),
        ("groups", contains(json!("ops")), true),
        ("groups", contains(json!("op")), false),
        ("groups", contains(json!(7)), true),
        ("entitlements", contains(json!("write")), true),
        ("entitlements", contains(json!("rea")), false),
        ("entitlements", contains(json!("read write")), false),
        ("entitlements", contains(json!("")), false),
        ("gaps", contains(json!("b")), true),
        ("gaps", contains(json!("")), false),
        ("act", contains(json!("sub")), false),
        ("absent", contains(json!("x")), false),
        ("acr", ClaimCheck::OneOf(vec![json!("a"), json!("sca")]), true),
        ("acr", ClaimCheck::OneOf(vec![json!("a"), json!("b")]), false),
        ("acr", ClaimCheck::OneOf(vec![]), false),
        ("absent", ClaimCheck::OneOf(vec![json!(null)]), false),
    ] {
        let access = Access { claims: vec![(name.into(), check.clone())], ..Access::default() };
        let allowed = asked(&access, Some(&caller), "192.0.2.1").is_ok();
        assert_eq!(allowed, holds, "{name} {check:?}");
    }
}

#[test]
fn large_numbers_are_compared_exactly() {
    let caller = caller(&[], json!({ "id": 9_007_199_254_740_993_u64 }));
    let check = ClaimCheck::Equals(json!(9_007_199_254_740_992_u64));
    let access = Access { claims: vec![("id".into(), check)], ..Access::default() };
    assert!(asked(&access, Some(&caller), "192.0.2.1").is_err());
}

#[test]
fn a_refusal_names_the_rule_and_not_the_callers_claims() {
    let caller = caller(&[], json!({ "acr": "private", "groups": ["private"] }));
    for (check, expected) in [
        (ClaimCheck::Equals(json!("sca")), "claims: acr equals \"sca\""),
        (ClaimCheck::Contains(json!(3)), "claims: acr contains 3"),
        (ClaimCheck::OneOf(vec![json!("a"), json!(1)]), "claims: acr one_of [\"a\",1]"),
    ] {
        let access = Access { claims: vec![("acr".into(), check)], ..Access::default() };
        assert_eq!(rule(asked(&access, Some(&caller), "192.0.2.1")), expected);
    }
}

#[test]
fn every_claim_must_hold() {
    let caller = caller(&[], json!({ "a": 1, "b": 2 }));
    let claims = vec![
        ("a".into(), ClaimCheck::Equals(json!(1))),
        ("b".into(), ClaimCheck::Equals(json!(3))),
    ];
    let access = Access { claims, ..Access::default() };
    assert_eq!(rule(asked(&access, Some(&caller), "192.0.2.1")), "claims: b equals 3");
}

#[test]
fn networks_hold_the_addresses_they_say() {
    for (networks, address, holds) in [
        (&["10.0.0.0/8"][..], "10.1.2.3", true),
        (&["10.0.0.0/8"], "11.0.0.1", false),
        (&["10.0.0.0/8"], "::ffff:10.1.2.3", true),
        (&["10.0.0.0/8"], "::ffff:11.0.0.1", false),
        (&["::ffff:10.0.0.0/104"], "10.1.2.3", true),
        (&["::ffff:10.0.0.0/104"], "::ffff:10.1.2.3", true),
        (&["::ffff:10.0.0.0/104"], "11.0.0.1", false),
        (&["::/0"], "10.1.2.3", false),
        (&["::/0"], "::ffff:10.1.2.3", false),
        (&["0.0.0.0/0"], "::ffff:10.1.2.3", true),
        (&["0.0.0.0/0"], "2001:db8::1", false),
        (&["2001:db8::/32"], "2001:db8:1::1", true),
        (&["2001:db8::/32"], "2001:db9::1", false),
        (&["192.0.2.1/32", "2001:db8::/32"], "2001:db8::1", true),
    ] {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        let access = Access { networks, ..Access::default() };
        assert_eq!(asked(&access, None, address).is_ok(), holds, "{access:?} {address}");
    }
}

#[test]
fn an_address_outside_is_refused_before_scopes_are_told() {
    let access = Access {
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        scopes_all: texts(&["secret-scope"]),
        ..Access::default()
    };
    assert_eq!(rule(asked(&access, None, "192.0.2.1")), "networks");
}

#[test]
fn a_condition_decides_and_one_without_an_answer_refuses() {
    let caller = caller(&[], json!({ "tier": "gold" }));
    for (source, holds) in [
        ("caller.claims.tier == 'gold'", true),
        ("caller.claims.tier == 'silver'", false),
        ("caller.claims.absent == 'gold'", false),
        ("caller.client", false),
    ] {
        let condition = Some(Condition::compile(source).unwrap());
        let access = Access { condition, ..Access::default() };
        let answer = asked(&access, Some(&caller), "192.0.2.1");
        assert_eq!(answer.is_ok(), holds, "{source}");
        if !holds {
            assert_eq!(rule(answer), format!("condition: {source}"));
        }
    }
}
