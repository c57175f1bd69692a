use std::borrow::Cow;

use http::HeaderValue;
use serde_json::Value;

use crate::config::model::AccountSource;
use crate::request::{
    AccountError, AccountId, Facts, Refusal, ValueSource, has_broken_escape, occurrences,
};

/// Most accounts in one request. Each is a reservation of its own, so the number must be bounded;
/// API families allow far fewer in a batch.
pub const MAX_ACCOUNTS: usize = 50;

/// The accounts that a request is about: at least one, each once, in the order they were named.
///
/// All that stands at the place counts: every parameter or field of its name, every item of a list
/// in a claim or body. Without a separator there must be one.
///
/// # Errors
/// None is named, one can't be an account, there are too many, or another place that must agree
/// doesn't.
pub fn accounts(source: &AccountSource, facts: &Facts<'_>) -> Result<Vec<AccountId>, Refusal> {
    let accounts = split(&texts(&source.from, source.separator, facts)?, source.separator)?;
    if accounts.is_empty() {
        return Err(Refusal::AccountMissing { source: source.from.to_string().into() });
    }
    match &source.agrees_with {
        Some(other) if !agrees(other, source.separator, &accounts, facts)? => {
            Err(Refusal::AccountMismatch)
        }
        Some(_) | None => Ok(accounts),
    }
}

/// What stands at a place, in order.
fn texts<'a>(
    place: &ValueSource,
    separator: Option<char>,
    facts: &Facts<'a>,
) -> Result<Vec<Cow<'a, str>>, Refusal> {
    let found: Vec<Cow<'a, str>> = match place {
        ValueSource::Query(name) if has_broken_escape(facts.head, name) => {
            return Err(Refusal::AccountInvalid(AccountError::BrokenEscape));
        }
        ValueSource::Query(name) => facts.head.query_values(name).map(Cow::Owned).collect(),
        ValueSource::Header(name) => {
            let fields = facts.headers.get_all(name).iter();
            fields.map(|value| visible(value).map(Cow::Borrowed)).collect::<Result<_, _>>()?
        }
        ValueSource::Claim(name) => {
            items(facts.caller.and_then(|caller| caller.claim(name)), separator)?
        }
        ValueSource::Body(pointer) => {
            items(facts.body.and_then(|body| pointer.find(body)), separator)?
        }
        other => other.resolve(facts).into_iter().collect(),
    };
    let in_other_spellings =
        !found.is_empty() && occurrences(place, facts.head, facts.headers) > found.len();
    if in_other_spellings || (found.len() > 1 && separator.is_none()) {
        return Err(Refusal::AccountInvalid(AccountError::Several));
    }
    Ok(found)
}

fn visible(value: &HeaderValue) -> Result<&str, Refusal> {
    value.to_str().map_err(|_| Refusal::AccountInvalid(AccountError::BadCharacter))
}

/// A JSON value as texts: of a list, its items, where there may be several. Null is nothing.
fn items(value: Option<&Value>, separator: Option<char>) -> Result<Vec<Cow<'_, str>>, Refusal> {
    let items = match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) if separator.is_some() => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    items.iter().map(text).collect()
}

/// A text, or a number that can be written in one way only: 1e3 and 1000.0 are 1000 for some, and
/// beyond 64 bits two numbers may be read as one.
fn text(value: &Value) -> Result<Cow<'_, str>, Refusal> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(number) if !number.is_f64() => Ok(Cow::Owned(number.to_string())),
        Value::Number(_) => Err(Refusal::AccountInvalid(AccountError::NotWhole)),
        _ => Err(Refusal::AccountInvalid(AccountError::NotText)),
    }
}

fn split(texts: &[Cow<'_, str>], separator: Option<char>) -> Result<Vec<AccountId>, Refusal> {
    let mut accounts: Vec<AccountId> = Vec::new();
    for name in texts.iter().flat_map(|text| parts(text, separator)) {
        let account = AccountId::parse(name).map_err(Refusal::AccountInvalid)?;
        if accounts.contains(&account) {
            continue;
        }
        if accounts.len() == MAX_ACCOUNTS {
            return Err(Refusal::BadRequest("more accounts than one request may name"));
        }
        accounts.push(account);
    }
    Ok(accounts)
}

fn parts(text: &str, separator: Option<char>) -> impl Iterator<Item = &str> {
    // Without a separator none is found.
    text.split(move |character| Some(character) == separator)
}

/// Whether another place names the accounts: a credential all of them, and perhaps more; another
/// part of the request the same and no more, since a backend may go by that part.
fn agrees(
    other: &ValueSource,
    separator: Option<char>,
    accounts: &[AccountId],
    facts: &Facts<'_>,
) -> Result<bool, Refusal> {
    if let ValueSource::Claim(name) = other {
        let claim = facts.caller.and_then(|caller| caller.claim(name));
        return Ok(accounts.iter().all(|account| grants(claim, separator, account)));
    }
    let named = split(&texts(other, separator, facts)?, separator)?;
    Ok(named.len() == accounts.len() && accounts.iter().all(|account| named.contains(account)))
}

/// Whether a claim has an account: as an item of its list, else as its text or a part of it.
fn grants(claim: Option<&Value>, separator: Option<char>, account: &AccountId) -> bool {
    match claim {
        Some(Value::Array(items)) => {
            items.iter().any(|item| text(item).is_ok_and(|text| text == account.as_str()))
        }
        Some(one) => {
            text(one).is_ok_and(|text| parts(&text, separator).any(|part| part == account.as_str()))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
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
        assert!(matches!(Case::path(many).separated().names(), Err(Refusal::BadRequest(_))));
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
        let pair =
            |path, query| case(path, query).separated().agreeing("query.acc", json!({})).names();
        assert_eq!(pair("1,2", "acc=2,1").unwrap(), ["1", "2"]);
        assert_eq!(pair("1,2", "acc=2&acc=1").unwrap(), ["1", "2"]);
        for query in ["acc=1", "acc=1,2,999", "acc=1,2&acc=999", ""] {
            assert_eq!(pair("1,2", query).unwrap_err(), Refusal::AccountMismatch, "{query}");
        }
        let single = case("1", "acc=1&acc=999").agreeing("query.acc", json!({}));
        assert_eq!(single.names().unwrap_err(), SEVERAL);
    }
}
