//! The addresses of a request without account numbers: what is explained may be passed on.

use std::borrow::Cow;

use super::super::answer;
use crate::config::model::{Action, PathSegment, PathTail, Route};
use crate::request::{AccountId, Facts, Refusal, Template, ValueSource, hide_accounts};

/// What stands for an account, as templates escape it.
const ESCAPED: &str = "%7Baccount%7D";

/// Writes the addresses that a route makes of a request.
pub(super) struct Shown<'a> {
    pub(super) route: &'a Route,
    pub(super) facts: &'a Facts<'a>,
    pub(super) accounts: &'a [AccountId],
}

impl Shown<'_> {
    /// The path and query that the backend is asked.
    ///
    /// # Errors
    /// As [`answer::target`].
    pub(super) fn target(&self, keeps: bool) -> Result<String, Refusal> {
        let (mut target, has_query) = match &self.route.action {
            Action::Proxy { path: Some(path), .. } => (self.address(path)?, path.has_query()),
            _ => (self.own_path(), false),
        };
        let query = answer::passed_query(self.route, self.facts, keeps);
        if let Some(query) = query.filter(|_| !has_query) {
            target.push('?');
            target.push_str(&self.query(&query));
        }
        Ok(target)
    }

    /// What a template makes. The configuration's own words are no accounts, nor is what the
    /// gateway itself knows of a request.
    ///
    /// # Errors
    /// It can't be made of this request's values.
    pub(super) fn address(&self, template: &Template) -> Result<String, Refusal> {
        template.render_target(self.facts).map_err(answer::no_target)?;
        let shown = template.render_target_of(|source| {
            let value = source.resolve(self.facts)?;
            Some(if is_the_callers(source) { self.hide(&value).into() } else { value })
        });
        Ok(shown.map_err(answer::no_target)?.replace(ESCAPED, "{account}"))
    }

    /// The request's own path. What has no account in it is written as the backend gets it.
    fn own_path(&self) -> String {
        let pattern = &self.route.matches.path;
        let path = &self.facts.head.path;
        let mut segments = path.decoded.split('/').zip(path.encoded.split('/')).skip(1);
        let mut shown = String::with_capacity(path.encoded.len());
        for (known, (decoded, encoded)) in pattern.segments.iter().zip(segments.by_ref()) {
            shown.push('/');
            match known {
                PathSegment::Literal(_) => shown.push_str(encoded),
                PathSegment::Capture(_) => shown.push_str(&self.or_hidden(encoded, decoded)),
            }
        }
        if let PathTail::Rest(name) = &pattern.tail
            && let Some(rest) = self.facts.captures.get(name)
        {
            // As a whole: an account may have slashes.
            let encoded: Vec<&str> = segments.map(|(_, encoded)| encoded).collect();
            return shown + "/" + &self.or_hidden(&encoded.join("/"), rest);
        }
        for (decoded, encoded) in segments {
            shown.push('/');
            shown.push_str(&self.or_hidden(encoded, decoded));
        }
        shown
    }

    fn query(&self, query: &str) -> String {
        let pairs = query.split('&').map(|pair| {
            let Some((name, value)) = form_urlencoded::parse(pair.as_bytes()).next() else {
                return Cow::Borrowed(pair);
            };
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            let equals = if pair.contains('=') { "=" } else { "" };
            let (name, value) =
                (self.or_hidden(raw_name, &name), self.or_hidden(raw_value, &value));
            Cow::Owned(format!("{name}{equals}{value}"))
        });
        pairs.collect::<Vec<_>>().join("&")
    }

    /// A text as it stands in an address, or what it means with its accounts hidden.
    fn or_hidden<'t>(&self, encoded: &'t str, decoded: &str) -> Cow<'t, str> {
        let hidden = self.hide(decoded);
        if hidden == decoded { Cow::Borrowed(encoded) } else { Cow::Owned(hidden) }
    }

    fn hide(&self, text: &str) -> String {
        hide_accounts(text, self.accounts)
    }
}

fn is_the_callers(source: &ValueSource) -> bool {
    match source {
        ValueSource::Path(_)
        | ValueSource::Query(_)
        | ValueSource::Header(_)
        | ValueSource::Claim(_)
        | ValueSource::Body(_)
        | ValueSource::Client
        | ValueSource::Subject
        | ValueSource::Account
        | ValueSource::Host => true,
        ValueSource::Route
        | ValueSource::Address
        | ValueSource::Method
        | ValueSource::RequestId => false,
    }
}
