use std::collections::HashMap;
use std::sync::Arc;

use super::values::{Has, Place};
use super::{Bounds, Check, Names, access, account, action, caching, edits, matching, shadow};
use crate::config::model::{AccountSource, Concurrency, Dialect, Provider, QuotaRule, Rate, Route};
use crate::config::raw;
use crate::config::spot::Spot;
use crate::request::{RouteId, ValueSource};

/// The proxy keeps at most this much of a body for its own use after the gateway has read it.
const MAX_READ_BODY: u64 = 64 << 10;
/// Largest body that can be allowed to stream through.
const MAX_BODY: u64 = 16 << 30;

pub(super) fn routes(
    raw: &[raw::Route],
    at: &Spot<'_>,
    names: &Names,
    check: &mut Check<'_>,
) -> Vec<Arc<Route>> {
    let mut seen: HashMap<&str, Spot<'_>> = HashMap::new();
    let mut shadows = shadow::Shadows::default();
    let mut routes = Vec::with_capacity(raw.len());
    for (position, raw) in raw.iter().enumerate() {
        let place = at.item(position);
        let at_id = place.key("id");
        let first = seen.get(raw.id.as_str()).filter(|_| check.is_whole(&at_id));
        if let Some(first) = first {
            let line = check.report.place_of(first.value_span());
            check
                .error(&at_id, format!("the id {} is used twice", at_id.quoted()))
                .hint(format!("the first route with it is at {line}"));
        }
        if check.is_whole(&at_id) {
            seen.entry(&raw.id).or_insert(at_id);
        }
        if let Some(route) = route(raw, &place, names, check) {
            if check.is_whole(&place.key("match")) {
                shadows.add(&route, &place, check);
            }
            routes.push(Arc::new(route));
        }
    }
    routes
}

fn route(raw: &raw::Route, at: &Spot<'_>, names: &Names, check: &mut Check<'_>) -> Option<Route> {
    let authenticate = authenticate(raw.authenticate.as_ref(), at, names, check);
    let matches = matching::matching(&raw.matches, &at.key("match"), check);
    let has = Has {
        captured: matches.as_ref().map(|matches| matches.path.captured()),
        caller: !is_public(raw.authenticate.as_ref()),
        account: raw.account.is_some() || !check.is_whole(&at.key("account")),
    };
    let access = access::access(raw, at, &has, check);
    let account =
        raw.account.as_ref().and_then(|raw| account::source(raw, &at.key("account"), &has, check));
    let (rates, concurrency) = limits(raw, at, &has, names, check);
    let quotas = quotas(raw, &at.key("quotas"), &has, names, check);
    let cache = caching::policy(raw, at, &has, check);
    let request = edits::request(&raw.request, &at.key("request"), &has, check);
    let response = edits::response(&raw.response, &at.key("response"), &has, check);
    let deadline =
        raw.deadline.map(|value| check.duration(&at.key("deadline"), value, Bounds::Timeout));
    let action = action::action(raw, at, &has, names, check);
    let reads_body = !request.body.is_empty() || reads_body(account.as_ref(), &quotas);
    let max_body = max_body(raw, &at.key("max_body"), reads_body, check);
    let route = Route {
        id: RouteId::new(raw.id.as_str()),
        max_body,
        matches: matches?,
        authenticate,
        access,
        rates,
        concurrency,
        account,
        quotas,
        cache,
        action: action?,
        request,
        response,
        dialect: dialect(raw.dialect),
        deadline,
    };
    caching::judge_values(&route, &at.key("cache"), check);
    Some(route)
}

fn dialect(raw: raw::Dialect) -> Dialect {
    match raw {
        raw::Dialect::Problem => Dialect::Problem,
        raw::Dialect::Fdx => Dialect::Fdx,
        raw::Dialect::BerlinGroup => Dialect::BerlinGroup,
    }
}

fn is_public(raw: Option<&raw::OneOrMany<String>>) -> bool {
    raw.is_some_and(|names| names.as_slice().iter().all(|name| name == "none"))
}

/// The providers of a route. None at all must be said aloud.
fn authenticate(
    raw: Option<&raw::OneOrMany<String>>,
    at: &Spot<'_>,
    names: &Names,
    check: &mut Check<'_>,
) -> Vec<Arc<Provider>> {
    let place = at.key("authenticate");
    let list = match raw {
        None => {
            check
                .missing(at, &["authenticate"], "this route does not say who may call it")
                .hint("add `authenticate:` with identity providers, or `authenticate: none` to make it public");
            return Vec::new();
        }
        Some(list) if is_public(Some(list)) => return Vec::new(),
        Some(list) => list,
    };
    if list.as_slice().iter().any(|name| name == "none") {
        check.error_on_key(&place, "a route is either public (`none`) or has providers, not both");
        return Vec::new();
    }
    match list {
        raw::OneOrMany::One(name) => {
            names.providers.find(name, &place, check).into_iter().collect()
        }
        raw::OneOrMany::Many(list) => {
            names.providers.find_all(list, &place, check).into_iter().map(|(_, it)| it).collect()
        }
    }
}

fn limits(
    raw: &raw::Route,
    at: &Spot<'_>,
    has: &Has<'_>,
    names: &Names,
    check: &mut Check<'_>,
) -> (Vec<Arc<Rate>>, Vec<Arc<Concurrency>>) {
    let rates = names.rates.find_all(&raw.rates, &at.key("rates"), check);
    let bounds = names.concurrency.find_all(&raw.concurrency, &at.key("concurrency"), check);
    for (place, rate) in &rates {
        counted_by(&rate.name, &rate.per, Place::Limit(has), place, check);
    }
    for (place, bound) in &bounds {
        counted_by(&bound.name, &bound.per, Place::Limit(has), place, check);
    }
    (without_places(rates), without_places(bounds))
}

fn quotas(
    raw: &raw::Route,
    at: &Spot<'_>,
    has: &Has<'_>,
    names: &Names,
    check: &mut Check<'_>,
) -> Vec<Arc<QuotaRule>> {
    let rules = names.quotas.find_all(&raw.quotas, at, check);
    if !raw.quotas.is_empty() && !has.account {
        check
            .error_on_key(at, "a quota counts the use of an account, but the route names none")
            .hint("add `account: path.NAME` or another place where the account stands");
        return Vec::new();
    }
    for (place, rule) in &rules {
        counted_by(&rule.name, &rule.per, Place::Quota(has), place, check);
    }
    without_places(rules)
}

fn without_places<T>(found: Vec<(Spot<'_>, Arc<T>)>) -> Vec<Arc<T>> {
    found.into_iter().map(|(_, it)| it).collect()
}

/// Whether the route's requests can have the values that a rule counts by.
fn counted_by(
    rule: &str,
    per: &[ValueSource],
    place: Place<'_>,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) {
    for source in per {
        if let Some(why) = place.lacks(source) {
            check.error(at, format!("`{rule}` counts by `{source}`, but {why}"));
        }
    }
}

fn reads_body(account: Option<&AccountSource>, quotas: &[Arc<QuotaRule>]) -> bool {
    let is_body = |source: &ValueSource| matches!(source, ValueSource::Body(_));
    account.is_some_and(|source| {
        is_body(&source.from) || source.agrees_with.as_ref().is_some_and(is_body)
    }) || quotas.iter().flat_map(|rule| &rule.per).any(is_body)
}

fn max_body(raw: &raw::Route, at: &Spot<'_>, reads_body: bool, check: &mut Check<'_>) -> u64 {
    let size = check.size(at, raw.max_body, 0, MAX_BODY);
    if !reads_body || size <= MAX_READ_BODY {
        return size;
    }
    if at.is_written() {
        let (written, most) = (raw.max_body, raw::Bytes(MAX_READ_BODY));
        check
            .error(at, format!("{written} is too large: the most is {most} where the body is read"))
            .hint("the body is read for the account, a quota or edits of this route");
    }
    MAX_READ_BODY
}
