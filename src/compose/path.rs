use std::borrow::Cow;

use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::graph::{Finished, Settled};
use crate::config::model::{PartTemplate, PartTemplatePiece};
use crate::request::{Facts, ValueSource, json_text};

/// What may stand bare in a value: RFC 3986 section 2.3's unreserved characters. So a value can't
/// add a segment, a parameter or an escape of its own.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a path can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPath {
    /// A value is absent, or empty where it would be a path segment: `/v1/` is often a list of
    /// everything.
    Absent,
    /// A value of a part that had nothing there: then there is nothing here either.
    Empty,
    /// A value would make a dot segment (RFC 3986 section 5.2.4), and so another path.
    DotSegment,
    /// It does not begin with a slash, or has a character that no path has. A value with NUL is no
    /// part of one either: some backends end the text there.
    NotAPath,
}

/// What a path's values are read from.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) item: Option<&'a Value>,
    pub(super) parts: &'a [Option<Finished>],
}

/// The path and query of a part's call.
///
/// A parameter of the query (`&from={query.from}`) whose value is a parameter of the request that
/// the caller did not send is left out whole: so optional filters pass through. Any other absent
/// value makes the call impossible; leaving a filter out that is not the caller's choice would
/// widen what the backend answers.
pub(super) fn render(template: &PartTemplate, values: Values<'_>) -> Result<PathAndQuery, NoPath> {
    let mut target = Target::default();
    for piece in &template.pieces {
        match piece {
            PartTemplatePiece::Literal(text) => target.push_literal(text),
            value => match (values.text(value)?, value) {
                (Some(text), _) => target.push_value(&text)?,
                (None, PartTemplatePiece::Request(ValueSource::Query(_)))
                    if target.parameter.is_some() =>
                {
                    target.lacking = true;
                }
                (None, _) => return Err(NoPath::Absent),
            },
        }
    }
    target.finish()
}

impl Values<'_> {
    fn text(&self, piece: &PartTemplatePiece) -> Result<Option<String>, NoPath> {
        Ok(match piece {
            PartTemplatePiece::Literal(text) => Some(text.to_string()),
            PartTemplatePiece::Request(source) => source.resolve(self.facts).map(Cow::into_owned),
            PartTemplatePiece::Item(pointer) => self
                .item
                .and_then(|item| pointer.find(item))
                .and_then(json_text)
                .map(Cow::into_owned),
            PartTemplatePiece::Part(index, pointer) => {
                match self.parts.get(*index).and_then(Option::as_ref) {
                    Some(Finished { settled: Settled::Empty, .. }) => return Err(NoPath::Empty),
                    finished => finished
                        .and_then(|finished| pointer.find(&finished.seen))
                        .and_then(json_text)
                        .map(Cow::into_owned),
                }
            }
        })
    }
}

/// A request target while it is written: the path, the parameters that are done, and the one that
/// is being written.
#[derive(Default)]
struct Target {
    path: String,
    query: String,
    parameter: Option<String>,
    lacking: bool,
}

impl Target {
    fn push_literal(&mut self, text: &str) {
        let text = match self.parameter {
            Some(_) => text,
            None => match text.split_once('?') {
                Some((path, query)) => {
                    self.path.push_str(path);
                    self.parameter = Some(String::new());
                    query
                }
                None => {
                    self.path.push_str(text);
                    return;
                }
            },
        };
        for (nth, piece) in text.split('&').enumerate() {
            if nth > 0 {
                self.end_parameter();
                self.parameter = Some(String::new());
            }
            if let Some(parameter) = &mut self.parameter {
                parameter.push_str(piece);
            }
        }
    }

    fn push_value(&mut self, text: &str) -> Result<(), NoPath> {
        if text.contains('\0') {
            return Err(NoPath::NotAPath);
        }
        let encoded = utf8_percent_encode(text, VALUE);
        match &mut self.parameter {
            Some(parameter) => parameter.extend(encoded),
            None if text.is_empty() => return Err(NoPath::Absent),
            None => self.path.extend(encoded),
        }
        Ok(())
    }

    fn end_parameter(&mut self) {
        let parameter = self.parameter.take().unwrap_or_default();
        if std::mem::take(&mut self.lacking) || parameter.is_empty() {
            return;
        }
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(&parameter);
    }

    fn finish(mut self) -> Result<PathAndQuery, NoPath> {
        self.end_parameter();
        if self.path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(NoPath::DotSegment);
        }
        if !self.path.starts_with('/') {
            return Err(NoPath::NotAPath);
        }
        PathAndQuery::try_from(self.path + &self.query).map_err(|_| NoPath::NotAPath)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::inputs::{inputs, template};
    use super::*;
    use crate::request::RouteId;

    fn answered(seen: Value) -> Finished {
        Finished::new(Settled::Answered, seen, Value::Null)
    }

    fn empty() -> Finished {
        Finished::new(Settled::Empty, Value::Null, Value::Null)
    }

    fn rendered(text: &str, query: &str, account: &str, item: Value) -> Result<String, NoPath> {
        let parts = [Some(answered(json!({"id": "c/1", "n": 7}))), Some(empty())];
        let mut inputs = inputs(account);
        inputs.head.query = Some(query.to_owned());
        let route = RouteId::new("summary");
        let facts = inputs.facts(&route);
        let template = template(text, &["customer", "nothing"]);
        let values = Values { facts: &facts, item: Some(&item), parts: &parts };
        super::render(&template, values).map(|target| target.to_string())
    }

    fn path(text: &str, query: &str) -> Result<String, NoPath> {
        rendered(text, query, "4711", json!({"id": "ä b", "deep": {"n": 1.5}}))
    }

    #[test]
    fn values_of_request_item_and_parts_are_escaped() {
        assert_eq!(path("/v1/{account}/x", "").unwrap(), "/v1/4711/x");
        assert_eq!(
            path("/c/{part.customer./id}?n={part.customer./n}", "").unwrap(),
            "/c/c%2F1?n=7"
        );
        assert_eq!(path("/i/{item./id}?d={item./deep/n}", "").unwrap(), "/i/%C3%A4%20b?d=1.5");
        assert_eq!(path("/q?a={query.a}", "a=1%262%3D%3F").unwrap(), "/q?a=1%262%3D%3F");
        assert_eq!(rendered("/i/{item}", "", "1", json!("x/../y")).unwrap(), "/i/x%2F..%2Fy");
    }

    #[test]
    fn a_filter_that_the_caller_did_not_send_is_left_out() {
        let template = "/t?limit=9&from={query.from}&to=d{query.to}&x={query.x}";
        assert_eq!(path(template, "to=2").unwrap(), "/t?limit=9&to=d2");
        assert_eq!(path(template, "x=&from=1").unwrap(), "/t?limit=9&from=1&x=");
        assert_eq!(path("/t?from={query.from}", "").unwrap(), "/t");
        assert_eq!(path("/t?from={query.from}&a=1", "").unwrap(), "/t?a=1");
        assert_eq!(path("/t?r={query.from}/{query.to}&a=1", "from=1").unwrap(), "/t?a=1");
    }

    #[test]
    fn any_other_absent_value_makes_no_call() {
        for text in [
            "/{query.from}",
            "/?a={header.x-no}",
            "/{item./no}",
            "/?a={item./deep}",
            "/{part.customer./no}",
            "/?a={part.customer./no}",
            "/{claim.sub}",
        ] {
            assert_eq!(path(text, ""), Err(NoPath::Absent), "{text}");
        }
        assert_eq!(path("/v1/{query.a}", "a="), Err(NoPath::Absent));
    }

    #[test]
    fn a_value_of_an_empty_part_makes_this_part_empty() {
        assert_eq!(path("/{part.nothing./id}", ""), Err(NoPath::Empty));
        assert_eq!(path("/?a={part.nothing./id}", ""), Err(NoPath::Empty));
    }

    #[test]
    fn a_value_with_nul_makes_no_call() {
        for text in ["/i/{item}", "/i?a={item}"] {
            assert_eq!(rendered(text, "", "1", json!("7\0")), Err(NoPath::NotAPath), "{text}");
        }
    }

    #[test]
    fn no_value_climbs_out_of_the_path() {
        for dots in ["a=.", "a=.."] {
            assert_eq!(path("/v1/{query.a}/x", dots), Err(NoPath::DotSegment));
        }
        assert_eq!(rendered("/v1/{account}", "", "...", Value::Null).unwrap(), "/v1/...");
        assert_eq!(path("/v1?a={query.a}", "a=..").unwrap(), "/v1?a=..");
    }
}
