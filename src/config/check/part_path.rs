use super::Check;
use super::edits;
use super::values::{self, Has, Place};
use crate::config::model::{PartTemplate, PartTemplatePiece};
use crate::config::nearest::suggestion;
use crate::config::spot::Spot;
use crate::request::ValueSource;

/// What the path of a part may refer to.
pub(super) struct Scope<'c> {
    /// What requests of the route have.
    pub has: &'c Has<'c>,
    /// Names of all parts, in order.
    pub parts: &'c [&'c str],
    /// Where they are written.
    pub parts_at: &'c Spot<'c>,
    /// Name of the one whose path it is.
    pub part: &'c str,
    /// Those of which an answer is there when this part is asked.
    pub needs: &'c [usize],
    /// Whether the part is asked once for each item of a list.
    pub for_each: bool,
}

impl Scope<'_> {
    /// Whether another key of the same part has the right form.
    fn is_whole(&self, key: &str, check: &Check<'_>) -> bool {
        check.is_whole(&self.parts_at.key(self.part).key(key))
    }
}

/// Reads the path and query of a part.
pub(super) fn path(
    text: &str,
    at: &Spot<'_>,
    scope: &Scope<'_>,
    check: &mut Check<'_>,
) -> Option<PartTemplate> {
    if !text.starts_with('/') {
        check.error(at, "a path starts with `/`");
    }
    let found = split(text);
    let mut pieces = Vec::with_capacity(found.len());
    let mut complete = true;
    for piece in found {
        match piece {
            Found::Literal(text) => pieces.push(PartTemplatePiece::Literal(text.into())),
            Found::Unbalanced(byte) => {
                complete = false;
                check
                    .error_within(at, (byte, byte + 1), "this brace has no partner")
                    .hint("for a literal brace write two");
            }
            Found::Value { name, from } => match value(&name, from, at, scope, check) {
                Some(piece) => pieces.push(piece),
                None => complete = false,
            },
        }
    }
    complete.then(|| PartTemplate { source: text.into(), pieces })
}

enum Found {
    Literal(String),
    Value { name: String, from: usize },
    Unbalanced(usize),
}

/// Parts a text at its braces; two braces stand for one.
fn split(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let from = text.len() - rest.len() + at;
        let (before, braces) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = braces.strip_prefix("{{").or_else(|| braces.strip_prefix("}}")) {
            literal.push_str(braces.get(..1).unwrap_or_default());
            rest = after;
            continue;
        }
        let inner = braces.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let Some((name, after)) = inner else {
            found.push(Found::Unbalanced(from));
            return found;
        };
        if !literal.is_empty() {
            found.push(Found::Literal(std::mem::take(&mut literal)));
        }
        found.push(Found::Value { name: name.to_owned(), from: from + 1 });
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        found.push(Found::Literal(literal));
    }
    found
}

fn value(
    name: &str,
    from: usize,
    at: &Spot<'_>,
    scope: &Scope<'_>,
    check: &mut Check<'_>,
) -> Option<PartTemplatePiece> {
    if scope.has.captured(name) {
        return Some(PartTemplatePiece::Request(ValueSource::Path(name.into())));
    }
    let bytes = (from, from + name.len());
    match name.split_once('.').unwrap_or((name, "")) {
        ("item", pointer) => {
            if !scope.for_each {
                if scope.is_whole("for_each", check) {
                    check
                        .error_within(at, bytes, "only a part with `for_each` has an `item`")
                        .hint("add `for_each: {part: …}`");
                }
                return None;
            }
            Some(PartTemplatePiece::Item(edits::pointer(pointer, at, check)?))
        }
        ("part", rest) => part(rest, bytes, at, scope, check),
        _ => request_value(name, bytes, at, scope, check),
    }
}

fn part(
    rest: &str,
    bytes: (usize, usize),
    at: &Spot<'_>,
    scope: &Scope<'_>,
    check: &mut Check<'_>,
) -> Option<PartTemplatePiece> {
    let (name, pointer) = rest.split_once('.').unwrap_or((rest, ""));
    let Some(index) = scope.parts.iter().position(|part| *part == name) else {
        if !check.is_whole(&scope.parts_at.key(name)) {
            return None;
        }
        let hint = suggestion(name, scope.parts.iter().copied());
        let problem = check.error_within(at, bytes, format!("there is no part `{name}`"));
        if let Some(hint) = hint {
            problem.hint(hint);
        }
        return None;
    };
    if !scope.needs.contains(&index) {
        if scope.is_whole("needs", check) && scope.is_whole("for_each", check) {
            check
                .error_within(at, bytes, format!("the part `{name}` may not have answered yet"))
                .hint(format!("add `needs: [{name}]`"));
        }
        return None;
    }
    Some(PartTemplatePiece::Part(index, edits::pointer(pointer, at, check)?))
}

fn request_value(
    name: &str,
    bytes: (usize, usize),
    at: &Spot<'_>,
    scope: &Scope<'_>,
    check: &mut Check<'_>,
) -> Option<PartTemplatePiece> {
    match ValueSource::parse(name) {
        Ok(source) => match Place::Template(scope.has).lacks(&source) {
            Some(why) => {
                check.error_within(at, bytes, why);
                None
            }
            None => Some(PartTemplatePiece::Request(source)),
        },
        Err(error) => {
            // It may be a part of a path that could not be read.
            let mut known = scope.has.captured.clone()?;
            known.push("part");
            known.extend(scope.for_each.then_some("item"));
            let hint = values::hint(&error, &known);
            let problem = check.error_within(at, bytes, values::wording(&error));
            if let Some(hint) = hint {
                problem.hint(hint);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        split(text)
            .into_iter()
            .map(|found| match found {
                Found::Literal(text) => format!("[{text}]"),
                Found::Value { name, from } => {
                    assert_eq!(text.get(from..from + name.len()), Some(&*name));
                    format!("<{name}>")
                }
                Found::Unbalanced(at) => format!("!{at}"),
            })
            .collect()
    }

    #[test]
    fn braces_part_a_path() {
        assert_eq!(shown("/v1/{account}/x"), "[/v1/]<account>[/x]");
        assert_eq!(shown("{a}{part.b./c}"), "<a><part.b./c>");
        assert_eq!(shown("/{{a}}"), "[/{a}]");
        assert_eq!(shown("/a}"), "!2");
        assert_eq!(shown("/a{b"), "!2");
        assert_eq!(shown(""), "");
    }
}
