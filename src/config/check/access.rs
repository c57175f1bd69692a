use std::sync::Arc;

use serde_json::Value;

use super::condition::{self, Known};
use super::identity::texts;
use super::values::Has;
use super::{Check, address};
use crate::config::model::{Access, ClaimCheck};
use crate::config::raw;
use crate::config::spot::Spot;

/// Who of the recognised callers may use a route.
pub(super) fn access(
    raw: &raw::Route,
    at: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> Access {
    if !has.caller {
        for key in ["scopes", "claims"].map(|key| at.key(key)).iter().filter(|key| key.is_written())
        {
            check
                .error_on_key(key, "a public route has no caller of whom this could be asked")
                .hint("name an identity provider in `authenticate`, or remove this");
        }
    }
    let (scopes_all, scopes_any) = scopes(raw.scopes.as_ref(), &at.key("scopes"), check);
    let known = if has.caller { Known::BeforeAccount } else { Known::NoCaller };
    let place = at.key("condition");
    Access {
        scopes_all,
        scopes_any,
        claims: claims(&raw.claims, &at.key("claims"), check),
        networks: address::networks(&raw.networks, &at.key("networks"), check),
        condition: raw
            .condition
            .as_ref()
            .and_then(|text| condition::condition(text, &place, known, check)),
    }
}

type Scopes = (Vec<Arc<str>>, Vec<Arc<str>>);

fn scopes(raw: Option<&raw::Scopes>, at: &Spot<'_>, check: &mut Check<'_>) -> Scopes {
    match raw {
        None => (Vec::new(), Vec::new()),
        Some(raw::Scopes::List(all)) => {
            check_scopes(all, at, check);
            (texts(all), Vec::new())
        }
        Some(raw::Scopes::Rules(rules)) => {
            check_scopes(&rules.all, &at.key("all"), check);
            check_scopes(&rules.any, &at.key("any"), check);
            (texts(&rules.all), texts(&rules.any))
        }
    }
}

/// RFC 6749 section 3.3.
fn check_scopes(scopes: &[String], at: &Spot<'_>, check: &mut Check<'_>) {
    let is_scope = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    for (position, _) in scopes.iter().enumerate().filter(|(_, scope)| !is_scope(scope)) {
        let place = at.item(position);
        check
            .error(&place, format!("{} is not a scope", place.quoted()))
            .hint("each scope is an item of its own, without blanks");
    }
}

fn claims(
    raw: &raw::Fields<raw::ClaimCheck>,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Vec<(Arc<str>, ClaimCheck)> {
    let mut claims = Vec::new();
    for (name, raw) in raw.iter() {
        let place = at.key(name);
        let rule = match (&raw.equals, &raw.contains, &raw.one_of) {
            (Some(value), None, None) => ClaimCheck::Equals(value.clone()),
            (None, Some(value), None) => ClaimCheck::Contains(value.clone()),
            (None, None, Some(values)) => ClaimCheck::OneOf(values.clone()),
            _ => continue,
        };
        if let ClaimCheck::Contains(Value::Array(_) | Value::Object(_)) = &rule {
            let place = place.key("contains");
            check
                .error(&place, "a claim contains a single value, not a list or map")
                .hint("state a claim that must have several values with a `condition`");
        }
        claims.push((name.into(), rule));
    }
    claims
}
