use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use serde_json::Value;

use super::Facts;
use super::head::header_text;

/// A JSON Pointer (RFC 6901), checked: empty, or starts with `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JsonPointer(Arc<str>);

impl JsonPointer {
    /// Accepts `""` and texts that start with `/` and escape `~` as `~0` and `/` as `~1`.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let escapes_hold =
            text.split('~').skip(1).all(|after| after.starts_with('0') || after.starts_with('1'));
        if (text.is_empty() || text.starts_with('/')) && escapes_hold {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::BadPointer(text.to_owned()))
        }
    }

    /// The pointer as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value it points to.
    pub fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        root.pointer(&self.0)
    }
}

/// Why a text doesn't name a value of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The word before the first dot is unknown.
    #[error("'{0}' is not a source of values")]
    UnknownSource(String),
    /// A source that needs a name has none.
    #[error("'{0}' needs a name, as in '{0}.name'")]
    NeedsName(&'static str),
    /// A source that takes no name has one.
    #[error("'{0}' takes no name")]
    TakesNoName(&'static str),
    /// Not a header name (RFC 9110 section 5.1).
    #[error("'{0}' is not a header name")]
    BadHeaderName(String),
    /// Not a JSON Pointer (RFC 6901).
    #[error("'{0}' is not a JSON Pointer: it must be empty or start with '/'")]
    BadPointer(String),
}

/// A value that a request carries or that a stage has found out: what accounts, quota buckets,
/// rate keys, hash keys, cache keys and templates are made of.
///
/// Written `path.NAME`, `query.NAME`, `header.NAME`, `claim.NAME`, `body./POINTER`, or one of the
/// single words in [`ValueSource::SINGLE_WORDS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueSource {
    /// A named part of the path.
    Path(Arc<str>),
    /// The first value of a query parameter.
    Query(Arc<str>),
    /// The first value of a header.
    Header(HeaderName),
    /// A claim of the caller's credential; dots step into objects.
    Claim(Arc<str>),
    /// A member of the JSON request body.
    Body(JsonPointer),
    /// The OAuth client.
    Client,
    /// The caller's subject.
    Subject,
    /// The account.
    Account,
    /// The route's id.
    Route,
    /// The caller's network address.
    Address,
    /// The request's method.
    Method,
    /// The request's host.
    Host,
    /// The number of this request in all logs.
    RequestId,
}

impl ValueSource {
    /// The sources that are written as one word.
    pub const SINGLE_WORDS: [&'static str; 8] =
        ["client", "subject", "account", "route", "address", "method", "host", "request_id"];
    /// The sources that are written with a name behind a dot.
    pub const NAMED: [&'static str; 5] = ["path", "query", "header", "claim", "body"];

    /// Reads the written form.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        match text.split_once('.') {
            Some((source, name)) => Self::parse_named(source, name),
            None => Self::parse_single(text),
        }
    }

    fn parse_named(source: &str, name: &str) -> Result<Self, ValueError> {
        if let Some(word) = Self::SINGLE_WORDS.iter().find(|word| **word == source) {
            return Err(ValueError::TakesNoName(word));
        }
        let Some(word) = Self::NAMED.iter().find(|word| **word == source) else {
            return Err(ValueError::UnknownSource(source.to_owned()));
        };
        if name.is_empty() {
            return Err(ValueError::NeedsName(word));
        }
        Ok(match *word {
            "path" => Self::Path(name.into()),
            "query" => Self::Query(name.into()),
            "claim" => Self::Claim(name.into()),
            "body" => Self::Body(JsonPointer::parse(name)?),
            _ => Self::Header(
                HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| ValueError::BadHeaderName(name.to_owned()))?,
            ),
        })
    }

    fn parse_single(text: &str) -> Result<Self, ValueError> {
        Ok(match text {
            "client" => Self::Client,
            "subject" => Self::Subject,
            "account" => Self::Account,
            "route" => Self::Route,
            "address" => Self::Address,
            "method" => Self::Method,
            "host" => Self::Host,
            "request_id" => Self::RequestId,
            other => match Self::NAMED.iter().find(|word| **word == other) {
                Some(word) => return Err(ValueError::NeedsName(word)),
                None => return Err(ValueError::UnknownSource(other.to_owned())),
            },
        })
    }

    /// The value in this request; `None` where it has none.
    pub fn resolve<'a>(&self, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Path(name) => facts.captures.get(name).map(Cow::Borrowed),
            Self::Query(name) => facts.head.query_value(name).map(Cow::Owned),
            Self::Header(name) => header_text(facts.headers, name).map(Cow::Borrowed),
            Self::Claim(name) => facts.caller?.claim(name).and_then(json_text),
            Self::Body(pointer) => pointer.find(facts.body?).and_then(json_text),
            Self::Client => Some(Cow::Borrowed(&*facts.caller?.client)),
            Self::Subject => facts.caller?.subject.as_deref().map(Cow::Borrowed),
            Self::Account => Some(Cow::Borrowed(facts.account?.as_str())),
            Self::Route => Some(Cow::Borrowed(facts.route.as_str())),
            Self::Address => Some(Cow::Owned(facts.head.address.to_string())),
            Self::Method => Some(Cow::Borrowed(facts.head.method.as_str())),
            Self::Host => Some(Cow::Borrowed(&facts.head.host)),
            Self::RequestId => Some(Cow::Borrowed(&facts.head.request_id)),
        }
    }
}

impl ValueSource {
    /// Whether a request has a value there that is no text: a header field beyond ASCII, a list or
    /// an object. It [resolves](Self::resolve) as if it were absent.
    pub fn is_unreadable(&self, facts: &Facts<'_>) -> bool {
        let structured = |value: &Value| matches!(value, Value::Array(_) | Value::Object(_));
        match self {
            Self::Header(name) => {
                facts.headers.get(name).is_some_and(|value| value.to_str().is_err())
            }
            Self::Claim(name) => {
                facts.caller.and_then(|caller| caller.claim(name)).is_some_and(structured)
            }
            Self::Body(pointer) => {
                facts.body.and_then(|body| pointer.find(body)).is_some_and(structured)
            }
            _ => false,
        }
    }
}

/// A JSON scalar as text: strings without quotes, numbers and booleans as written. Objects,
/// arrays and null are no values.
pub fn json_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(f, "path.{name}"),
            Self::Query(name) => write!(f, "query.{name}"),
            Self::Header(name) => write!(f, "header.{name}"),
            Self::Claim(name) => write!(f, "claim.{name}"),
            Self::Body(pointer) => write!(f, "body.{}", pointer.as_str()),
            Self::Client => f.write_str("client"),
            Self::Subject => f.write_str("subject"),
            Self::Account => f.write_str("account"),
            Self::Route => f.write_str("route"),
            Self::Address => f.write_str("address"),
            Self::Method => f.write_str("method"),
            Self::Host => f.write_str("host"),
            Self::RequestId => f.write_str("request_id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_prints_as_it_is_written() {
        for text in [
            "path.account",
            "query.id",
            "header.x-account",
            "claim.act.sub",
            "body./a/b",
            "client",
            "subject",
            "account",
            "route",
            "address",
            "method",
            "host",
            "request_id",
        ] {
            assert_eq!(ValueSource::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_text_that_names_no_value_says_why() {
        let why = |text: &str| ValueSource::parse(text).unwrap_err().to_string();
        assert_eq!(why("pth.account"), "'pth' is not a source of values");
        assert_eq!(why("path"), "'path' needs a name, as in 'path.name'");
        assert_eq!(why("client.id"), "'client' takes no name");
        assert_eq!(why("header.a b"), "'a b' is not a header name");
        assert!(why("body.a").contains("JSON Pointer"));
    }
}
