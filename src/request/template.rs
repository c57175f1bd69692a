use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Captures, Facts, ValueError, ValueSource};

/// What may stand bare in a path segment: RFC 3986 section 2.3's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a part of the request's own path. A normal path has no escaped slash and no dot
/// segment, so what `{*rest}` took goes on as the segments that it was.
const OWN_PATH: &AsciiSet = &SEGMENT.remove(b'/');

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

/// How values are written into the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// Percent-encoded, so that a value can't add a segment, a query or an escape of its own. Only
    /// what a `{*rest}` of the route's path took keeps its slashes.
    UriComponent,
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

    /// The text with its values; `None` if one of them is absent, or if one that becomes part of a
    /// URI is `.` or `..`: no escape keeps a backend from taking those for a step through its paths.
    pub fn render(&self, facts: &Facts<'_>, encoding: Encoding) -> Option<String> {
        let mut text = String::with_capacity(self.source.len() + 32);
        for piece in &self.pieces {
            match (piece, encoding) {
                (Piece::Literal(literal), _) => text.push_str(literal),
                (Piece::Value(source), Encoding::Plain) => text.push_str(&source.resolve(facts)?),
                (Piece::Value(source), Encoding::UriComponent) => {
                    let value = source.resolve(facts).filter(|value| !is_dot_segment(value))?;
                    let is_own_path = matches!(source, ValueSource::Path(_));
                    let escaped = if is_own_path { OWN_PATH } else { SEGMENT };
                    text.extend(utf8_percent_encode(&value, escaped));
                }
            }
        }
        Some(text)
    }

    /// The values it needs.
    pub fn sources(&self) -> impl Iterator<Item = &ValueSource> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(source) => Some(source),
            Piece::Literal(_) => None,
        })
    }
}

fn is_dot_segment(value: &str) -> bool {
    matches!(value, "." | "..")
}

fn value_named(name: &str, captured: &[&str]) -> Result<ValueSource, ValueError> {
    if captured.contains(&name) {
        return Ok(ValueSource::Path(name.into()));
    }
    ValueSource::parse(name)
}

impl Captures {
    /// A captured part, escaped for use in a URI path.
    pub fn encoded(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| utf8_percent_encode(value, SEGMENT).to_string())
    }
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
    use crate::request::{RequestHead, RouteId};

    fn render(template: &str, value: &str, encoding: Encoding) -> Option<String> {
        let head = RequestHead { query: Some("from=2026".into()), ..RequestHead::default() };
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
        Template::parse(template, &["account"]).unwrap().render(&facts, encoding)
    }

    #[test]
    fn values_stand_where_the_braces_are() {
        let text = render("/v1/{account}?from={query.from}", "47", Encoding::UriComponent);
        assert_eq!(text.unwrap(), "/v1/47?from=2026");
        assert_eq!(render("{{{header.x-id}}}", "a", Encoding::Plain).unwrap(), "{a}");
    }

    #[test]
    fn a_value_cannot_add_a_segment_a_query_or_a_step_up() {
        let render = |value| render("/v1/{header.x-id}", value, Encoding::UriComponent);
        assert_eq!(render("a/b?c#d%").unwrap(), "/v1/a%2Fb%3Fc%23d%25");
        assert_eq!(render(".."), None);
        assert_eq!(render("."), None);
        assert_eq!(render("...").unwrap(), "/v1/...");
    }

    #[test]
    fn the_rest_of_a_path_stays_the_segments_that_it_was() {
        let text = render("/v2/{account}", "a/b c?/d", Encoding::UriComponent);
        assert_eq!(text.unwrap(), "/v2/a/b%20c%3F/d");
    }

    #[test]
    fn an_absent_value_gives_no_text() {
        assert_eq!(render("/v1/{subject}", "a", Encoding::Plain), None);
    }

    #[test]
    fn a_text_that_is_no_template_says_why() {
        let why = |text: &str| Template::parse(text, &[]).unwrap_err().to_string();
        assert!(why("/v1/{account").contains("character 4"));
        assert!(why("/v1/}").contains("character 4"));
        assert!(why("/v1/{acount}").contains("'acount' is not a source"));
    }
}
