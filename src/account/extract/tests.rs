use http::{HeaderMap, Method};
use serde_json::json;

use super::*;
use crate::request::{AccountError, Caller, Captures, NormalPath, RequestHead, RouteId};

struct Case {
    source: AccountSource,
    path: &'static str,
    query: &'static str,
    fields: &'static [&'static str],
    body: Value,
    claims: Value,
}

impl Case {
    fn from(place: &str) -> Self {
        let from = ValueSource::parse(place).unwrap();
        let source = AccountSource { from, agrees_with: None, separator: None };
        let (claims, body) = (json!({}), Value::Null);
        Self { source, path: "", query: "", fields: &[], body, claims }
    }

    fn path(path: &'static str) -> Self {
        Self { path, ..Self::from("path.account") }
    }

    fn query(query: &'static str) -> Self {
        Self { query, ..Self::from("query.acc") }
    }

    fn fields(fields: &'static [&'static str]) -> Self {
        Self { fields, ..Self::from("header.x-acc") }
    }

    fn body(body: Value) -> Self {
        Self { body, ..Self::from("body./acc") }
    }

    fn claims(claims: Value) -> Self {
        Self { claims, ..Self::from("claim.acc") }
    }

    fn agreeing(mut self, with: &str, claims: Value) -> Self {
        self.source.agrees_with = Some(ValueSource::parse(with).unwrap());
        self.claims = claims;
        self
    }

    fn separated(mut self) -> Self {
        self.source.separator = Some(',');
        self
    }

    fn names(self) -> Result<Vec<String>, Refusal> {
        let head = RequestHead {
            method: Method::GET,
            https: false,
            host: "bank.example".into(),
            path: NormalPath { decoded: "/".into(), encoded: "/".into() },
            query: Some(self.query.into()),
            address: [127, 0, 0, 1].into(),
            certificate_thumbprint: None,
            request_id: "r1".into(),
        };
        let caller = Caller {
            provider: "bank".into(),
            client: "app".into(),
            subject: None,
            scopes: Vec::new(),
            claims: self.claims.as_object().cloned().unwrap(),
            certificate_thumbprint: None,
            expires: None,
        };
        let captures = Captures(match self.path {
            "" => Vec::new(),
            account => vec![("account".into(), account.to_owned())],
        });
        let mut headers = HeaderMap::new();
        for value in self.fields {
            headers.append("x-acc", HeaderValue::from_str(value).unwrap());
        }
        let facts = Facts {
            head: &head,
            headers: &headers,
            route: &RouteId::new("summary"),
            captures: &captures,
            caller: Some(&caller),
            account: None,
            body: Some(&self.body),
        };
        let accounts = accounts(&self.source, &facts)?;
        Ok(accounts.iter().map(|account| account.as_str().to_owned()).collect())
    }
}

#[test]
fn the_account_is_read_from_the_path() {
    assert_eq!(Case::path("4711").names().unwrap(), ["4711"]);
}

#[test]
fn a_request_without_account_says_where_it_was_looked_for() {
    let refusal = Case::path("").names().unwrap_err();
    assert_eq!(refusal, Refusal::AccountMissing { source: "path.account".into() });
}

#[test]
fn a_text_that_cannot_be_an_account_is_refused() {
    let refusal = Case::path("47 11").names().unwrap_err();
    assert_eq!(refusal, Refusal::AccountInvalid(AccountError::BadCharacter));
}

#[test]
fn several_accounts_are_parted_and_counted_once_each() {
    assert_eq!(Case::path("1,2,1").separated().names().unwrap(), ["1", "2"]);
    let refusal = Case::path("1,,2").separated().names().unwrap_err();
    assert_eq!(refusal, Refusal::AccountInvalid(AccountError::Empty));
}

#[test]
fn without_a_separator_a_comma_is_part_of_the_account() {
    assert_eq!(Case::path("1,2").names().unwrap(), ["1,2"]);
}

#[test]
fn more_accounts_than_allowed_are_refused() {
    let many: &'static str =
        (0..=MAX_ACCOUNTS).map(|n| n.to_string()).collect::<Vec<_>>().join(",").leak();
    assert_eq!(Case::path(many).separated().names(), Err(Refusal::BadRequest(TOO_MANY)));
    assert!(TOO_MANY.contains(&MAX_ACCOUNTS.to_string()), "the number is told");
}

#[test]
fn path_and_claim_must_agree() {
    let same = Case::path("1").agreeing("claim.account", json!({ "account": "1" }));
    assert_eq!(same.names().unwrap(), ["1"]);
    for claims in [json!({ "account": "2" }), json!({}), json!({ "account": ["2", "3"] })] {
        let case = Case::path("1").agreeing("claim.account", claims.clone());
        assert_eq!(case.names().unwrap_err(), Refusal::AccountMismatch, "{claims}");
    }
}

#[test]
fn a_claim_that_is_a_list_must_have_every_account() {
    let claims = json!({ "consent": { "accounts": ["1", "2"] } });
    let case =
        |path| Case::path(path).separated().agreeing("claim.consent.accounts", claims.clone());
    assert_eq!(case("1,2").names().unwrap(), ["1", "2"]);
    assert_eq!(case("1,3").names().unwrap_err(), Refusal::AccountMismatch);
}

#[test]
fn a_whole_number_is_an_account_and_agrees_as_one() {
    assert_eq!(Case::claims(json!({ "acc": 105 })).names().unwrap(), ["105"]);
    for granted in [json!(202), json!([7, 202]), json!(["202"])] {
        let case = Case::path("202").agreeing("claim.accounts", json!({ "accounts": granted }));
        assert_eq!(case.names().unwrap(), ["202"], "{granted}");
    }
    let granted = json!({ "accounts": [202.0, 2.02e2, true, null, [202], { "id": 202 }] });
    let case = Case::path("202").agreeing("claim.accounts", granted);
    assert_eq!(case.names().unwrap_err(), Refusal::AccountMismatch);
}

#[test]
fn a_number_that_readers_write_differently_is_no_account() {
    for (json, why) in [
        ("1e30", AccountError::NotWhole),
        ("105.0", AccountError::NotWhole),
        ("-0", AccountError::NotWhole),
        ("12345678901234567890123", AccountError::NotWhole),
        ("true", AccountError::NotText),
        ("{}", AccountError::NotText),
    ] {
        let value: Value = serde_json::from_str(json).unwrap();
        let refusal = Case::body(json!({ "acc": value })).names().unwrap_err();
        assert_eq!(refusal, Refusal::AccountInvalid(why), "{json}");
    }
    let most: Value = serde_json::from_str("18446744073709551615").unwrap();
    assert_eq!(Case::body(json!({ "acc": most })).names().unwrap(), ["18446744073709551615"]);
}

const SEVERAL: Refusal = Refusal::AccountInvalid(AccountError::Several);

#[test]
fn what_stands_twice_is_no_account_and_with_a_separator_all_of_it_counts() {
    let list = || json!({ "acc": ["200", "999"] });
    let no_text = Refusal::AccountInvalid(AccountError::NotText);
    let several: [(&dyn Fn() -> Case, &Refusal); 5] = [
        (&|| Case::query("acc=200&acc=999"), &SEVERAL),
        (&|| Case::query("acc=200&%61cc=999"), &SEVERAL),
        (&|| Case::fields(&["200", "999"]), &SEVERAL),
        (&|| Case::body(list()), &no_text),
        (&|| Case::claims(list()), &no_text),
    ];
    for (case, why) in several {
        assert_eq!(case().names().as_ref(), Err(why));
        assert_eq!(case().separated().names().unwrap(), ["200", "999"]);
    }
    assert_eq!(Case::query("acc=200&acc=200").names(), Err(SEVERAL));
    assert_eq!(Case::fields(&["1,2", "2,3"]).separated().names().unwrap(), ["1", "2", "3"]);
}

#[test]
fn another_spelling_beside_the_account_is_refused_separator_or_not() {
    for query in ["acc=200&ACC=999", "acc[]=999&acc=200", "acc=200&x=1;acc=999"] {
        assert_eq!(Case::query(query).names().unwrap_err(), SEVERAL, "{query}");
        assert_eq!(Case::query(query).separated().names().unwrap_err(), SEVERAL, "{query}");
    }
}

#[test]
fn an_account_that_backends_decode_differently_is_refused() {
    const BROKEN: Refusal = Refusal::AccountInvalid(AccountError::BrokenEscape);
    for query in ["acc=%u0034711", "acc=%zz", "acc=4%", "acc=1&ac%u0063=2"] {
        assert_eq!(Case::query(query).names().unwrap_err(), BROKEN, "{query}");
        let agreeing = Case { query, ..Case::path("4711") }.agreeing("query.acc", json!({}));
        assert_eq!(agreeing.names().unwrap_err(), BROKEN, "{query}");
    }
    assert_eq!(Case::query("acc=%34711&x=100%").names().unwrap(), ["4711"]);
}

#[test]
fn two_places_of_one_request_must_name_the_same_and_no_more() {
    let case = |path, query| Case { query, ..Case::path(path) };
    let pair = |path, query| case(path, query).separated().agreeing("query.acc", json!({})).names();
    assert_eq!(pair("1,2", "acc=2,1").unwrap(), ["1", "2"]);
    assert_eq!(pair("1,2", "acc=2&acc=1").unwrap(), ["1", "2"]);
    for query in ["acc=1", "acc=1,2,999", "acc=1,2&acc=999", ""] {
        assert_eq!(pair("1,2", query).unwrap_err(), Refusal::AccountMismatch, "{query}");
    }
    let single = case("1", "acc=1&acc=999").agreeing("query.acc", json!({}));
    assert_eq!(single.names().unwrap_err(), SEVERAL);
}
