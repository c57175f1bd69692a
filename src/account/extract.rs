use std::borrow::Cow;

use serde_json::Value;

use crate::config::model::AccountSource;
use crate::request::{AccountId, Facts, Refusal, ValueSource};

/// Most accounts in one request. Each is a reservation of its own, so the number must be bounded;
/// API families allow far fewer in a batch.
pub const MAX_ACCOUNTS: usize = 50;

/// The accounts that a request is about: at least one, each once, in the order they were named.
///
/// # Errors
/// None is named, one can't be an account, there are too many, or another place that must agree
/// doesn't.
pub fn accounts(source: &AccountSource, facts: &Facts<'_>) -> Result<Vec<AccountId>, Refusal> {
    let text = source
        .from
        .resolve(facts)
        .ok_or_else(|| Refusal::AccountMissing { source: source.from.to_string().into() })?;
    let accounts = split(&text, source.separator)?;
    if let Some(other) = &source.agrees_with {
        let agreed = agreed_accounts(other, source.separator, facts);
        if !accounts.iter().all(|account| agreed.iter().any(|other| other == account.as_str())) {
            return Err(Refusal::AccountMismatch);
        }
    }
    Ok(accounts)
}

fn split(text: &str, separator: Option<char>) -> Result<Vec<AccountId>, Refusal> {
    let mut accounts: Vec<AccountId> = Vec::new();
    let names: Box<dyn Iterator<Item = &str>> = match separator {
        Some(separator) => Box::new(text.split(separator)),
        None => Box::new(std::iter::once(text)),
    };
    for name in names {
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

/// What the other place names: the items of a claim that is a list, else one text, parted as the
/// first place is.
fn agreed_accounts<'a>(
    other: &ValueSource,
    separator: Option<char>,
    facts: &Facts<'a>,
) -> Vec<Cow<'a, str>> {
    if let ValueSource::Claim(name) = other
        && let Some(Value::Array(items)) = facts.caller.and_then(|caller| caller.claim(name))
    {
        return items.iter().filter_map(Value::as_str).map(Cow::Borrowed).collect();
    }
    match (other.resolve(facts), separator) {
        (Some(text), Some(separator)) => {
            text.split(separator).map(|part| Cow::Owned(part.to_owned())).collect()
        }
        (Some(text), None) => vec![text],
        (None, _) => Vec::new(),
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
        claims: Value,
    }

    impl Case {
        fn path(path: &'static str) -> Self {
            let from = ValueSource::parse("path.account").unwrap();
            let source = AccountSource { from, agrees_with: None, separator: None };
            Self { source, path, claims: json!({}) }
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
                query: None,
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
            let facts = Facts {
                head: &head,
                headers: &HeaderMap::new(),
                route: &RouteId::new("summary"),
                captures: &captures,
                caller: Some(&caller),
                account: None,
                body: None,
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
}
