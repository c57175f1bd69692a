use std::collections::HashSet;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::{Check, address};
use crate::config::model::{HostPattern, PathPattern, PathSegment, PathTail};
use crate::config::spot::Spot;

/// Reads the hosts that a route takes.
pub(super) fn hosts(texts: &[String], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<HostPattern> {
    let mut hosts = Vec::with_capacity(texts.len());
    let mut seen = HashSet::with_capacity(texts.len());
    for (position, text) in texts.iter().enumerate() {
        let place = at.item(position);
        let lower = text.trim_end_matches('.').to_ascii_lowercase();
        let host = match lower.strip_prefix("*.") {
            Some(rest) if address::is_host_name(rest) => {
                HostPattern::Wildcard(format!(".{rest}").into())
            }
            None if address::is_host_name(&lower) => HostPattern::Exact(lower.as_str().into()),
            _ => {
                let message = format!("{} is not a host", place.quoted());
                let problem = check.error(&place, message);
                match (lower.contains(':'), lower.contains('*'), lower.is_ascii()) {
                    (true, ..) => problem.hint("write the host without scheme and port"),
                    (_, true, _) => problem.hint("`*` stands only at the start: `*.bank.example`"),
                    (.., false) => problem.hint("write it as it is in DNS: `xn--…`"),
                    _ => {}
                }
                continue;
            }
        };
        if !seen.insert(lower) {
            check.error(&place, format!("{} is here twice", place.quoted()));
        }
        hosts.push(host);
    }
    hosts
}

/// Reads a path pattern.
pub(super) fn pattern(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<PathPattern> {
    match parse(text) {
        Ok(pattern) => Some(pattern),
        Err(Wrong { from, to, message, hint }) => {
            check.error_within(at, (from, to), message).hint(hint);
            None
        }
    }
}

/// What is wrong with a pattern, and with which bytes of it.
struct Wrong {
    from: usize,
    to: usize,
    message: String,
    hint: &'static str,
}

fn parse(text: &str) -> Result<PathPattern, Wrong> {
    let wrong = |from: usize, part: &str, message: &str, hint| Wrong {
        from,
        to: from + part.len().max(1),
        message: message.to_owned(),
        hint,
    };
    let Some(inner) = text.strip_prefix('/') else {
        return Err(wrong(0, text, "a path starts with `/`", "as in `/accounts/{account}`"));
    };
    if let Some(at) = text.find(['?', '#']) {
        let hint = "match query parameters with `query`";
        return Err(wrong(at, "?", "a pattern is a path without query", hint));
    }
    let mut segments = Vec::new();
    let mut tail = PathTail::End { slash: inner.is_empty() };
    let mut parts = inner.split('/').peekable();
    let mut at = 1;
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match (part, is_last) {
            ("", true) => tail = PathTail::End { slash: true },
            ("", false) => {
                return Err(wrong(at, "/", "an empty segment never matches", "write one `/`"));
            }
            ("*", true) => tail = PathTail::Prefix,
            (rest, true) if rest.starts_with("{*") => tail = PathTail::Rest(capture(rest, at, 2)?),
            (rest, false) if rest == "*" || rest.starts_with("{*") => {
                let hint = "use `{name}` for one segment";
                return Err(wrong(at, part, "this can stand only at the end", hint));
            }
            (name, _) if name.starts_with('{') => {
                segments.push(PathSegment::Capture(capture(name, at, 1)?));
            }
            (plain, _) => segments.push(PathSegment::Literal(literal(plain, at)?)),
        }
        at += part.len() + 1;
    }
    let pattern = PathPattern { source: text.into(), segments, tail };
    twice(&pattern, text).map_or(Ok(pattern), Err)
}

/// The name in `{name}` or, with two characters before it, in `{*name}`.
fn capture(part: &str, at: usize, before: usize) -> Result<Arc<str>, Wrong> {
    let name = part.get(before..).and_then(|rest| rest.strip_suffix('}'));
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    match name.filter(is_name) {
        Some(name) => Ok(name.into()),
        None => Err(Wrong {
            from: at,
            to: at + part.len(),
            message: format!("`{part}` is not a named segment"),
            hint: "a name in braces is a whole segment, of letters, digits, `-` and `_`",
        }),
    }
}

/// A segment's text, decoded as the paths of requests are.
fn literal(part: &str, at: usize) -> Result<Arc<str>, Wrong> {
    let wrong = |message: &str, hint| {
        Err(Wrong { from: at, to: at + part.len(), message: format!("`{part}` {message}"), hint })
    };
    if part.contains(['{', '}', '*']) {
        return wrong("mixes text and pattern", "`{name}` and `*` are whole segments");
    }
    let Ok(decoded) = percent_decode_str(part).decode_utf8() else {
        return wrong("does not decode to UTF-8", "write the segment as plain text");
    };
    let escapes_hold = part.matches('%').count() == part.len().saturating_sub(decoded.len()) / 2
        && !part.split('%').skip(1).any(|rest| !starts_with_hex(rest));
    if !escapes_hold {
        return wrong("has a broken percent escape", "write a literal `%` as `%25`");
    }
    if matches!(&*decoded, "." | "..") {
        return wrong("never matches: paths are normalised", "remove it");
    }
    if decoded.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) {
        return wrong("never matches: such paths are refused", "remove it");
    }
    Ok(decoded.as_ref().into())
}

fn starts_with_hex(text: &str) -> bool {
    text.get(..2).is_some_and(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn twice(pattern: &PathPattern, text: &str) -> Option<Wrong> {
    let names = pattern.captured();
    let again =
        names.iter().enumerate().find(|(i, name)| names.iter().take(*i).any(|n| n == *name));
    again.map(|(_, name)| {
        let from = text.rfind(&format!("{name}}}")).unwrap_or(0);
        Wrong {
            from,
            to: from + name.len(),
            message: format!("the name `{name}` is here twice"),
            hint: "give the second segment another name",
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Vec<String>, PathTail), String> {
        parse(text)
            .map(|pattern| {
                let segments = pattern.segments.iter().map(|segment| match segment {
                    PathSegment::Literal(text) => format!("={text}"),
                    PathSegment::Capture(name) => format!("?{name}"),
                });
                (segments.collect(), pattern.tail.clone())
            })
            .map_err(|wrong| wrong.message)
    }

    #[test]
    fn patterns_are_read_as_they_look() {
        let none: Vec<String> = Vec::new();
        assert_eq!(read("/").unwrap(), (none.clone(), PathTail::End { slash: true }));
        assert_eq!(read("/*").unwrap(), (none, PathTail::Prefix));
        let accounts = vec!["=accounts".to_owned(), "?account".to_owned()];
        assert_eq!(
            read("/accounts/{account}").unwrap(),
            (accounts.clone(), PathTail::End { slash: false })
        );
        assert_eq!(
            read("/accounts/{account}/").unwrap(),
            (accounts.clone(), PathTail::End { slash: true })
        );
        assert_eq!(read("/accounts/{account}/*").unwrap(), (accounts.clone(), PathTail::Prefix));
        assert_eq!(
            read("/accounts/{account}/{*rest}").unwrap(),
            (accounts, PathTail::Rest("rest".into()))
        );
        assert_eq!(read("/caf%C3%A9").unwrap().0, ["=café"]);
        assert_eq!(read("/100%25").unwrap().0, ["=100%"]);
    }

    #[test]
    fn patterns_that_never_match_or_mix_are_refused() {
        for (text, why) in [
            ("", "starts with `/`"),
            ("accounts", "starts with `/`"),
            ("/a//b", "empty segment"),
            ("/a?b=c", "without query"),
            ("/*/b", "only at the end"),
            ("/{*rest}/b", "only at the end"),
            ("/a*", "mixes text and pattern"),
            ("/x{name}", "mixes text and pattern"),
            ("/{name}x", "not a named segment"),
            ("/{}", "not a named segment"),
            ("/{a.b}", "not a named segment"),
            ("/{a}/{a}", "here twice"),
            ("/..", "normalised"),
            ("/%2e", "normalised"),
            ("/a%2Fb", "are refused"),
            ("/%00", "are refused"),
            ("/%zz", "broken percent escape"),
            ("/%", "broken percent escape"),
            ("/%ff", "UTF-8"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_bytes_that_it_has(text in "[/a%{}*2f.é-]{0,20}") {
            if let Err(wrong) = parse(&text) {
                proptest::prop_assert!(wrong.from <= text.len());
            }
        }
    }
}
