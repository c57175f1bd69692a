use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::values::{self, Has};
use super::{Check, Names, address, compose, edits};
use crate::config::model::Action;
use crate::config::raw;
use crate::config::spot::Spot;

const ANSWERING: [&str; 4] = ["cluster", "compose", "redirect", "answer"];

/// What answers a route.
pub(super) fn action(
    raw: &raw::Route,
    at: &Spot<'_>,
    has: &Has<'_>,
    names: &Names,
    check: &mut Check<'_>,
) -> Option<Action> {
    let rewrite = at.key("rewrite");
    if rewrite.is_written() && raw.cluster.is_none() && check.is_whole(&at.key("cluster")) {
        check.error_on_key(&rewrite, "`rewrite` has a meaning only with `cluster`");
    }
    match (&raw.cluster, &raw.compose, &raw.redirect, &raw.answer) {
        (Some(cluster), None, None, None) => proxy(cluster, raw, at, has, names, check),
        (None, Some(compose), None, None) => {
            compose::compose(compose, raw, at, has, names, check).map(Arc::new).map(Action::Compose)
        }
        (None, None, Some(redirect), None) => {
            without_backend(at, check);
            self::redirect(redirect, &at.key("redirect"), has, check)
        }
        (None, None, None, Some(answer)) => {
            without_backend(at, check);
            self::answer(answer, &at.key("answer"), check)
        }
        (None, None, None, None) => {
            check
                .missing(at, &ANSWERING, "nothing answers this route")
                .hint("add one of `cluster`, `compose`, `redirect`, `answer`");
            None
        }
        _ => {
            let keys = ANSWERING.map(|key| at.key(key));
            for place in keys.iter().filter(|place| place.is_written()).skip(1) {
                check.error_on_key(
                    place,
                    "only one of `cluster`, `compose`, `redirect`, `answer` can answer",
                );
            }
            None
        }
    }
}

/// Keys that would be ignored where no backend is called.
fn without_backend(at: &Spot<'_>, check: &mut Check<'_>) {
    for key in ["cache", "request", "response", "deadline"] {
        let place = at.key(key);
        if place.is_written() {
            check
                .error_on_key(&place, format!("`{key}` has no meaning where no backend is called"));
        }
    }
}

fn proxy(
    cluster: &str,
    raw: &raw::Route,
    at: &Spot<'_>,
    has: &Has<'_>,
    names: &Names,
    check: &mut Check<'_>,
) -> Option<Action> {
    let cluster = names.clusters.find(cluster, &at.key("cluster"), check);
    let rewrite = at.key("rewrite");
    let path = raw.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref()).and_then(|text| {
        let place = rewrite.key("path");
        if !text.starts_with('/') {
            check.error(&place, "a path starts with `/`");
        }
        values::template(text, &place, has, check)
    });
    let host = raw.rewrite.as_ref().and_then(|rewrite| rewrite.host.as_deref());
    if let Some(host) = host {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        if !address::is_host_name(name) {
            let place = rewrite.key("host");
            check.error(&place, format!("{} is not a host", place.quoted()));
        }
    }
    Some(Action::Proxy { cluster: cluster?, path, host: host.map(Arc::from) })
}

fn redirect(
    raw: &raw::Redirect,
    at: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> Option<Action> {
    let place = at.key("to");
    let starts = ["/", "https://", "http://"].iter().any(|start| raw.to.starts_with(start));
    if !starts || raw.to.starts_with("//") || raw.to.starts_with("/{") {
        check
            .error(&place, "a redirect must say by itself where it leads, or callers could choose")
            .hint("begin it with `/` and a fixed segment, or with `https://` and a host");
    } else if !edits::is_field_value(&raw.to) {
        check.error(&place, "this has characters that can't stand in a header");
    }
    let to = values::template(&raw.to, &place, has, check);
    Some(Action::Redirect { status: StatusCode::from_u16(raw.status).ok()?, to: to? })
}

fn answer(raw: &raw::Answer, at: &Spot<'_>, check: &mut Check<'_>) -> Option<Action> {
    let status = StatusCode::from_u16(raw.status).ok()?;
    let has_no_body = matches!(raw.status, 204 | 205 | 304);
    if has_no_body && !raw.body.is_empty() {
        check.error(&at.key("body"), format!("an answer {} has no body", raw.status));
    }
    let mut headers = HeaderMap::new();
    let place = at.key("headers");
    if raw.headers.iter().count() > edits::MAX_FIELDS {
        let most = edits::MAX_FIELDS;
        check.error(&place, format!("an answer has at most {most} header fields"));
        return None;
    }
    for (name, text) in raw.headers.iter() {
        let place = place.key(name);
        let name = edits::field(name, &place, check);
        match HeaderValue::from_str(text) {
            Ok(value) if edits::is_field_value(text) => {
                if let Some(name) = name {
                    headers.append(name, value);
                }
            }
            Ok(_) | Err(_) => {
                check.error(&place, "this has characters that can't stand in a header");
            }
        }
    }
    Some(Action::Answer { status, headers, body: raw.body.as_str().into() })
}
