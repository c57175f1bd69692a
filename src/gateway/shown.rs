//! The path of a request as a log may show it. An account number must not stand there: not on a
//! route that knows of none, and not in a request that was refused before anybody asked for it.

use std::borrow::Cow;

use http::header;
use pingora::http::RequestHeader;

use super::context::Context;
use crate::config::model::{PathSegment, PathTail, Route};
use crate::request::ValueSource;

/// Digits in a part of a path from which on it may be an account; short names have fewer.
const MASKED_DIGITS: usize = 4;

const ACCOUNT: &str = "{account}";
const NUMBER: &str = "{number}";

/// Host, and path with all that may be an account replaced; of a head that was refused as far as
/// they can be told.
pub(super) fn host_and_path<'c>(
    header: &'c RequestHeader,
    context: &'c Context,
) -> (Cow<'c, str>, String) {
    let head = &context.head;
    let path = match &context.plan {
        Some(plan) => Shown { route: &plan.route, context }.path(&head.path.decoded),
        None if head.path.decoded.is_empty() => without_numbers(header.uri.path()),
        None => without_numbers(&head.path.decoded),
    };
    if !head.host.is_empty() {
        return (Cow::Borrowed(&head.host), path);
    }
    let field = header.headers.get(header::HOST).map(|host| host.as_bytes());
    let host = field.or_else(|| header.uri.authority().map(|host| host.as_str().as_bytes()));
    (String::from_utf8_lossy(host.unwrap_or_default()), path)
}

/// A path that no route took or that could not be read: nothing says what in it could be an
/// account (the method may be wrong, or one letter of the path), so whatever looks like a number
/// is replaced.
pub(super) fn without_numbers(path: &str) -> String {
    let segments = path.split('/').map(|segment| if is_number(segment) { NUMBER } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// Whether a text may be the number of something: `531`, `4711`, `DE89370400440532013000`.
fn is_number(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits >= MASKED_DIGITS || (digits > 0 && digits == text.len())
}

struct Shown<'c> {
    route: &'c Route,
    context: &'c Context,
}

impl Shown<'_> {
    fn path(&self, path: &str) -> String {
        let pattern = &self.route.matches.path;
        let mut rest = path.split('/').skip(1);
        let mut shown = String::with_capacity(path.len());
        for (known, segment) in pattern.segments.iter().zip(rest.by_ref()) {
            shown.push('/');
            match known {
                // The configuration's own words are no accounts.
                PathSegment::Literal(text) => shown.push_str(text),
                PathSegment::Capture(name) => shown.push_str(&self.captured(name, segment)),
            }
        }
        if let PathTail::Rest(name) = &pattern.tail
            && self.is_account(name)
        {
            return shown + "/" + ACCOUNT;
        }
        for segment in rest {
            shown.push('/');
            shown.push_str(&self.captured("number", segment));
        }
        shown
    }

    fn captured(&self, name: &str, text: &str) -> String {
        if self.is_account(name) {
            return ACCOUNT.to_owned();
        }
        // Named elsewhere, an account may stand in the path as well.
        let mut accounts = self.context.accounts.iter().map(|account| account.as_str());
        match accounts.find(|account| text.contains(account)) {
            Some(account) => text.replace(account, ACCOUNT),
            None if is_number(text) => format!("{{{name}}}"),
            None => text.to_owned(),
        }
    }

    fn is_account(&self, name: &str) -> bool {
        let account = self.route.account.as_ref().map(|source| &source.from);
        matches!(account, Some(ValueSource::Path(place)) if &**place == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_number_is_replaced_in_a_path_without_a_route() {
        for (path, shown) in [
            ("/accounts/4711/x", "/accounts/{number}/x"),
            ("/sav/531", "/sav/{number}"),
            ("/v1/a2b3/DE89370400440532013000", "/v1/a2b3/{number}"),
            ("/%34%37%31%31/", "/{number}/"),
            ("/", "/"),
            ("*", "*"),
        ] {
            assert_eq!(without_numbers(path), shown);
        }
    }
}
