use std::collections::HashSet;

use http::HeaderName;

use super::Check;
use crate::config::nearest::{listed, suggestion};
use crate::config::spot::Spot;
use crate::request::{Template, TemplateError, ValueError, ValueSource};

/// What the requests of a route have.
#[derive(Clone, Debug)]
pub(super) struct Has<'r> {
    /// Names of the path's parts; `None`: the path is wrong, so they are not known.
    pub captured: Option<Vec<&'r str>>,
    /// Whether a caller is known.
    pub caller: bool,
    /// Whether the route names an account.
    pub account: bool,
}

impl Has<'_> {
    /// Whether the path has a part of this name.
    pub fn captured(&self, name: &str) -> bool {
        self.captured.as_ref().is_some_and(|captured| captured.contains(&name))
    }
}

/// Where a value is used: not every stage has seen everything.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'h> {
    /// Rates and concurrency: before the body is read and the account known.
    Limit(&'h Has<'h>),
    /// Quotas: after that.
    Quota(&'h Has<'h>),
    /// Texts that are sent on.
    Template(&'h Has<'h>),
    /// A cluster, which serves many routes.
    Cluster,
}

impl Place<'_> {
    /// Why requests never have a value here; `None` if they can have it.
    pub fn lacks(self, source: &ValueSource) -> Option<String> {
        let has = match self {
            Self::Limit(has) | Self::Quota(has) | Self::Template(has) => Some(has),
            Self::Cluster => None,
        };
        match source {
            ValueSource::Path(name) => {
                let captured = has?.captured.as_ref()?;
                (!captured.contains(&&**name)).then(|| not_captured(name, captured))
            }
            ValueSource::Claim(_) | ValueSource::Client | ValueSource::Subject => has
                .filter(|has| !has.caller)
                .map(|_| format!("the route is public, so there is no caller with `{source}`")),
            ValueSource::Account => match (self, has) {
                (Self::Limit(_), _) => {
                    Some("the account is not yet known when rates are checked".into())
                }
                (_, Some(has)) if !has.account => Some("the route names no `account`".into()),
                _ => None,
            },
            ValueSource::Body(_) => match self {
                Self::Quota(_) => None,
                Self::Limit(_) => Some("the body is not yet read when rates are checked".into()),
                Self::Template(_) | Self::Cluster => Some("the body can't be used here".into()),
            },
            ValueSource::Query(_)
            | ValueSource::Header(_)
            | ValueSource::Route
            | ValueSource::Address
            | ValueSource::Method
            | ValueSource::Host
            | ValueSource::RequestId => None,
        }
    }
}

fn not_captured(name: &str, captured: &[&str]) -> String {
    match captured {
        [] => format!("the route's path has no part `{{{name}}}`"),
        some => format!(
            "the route's path has no part `{{{name}}}`, only {}",
            listed(some.iter().copied())
        ),
    }
}

/// Reads the name of a value.
pub(super) fn source(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<ValueSource> {
    match ValueSource::parse(text) {
        Ok(source) => Some(source),
        Err(error) => {
            let hint = hint(&error, &[]);
            let problem = check.error(at, wording(&error));
            if let Some(hint) = hint {
                problem.hint(hint);
            }
            None
        }
    }
}

/// Reads names of values; one that comes twice is reported.
pub(super) fn sources(texts: &[String], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<ValueSource> {
    let mut sources = Vec::with_capacity(texts.len());
    let mut seen = HashSet::with_capacity(texts.len());
    for (position, text) in texts.iter().enumerate() {
        let place = at.item(position);
        let Some(source) = source(text, &place, check) else { continue };
        if !seen.insert(source.clone()) {
            check.error(&place, format!("{} is here twice", place.quoted()));
        }
        sources.push(source);
    }
    sources
}

/// What may have been meant by the name of a value; `captured` are further names.
pub(super) fn hint(error: &ValueError, captured: &[&str]) -> Option<String> {
    match error {
        ValueError::UnknownSource(written) => {
            let known = ValueSource::SINGLE_WORDS.into_iter().chain(ValueSource::NAMED);
            suggestion(written, known.chain(captured.iter().copied()))
        }
        ValueError::BadPointer(text) if !text.starts_with('/') => {
            Some(format!("write `body./{}`", text.replace('.', "/")))
        }
        ValueError::BadPointer(_)
        | ValueError::NeedsName(_)
        | ValueError::TakesNoName(_)
        | ValueError::BadHeaderName(_) => None,
    }
}

/// What is wrong with the name of a value.
pub(super) fn wording(error: &ValueError) -> String {
    error.to_string().replace('\'', "`")
}

/// The bytes of the braces in a template that an error is about; all of it if they are not found.
fn braces(text: &str, error: &ValueError) -> (usize, usize) {
    let name = match error {
        ValueError::UnknownSource(name)
        | ValueError::BadHeaderName(name)
        | ValueError::BadPointer(name) => name.as_str(),
        ValueError::NeedsName(name) | ValueError::TakesNoName(name) => name,
    };
    let around = text.match_indices('{').find_map(|(from, _)| {
        let inner = text.get(from + 1..)?.split('}').next()?;
        inner.contains(name).then(|| (from, from + inner.len() + 2))
    });
    around.unwrap_or((0, text.len()))
}

/// Reads a template whose values the requests of a route must be able to have.
pub(super) fn template(
    text: &str,
    at: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> Option<Template> {
    // What stands in braces may be a part of a path that could not be read.
    let captured = has.captured.as_ref()?;
    let template = match Template::parse(text, captured) {
        Ok(template) => template,
        Err(TemplateError::UnbalancedBrace(byte)) => {
            check
                .error_within(at, (byte, byte + 1), "this brace has no partner")
                .hint("for a literal brace write two");
            return None;
        }
        Err(TemplateError::Value(error)) => {
            let hint = hint(&error, captured);
            let problem = check.error_within(at, braces(text, &error), wording(&error));
            if let Some(hint) = hint {
                problem.hint(hint);
            }
            return None;
        }
    };
    let mut complete = true;
    for source in template.sources() {
        if let Some(why) = Place::Template(has).lacks(source) {
            complete = false;
            let name = source.to_string();
            let from = text.find(&format!("{{{name}}}")).unwrap_or(0);
            let to = if from == 0 { text.len() } else { from + name.len() + 2 };
            check.error_within(at, (from, to), why);
        }
    }
    complete.then_some(template)
}

/// Reads the name of a header field.
pub(super) fn header(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() {
        let message = format!("`{}` is not a header name", crate::config::spot::shortened(text));
        check.error_on_key(at, message);
    }
    name
}
