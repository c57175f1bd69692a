use std::borrow::Cow;
use std::fmt;

use super::{Facts, NoTarget, Target, ValueError, ValueSource};

/// A text with values of the request in braces: `/v1/{account}`, `{claim.sub}`, `{header.x-id}`.
/// Two braces stand for one.
///
/// A bare name is a part of the route's path if the route names one so, else a single-word source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Value(ValueSource),
}

/// Why a text isn't a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{` without `}`, or `}` alone.
    #[error("a brace at character {0} has no partner; write two for a literal brace")]
    UnbalancedBrace(usize),
    /// What stands in braces is no value.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl Template {
    /// Reads a template; `captured` are the names in the route's path.
    pub fn parse(text: &str, captured: &[&str]) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '{' | '}' if characters.next_if(|(_, next)| *next == character).is_some() => {
                    literal.push(character);
                }
                '}' => return Err(TemplateError::UnbalancedBrace(at)),
                '{' => {
                    let name: String =
                        characters.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    if !text.get(at..).is_some_and(|rest| rest.contains('}')) {
                        return Err(TemplateError::UnbalancedBrace(at));
                    }
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Value(value_named(&name, captured)?));
                }
                other => literal.push(other),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { source: text.to_owned(), pieces })
    }

    /// The text with its values as they are; `None` if one of them is absent.
    pub fn render(&self, facts: &Facts<'_>) -> Option<String> {
        let mut text = String::with_capacity(self.source.len() + 32);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Value(source) => text.push_str(&source.resolve(facts)?),
            }
        }
        Some(text)
    }

    /// The URI, or path and query, with its values escaped, so that none can add a segment, a
    /// query or an escape of its own. See [`Target`] for values that are absent.
    ///
    /// # Errors
    /// It can't be made of this request's values.
    pub fn render_target(&self, facts: &Facts<'_>) -> Result<String, NoTarget> {
        self.render_target_of(|source| source.resolve(facts))
    }

    /// The same of other values, as of those that may be shown.
    ///
    /// # Errors
    /// As [`Template::render_target`].
    pub fn render_target_of<'v>(
        &self,
        value: impl Fn(&ValueSource) -> Option<Cow<'v, str>>,
    ) -> Result<String, NoTarget> {
        let mut target = Target::default();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => target.push_literal(literal),
                Piece::Value(source) => target.push_value(source, value(source))?,
            }
        }
        target.finish()
    }

    /// Whether a request may lack one of its values; the others are known of every request.
    pub fn may_lack_a_value(&self) -> bool {
        self.sources().any(|source| match source {
            ValueSource::Query(_)
            | ValueSource::Header(_)
            | ValueSource::Claim(_)
            | ValueSource::Body(_)
            | ValueSource::Client
            | ValueSource::Subject => true,
            ValueSource::Path(_)
            | ValueSource::Account
            | ValueSource::Route
            | ValueSource::Address
            | ValueSource::Method
            | ValueSource::Host
            | ValueSource::RequestId => false,
        })
    }

    /// Whether it writes a query itself.
    pub fn has_query(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Literal(text) if text.contains('?')))
    }

    /// The values it needs.
    pub fn sources(&self) -> impl Iterator<Item = &ValueSource> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(source) => Some(source),
            Piece::Literal(_) => None,
        })
    }
}

fn value_named(name: &str, captured: &[&str]) -> Result<ValueSource, ValueError> {
    if captured.contains(&name) {
        return Ok(ValueSource::Path(name.into()));
    }
    ValueSource::parse(name)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::request::{Captures, RequestHead, RouteId};

    fn rendered<R>(template: &str, value: &str, render: impl Fn(&Template, &Facts<'_>) -> R) -> R {
        let head = RequestHead { query: Some("from=2026&none=".into()), ..RequestHead::default() };
        let mut headers = HeaderMap::new();
        headers.insert("x-id", HeaderValue::from_str(value).unwrap());
        let captures = Captures(vec![("account".into(), value.to_owned())]);
        let route = RouteId::new("r");
        let facts = Facts {
            head: &head,
            headers: &headers,
            route: &route,
            captures: &captures,
            caller: None,
            account: None,
            body: None,
        };
        render(&Template::parse(template, &["account"]).unwrap(), &facts)
    }

    fn plain(template: &str, value: &str) -> Option<String> {
        rendered(template, value, Template::render)
    }

    fn target(template: &str, value: &str) -> Result<String, NoTarget> {
        rendered(template, value, Template::render_target)
    }

    #[test]
    fn values_stand_where_the_braces_are() {
        assert_eq!(target("/v1/{account}?from={query.from}", "47").unwrap(), "/v1/47?from=2026");
        assert_eq!(plain("{{{header.x-id}}}", "a").unwrap(), "{a}");
        let redirect = target("https://api.bank.example/{account}?from={query.from}", "4 7");
        assert_eq!(redirect.unwrap(), "https://api.bank.example/4%207?from=2026");
    }

    #[test]
    fn a_value_cannot_add_a_segment_a_query_or_a_step_up() {
        let target = |value| target("/v1/{header.x-id}", value);
        assert_eq!(target("a/b?c#d%").unwrap(), "/v1/a%2Fb%3Fc%23d%25");
        assert_eq!(target(".."), Err(NoTarget::DotSegment));
        assert_eq!(target("."), Err(NoTarget::DotSegment));
        assert_eq!(target("...").unwrap(), "/v1/...");
    }

    #[test]
    fn the_rest_of_a_path_stays_the_segments_that_it_was() {
        assert_eq!(target("/v2/{account}", "a/b c?/d").unwrap(), "/v2/a/b%20c%3F/d");
    }

    #[test]
    fn an_optional_parameter_is_left_out_and_any_other_absent_value_is_named() {
        for (template, expected) in [
            ("/t?to={query.to}", "/t"),
            ("/t?to={query.to}&a=1", "/t?a=1"),
            ("/t?a=1&from={query.from}&r={query.from}-{query.to}", "/t?a=1&from=2026"),
            ("/t?none={query.none}", "/t?none="),
        ] {
            assert_eq!(target(template, "a").unwrap(), expected, "{template}");
        }
        for (template, absent) in [
            ("/t/{query.to}", "query.to"),
            ("/t/{query.none}", "query.none"),
            ("/t?a={subject}", "subject"),
            ("/t?a={header.x-none}", "header.x-none"),
        ] {
            let source = ValueSource::parse(absent).unwrap();
            assert_eq!(target(template, "a"), Err(NoTarget::Absent(source)), "{template}");
        }
        assert_eq!(plain("/v1/{subject}", "a"), None);
    }

    #[test]
    fn a_text_that_is_no_template_says_why() {
        let why = |text: &str| Template::parse(text, &[]).unwrap_err().to_string();
        assert!(why("/v1/{account").contains("character 4"));
        assert!(why("/v1/}").contains("character 4"));
        assert!(why("/v1/{acount}").contains("'acount' is not a source"));
    }
}
