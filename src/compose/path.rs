use std::borrow::Cow;

use http::uri::PathAndQuery;
use serde_json::Value;

use super::graph::{Finished, Settled};
use crate::config::model::{PartTemplate, PartTemplatePiece};
use crate::request::{Facts, JsonPointer, NoTarget, Target, json_text};

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
pub(super) fn render(template: &PartTemplate, values: Values<'_>) -> Result<PathAndQuery, NoPath> {
    let mut target = Target::default();
    for piece in &template.pieces {
        match piece {
            PartTemplatePiece::Literal(text) => target.push_literal(text),
            PartTemplatePiece::Request(source) => {
                target.push_value(source, source.resolve(values.facts))?;
            }
            PartTemplatePiece::Item(pointer) => {
                let found = values.item.and_then(|item| pointer.find(item));
                push(&mut target, found.and_then(json_text))?;
            }
            PartTemplatePiece::Part(index, pointer) => {
                let text = values.of_part(*index, pointer)?;
                push(&mut target, text)?;
            }
        }
    }
    let target = target.finish()?;
    if !target.starts_with('/') {
        return Err(NoPath::NotAPath);
    }
    PathAndQuery::try_from(target).map_err(|_| NoPath::NotAPath)
}

/// Whether the request has what a part's path is made of; what other parts will say is taken for
/// granted.
pub(super) fn check(template: &PartTemplate, facts: &Facts<'_>) -> Result<(), NoTarget> {
    let mut target = Target::default();
    for piece in &template.pieces {
        match piece {
            PartTemplatePiece::Literal(text) => target.push_literal(text),
            PartTemplatePiece::Request(source) => {
                target.push_value(source, source.resolve(facts))?;
            }
            PartTemplatePiece::Item(_) | PartTemplatePiece::Part(..) => target.push_literal("x"),
        }
    }
    target.finish().map(drop)
}

fn push(target: &mut Target, text: Option<Cow<'_, str>>) -> Result<(), NoPath> {
    match text {
        Some(text) if text.contains('\0') => Err(NoPath::NotAPath),
        Some(text) if target.push_escaped(&text, false) => Ok(()),
        Some(_) | None => Err(NoPath::Absent),
    }
}

impl From<NoTarget> for NoPath {
    fn from(why: NoTarget) -> Self {
        match why {
            NoTarget::Absent(_) => Self::Absent,
            NoTarget::DotSegment => Self::DotSegment,
            NoTarget::Nul => Self::NotAPath,
        }
    }
}

impl<'a> Values<'a> {
    fn of_part(&self, index: usize, pointer: &JsonPointer) -> Result<Option<Cow<'a, str>>, NoPath> {
        match self.parts.get(index).and_then(Option::as_ref) {
            Some(Finished { settled: Settled::Empty, .. }) => Err(NoPath::Empty),
            finished => {
                Ok(finished.and_then(|finished| pointer.find(&finished.seen)).and_then(json_text))
            }
        }
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
