//! Finds secrets that were written into a file in clear, so that no message shows them: messages
//! of a failed reload end up in logs.

use std::ops::Range;

/// Keys whose values are secrets by nature.
pub(super) const SECRET_KEYS: [&str; 4] = ["token", "account_key", "sealing_keys", "password"];
/// Header fields whose values are secrets by nature.
pub(super) const SECRET_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// Whether the value of a key must not be shown.
pub(super) fn is_secret_key(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
        || SECRET_HEADERS.iter().any(|header| header.eq_ignore_ascii_case(key))
}

/// Whether a text is nothing but references to secrets, which may be shown.
pub(super) fn is_reference(text: &str) -> bool {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix("${env:").or_else(|| rest.strip_prefix("${file:")) {
        match inner.split_once('}') {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.is_empty() && !text.is_empty()
}

/// The bytes of a YAML text that are values of secret keys. It reads lines, not YAML, because it
/// must also work on text that is not YAML; where in doubt it hides too much.
pub(super) fn secrets_in(text: &str) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    // The column of a secret key whose value goes on below it.
    let mut open: Option<usize> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        let content = line.trim();
        let below = open.is_some_and(|column| {
            content.is_empty() || indent > column || (indent == column && content.starts_with('-'))
        });
        let mut found = users_in_urls(line);
        if below {
            let item = content.trim_start_matches(['-', ' ']);
            let start = indent + (content.len() - item.len());
            found.push(start..start + item.len());
        } else {
            open = scan_line(line, &mut found);
        }
        found.retain(|range| needs_hiding(line, range));
        found.sort_by_key(|range| range.start);
        for range in found {
            add(&mut hidden, offset + range.start..offset + range.end);
        }
        offset += line.len();
    }
    hidden
}

/// Adds a range to ranges in order that do not overlap.
fn add(hidden: &mut Vec<Range<usize>>, range: Range<usize>) {
    match hidden.last_mut() {
        Some(last) if range.start < last.end => last.end = last.end.max(range.end),
        _ => hidden.push(range),
    }
}

/// Finds the secret values of one line. Gives the column of a key whose value goes on below.
fn scan_line(line: &str, found: &mut Vec<Range<usize>>) -> Option<usize> {
    // Both once for the line: it may have megabytes, and a key every few bytes.
    let line = line.trim_end();
    let bracket = line.find(['{', '[']);
    let mut from = 0;
    while let Some((column, value_at)) = next_secret_key(line, from) {
        let rest = line.get(value_at..).unwrap_or_default();
        let value = rest.trim_start();
        let start = value_at + (rest.len() - value.len());
        match value_length(value, bracket.is_some_and(|at| at < column)) {
            Some(length) if length > 0 => {
                let text = value.get(..length).unwrap_or_default().trim_end();
                found.push(start..start + text.len());
                from = start + length;
            }
            _ => {
                let text = value.split(" #").next().unwrap_or(value).trim_end();
                found.push(start..start + text.len());
                return Some(column);
            }
        }
    }
    None
}

/// Users and passwords in URLs.
fn users_in_urls(line: &str) -> Vec<Range<usize>> {
    let urls = line.match_indices("://").map(|(at, _)| at + 3);
    urls.filter_map(|start| {
        let authority = line.get(start..)?.split(['/', '?', '#', ' ', '"', '\'']).next()?;
        Some(start..start + authority.rfind('@')?)
    })
    .collect()
}

/// References to secrets say nothing, and help to read the message.
fn needs_hiding(line: &str, range: &Range<usize>) -> bool {
    let value = line.get(range.clone()).unwrap_or_default();
    value.trim_matches(['[', ']', ' ']).split(',').any(|one| {
        let bare = one.trim_matches(['"', '\'', ' ']);
        !bare.is_empty() && !is_reference(bare)
    })
}

/// The column of the next secret key in the line, and the byte behind its colon.
fn next_secret_key(line: &str, from: usize) -> Option<(usize, usize)> {
    let colons = line.get(from..)?.match_indices(':').map(|(at, _)| from + at);
    colons.into_iter().find_map(|colon| {
        let before = line.get(from..colon)?.trim_end().trim_end_matches(['"', '\'']);
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name = before.rsplit(|c| !is_part(c)).next().unwrap_or_default();
        let column = from + before.len() - name.len();
        is_secret_key(&name.to_ascii_lowercase()).then_some((column, colon + 1))
    })
}

/// How long the value is; `None` if it may go on in the next line.
fn value_length(value: &str, in_brackets: bool) -> Option<usize> {
    let first = value.chars().next()?;
    match first {
        '#' | '|' | '>' | '&' | '!' => None,
        '[' => value.find(']').map(|end| end + 1),
        quote @ ('"' | '\'') => closing(value.get(1..)?, quote).map(|end| end + 2),
        _ if in_brackets && !value.starts_with("${") => {
            Some(value.find([',', '}', ']']).unwrap_or(value.len()))
        }
        _ => None,
    }
}

/// Where a quoted text ends: at a quote that is neither escaped (`\"`) nor doubled (`''`).
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote == '"' {
            characters.next();
        } else if character == quote {
            let doubled = quote == '\'' && characters.next_if(|(_, next)| *next == quote).is_some();
            if !doubled {
                return Some(at);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let hidden = secrets_in(text);
        text.char_indices()
            .map(|(at, c)| if hidden.iter().any(|range| range.contains(&at)) { '*' } else { c })
            .collect()
    }

    #[test]
    fn secrets_in_clear_are_hidden_however_they_are_written() {
        for (text, expected) in [
            ("admin: {token: abc, address: x}\n", "admin: {token: ***, address: x}\n"),
            ("  token: \"a b\" # why\n", "  token: ***** # why\n"),
            ("token: abc # why", "token: *** # why"),
            ("\"token\": 'x'\n", "\"token\": ***\n"),
            ("sealing_keys: [abc, def]\n", "sealing_keys: **********\n"),
            (
                "sealing_keys:\n  - abc\n  - def\nmemory: 1\n",
                "sealing_keys:\n  - ***\n  - ***\nmemory: 1\n",
            ),
            ("sealing_keys:\n- abc\nx: 1\n", "sealing_keys:\n- ***\nx: 1\n"),
            ("  account_key: |\n    abc\n  x: 1\n", "  account_key: *\n    ***\n  x: 1\n"),
            ("set: {Authorization: Basic Zm9v}", "set: {Authorization: **********}"),
            ("token: \"abc\n  def\"\n", "token: ****\n  ****\n"),
            ("token: abc\n  def\nx: 1\n", "token: ***\n  ***\nx: 1\n"),
            ("- token: abc\n  x: 1\n", "- token: ***\n  x: 1\n"),
            (r#"{token: "a\"b", x: 'y'}"#, r#"{token: ******, x: 'y'}"#),
            ("{token: 'a''b', x: y}", "{token: ******, x: y}"),
            (
                "{jwks: https://me:pw@a/, token: x, u: https://me:pw@b/}",
                "{jwks: https://*****@a/, token: *, u: https://*****@b/}",
            ),
            ("jwks: \"https://me:pw@idp/keys\"", "jwks: \"https://*****@idp/keys\""),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn references_to_secrets_and_other_keys_stay_readable() {
        for text in [
            "token: \"${env:TOKEN}\"\n",
            "token: ${file:/run/token}\n",
            "sealing_keys: [\"${env:A}\", \"${env:B}\"]\n",
            "sealing_keys:\n  - ${env:A}\n",
            "token_type: Bearer\n",
            "client-token: x\n",
            "accounts: {a: b}\n",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn a_text_with_more_than_references_is_no_reference() {
        assert!(is_reference("${env:A}${file:/b}"));
        for text in ["", "x${env:A}", "${env:A}x", "${env:A", "${other:A}"] {
            assert!(!is_reference(text), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_scanned(text in "(token|sealing_keys|[:\\[\\]{},'\"|#$ \n-]|[a-zé]){0,40}") {
            let mut end = 0;
            for range in secrets_in(&text) {
                proptest::prop_assert!(range.start >= end);
                end = range.end;
                proptest::prop_assert!(text.get(range).is_some());
            }
        }
    }
}
