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
const TOO_MANY: &str = "it names more than 50 accounts";

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
            return Err(Refusal::BadRequest(TOO_MANY));
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
mod tests;
