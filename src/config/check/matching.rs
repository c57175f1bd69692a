use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};

use super::{Check, path, values};
use crate::config::model::{RouteMatch, TextMatch};
use crate::config::raw;
use crate::config::spot::Spot;

/// Which requests a route takes.
pub(super) fn matching(
    raw: &raw::Match,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<RouteMatch> {
    let hosts = path::hosts(&raw.hosts, &at.key("hosts"), check);
    let methods = methods(&raw.methods, &at.key("methods"), check);
    let headers = headers(&raw.headers, &at.key("headers"), check);
    let place = at.key("query");
    let query = raw
        .query
        .iter()
        .map(|(name, raw)| (Arc::from(name), text_match(raw, &place.key(name), check)))
        .collect();
    let path = path::pattern(&raw.path, &at.key("path"), check)?;
    Some(RouteMatch { hosts, path, methods, headers, query })
}

pub(super) fn method(raw: raw::Method) -> Method {
    match raw {
        raw::Method::Get => Method::GET,
        raw::Method::Head => Method::HEAD,
        raw::Method::Post => Method::POST,
        raw::Method::Put => Method::PUT,
        raw::Method::Patch => Method::PATCH,
        raw::Method::Delete => Method::DELETE,
        raw::Method::Options => Method::OPTIONS,
    }
}

fn methods(raw: &[raw::Method], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<Method> {
    let mut methods = Vec::with_capacity(raw.len());
    for (position, raw) in raw.iter().enumerate() {
        let method = method(*raw);
        if methods.contains(&method) {
            let place = at.item(position);
            check.error(&place, format!("{} is here twice", place.quoted()));
        }
        methods.push(method);
    }
    methods
}

fn headers(
    raw: &raw::Fields<raw::TextMatch>,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Vec<(HeaderName, TextMatch)> {
    let mut headers: Vec<(HeaderName, TextMatch)> = Vec::new();
    for (name, raw) in raw.iter() {
        let place = at.key(name);
        let rule = text_match(raw, &place, check);
        if let TextMatch::Exact(value) = &rule
            && HeaderValue::from_str(value).is_err()
        {
            check.error(&place, format!("{} can't stand in a header", place.quoted()));
        }
        let Some(name) = values::header(name, &place, check) else { continue };
        if headers.iter().any(|(other, _)| *other == name) {
            check.error_on_key(&place, format!("the header `{name}` is here twice"));
        }
        headers.push((name, rule));
    }
    headers
}

fn text_match(raw: &raw::TextMatch, at: &Spot<'_>, check: &mut Check<'_>) -> TextMatch {
    let presence = match raw {
        raw::TextMatch::Exact(value) => return TextMatch::Exact(value.as_str().into()),
        raw::TextMatch::Presence(presence) => presence,
    };
    match (presence.present, presence.absent) {
        (Some(true), _) => TextMatch::Present,
        (_, Some(true)) => TextMatch::Absent,
        (key, _) => {
            let (key, meant) =
                if key.is_some() { ("present", "absent") } else { ("absent", "present") };
            let place = at.key(key);
            check
                .error(&place, "only `true` has a meaning here")
                .hint(format!("write `{meant}: true`"));
            TextMatch::Present
        }
    }
}
