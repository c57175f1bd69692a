use std::sync::Arc;

use http::HeaderName;

use super::values::{self, Has};
use super::{Bounds, Check, identity};
use crate::config::model::{Action, CachePolicy, PartTemplatePiece, Route, Visibility};
use crate::config::raw;
use crate::config::spot::Spot;
use crate::request::ValueSource;

/// How a route keeps answers.
pub(super) fn policy(
    route: &raw::Route,
    at_route: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> Option<CachePolicy> {
    let raw = route.cache.as_ref()?;
    let at = &at_route.key("cache");
    if !has.account {
        check
            .error_on_key(at, "answers are kept for an account, but the route names none")
            .hint("add `account: path.NAME` or another place where the account stands");
    }
    let methods = &route.matches.methods;
    let at_methods = at_route.key("match").key("methods");
    let takes_get = methods.is_empty() || methods.contains(&raw::Method::Get);
    if !takes_get && check.is_whole(&at_methods) {
        check.error_on_key(at, "only answers to GET are kept, and this route does not take GET");
    }
    let visible_to = match raw.visible_to {
        raw::Visibility::Client => Visibility::Client,
        raw::Visibility::Subject => Visibility::Subject,
        raw::Visibility::Everyone => Visibility::Everyone,
    };
    if !has.caller && visible_to != Visibility::Everyone {
        let place = at.key("visible_to");
        let message =
            format!("the route is public, so there is no {} to tell apart", place.quoted());
        check.error(&place, message).hint("`everyone`, or an identity provider in `authenticate`");
    }
    Some(CachePolicy {
        fresh: check.duration(&at.key("fresh"), raw.fresh, Bounds::Long),
        visible_to,
        query: raw.query.as_deref().map(identity::texts),
        headers: headers(&raw.headers, &at.key("headers"), check),
        stale_if_error: check.duration(
            &at.key("stale_if_error"),
            raw.stale_if_error,
            Bounds::LongOrNone,
        ),
        keep_partial: raw.keep_partial,
        obey_request: raw.obey_request,
        data_classes: raw
            .data_classes
            .as_ref()
            .map(|classes| data_classes(classes, &at.key("data_classes"), check))
            .unwrap_or_default(),
    })
}

/// Longest name of a class of data in a change event.
const MOST_CLASS_BYTES: usize = 64;

fn data_classes(raw: &[String], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<Arc<str>> {
    let mut classes: Vec<Arc<str>> = Vec::with_capacity(raw.len());
    for (position, class) in raw.iter().enumerate() {
        let place = at.item(position);
        let printable = class.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || !(1..=MOST_CLASS_BYTES).contains(&class.len()) {
            let message = format!("no change event can name the class {}", place.quoted());
            check
                .error(&place, message)
                .hint("1 to 64 printable ASCII characters without white space, as in `balances`");
        }
        if classes.iter().any(|known| **known == **class) {
            check.error(&place, format!("{} is here twice", place.quoted()));
        }
        classes.push(class.as_str().into());
    }
    classes
}

fn headers(raw: &[String], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<HeaderName> {
    let mut headers = Vec::with_capacity(raw.len());
    for (position, name) in raw.iter().enumerate() {
        let place = at.item(position);
        let Some(name) = values::header(name, &place, check) else { continue };
        if headers.contains(&name) {
            check.error(&place, format!("{} is here twice", place.quoted()));
        }
        if name == http::header::AUTHORIZATION {
            check
                .error(&place, "no two tokens are alike, so nothing would ever be found")
                .hint("`visible_to` says who shares an answer");
        }
        headers.push(name);
    }
    headers
}

/// Whether the key has all that the route itself hands to its backends: paths choose an answer, and
/// for everyone's answers header fields may.
pub(super) fn judge_values(route: &Route, at: &Spot<'_>, check: &mut Check<'_>) {
    let Some(policy) = &route.cache else { return };
    let mut handed = in_paths(&route.action);
    if policy.visible_to == Visibility::Everyone {
        let headers = &route.request.headers;
        let written = headers.set.iter().chain(&headers.add);
        handed.extend(written.flat_map(|(_, template)| template.sources()).cloned());
        handed.extend(headers.rename.iter().map(|(old, _)| ValueSource::Header(old.clone())));
    }
    let mut told: Vec<&ValueSource> = Vec::new();
    for source in &handed {
        let (list, name) = match source {
            ValueSource::Query(name) if !route.key_has_parameter(name) => ("query", &**name),
            // `visible_to` says who shares what a token has shaped.
            ValueSource::Header(name) if *name == http::header::AUTHORIZATION => continue,
            ValueSource::Header(name) if !route.key_has_field(name) => ("headers", name.as_str()),
            _ => continue,
        };
        if !told.contains(&source) {
            told.push(source);
            let place = at.key(list);
            check
                .error_on_key(
                    &place,
                    format!(
                        "`{source}` goes to the backend, but kept answers are not told apart by it"
                    ),
                )
                .hint(format!("add `{name}` to `cache.{list}`"));
        }
    }
}

fn in_paths(action: &Action) -> Vec<ValueSource> {
    match action {
        Action::Proxy { path, .. } => {
            path.iter().flat_map(|path| path.sources()).cloned().collect()
        }
        Action::Compose(plan) => {
            let pieces = plan.parts.iter().flat_map(|part| &part.path.pieces);
            let values = pieces.filter_map(|piece| match piece {
                PartTemplatePiece::Request(source) => Some(source.clone()),
                _ => None,
            });
            values.collect()
        }
        Action::Redirect { .. } | Action::Answer { .. } => Vec::new(),
    }
}
