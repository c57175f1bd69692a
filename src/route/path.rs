use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::request::{NormalPath, PathError};

/// What is escaped on the wire: everything but RFC 3986's `pchar`, and `;` besides.
///
/// A bare `;` begins parameters for some backends (Tomcat reads `/admin;x` as `/admin`) and is
/// plain text for others. Escaped it is plain text for all of them, which is how the gateway's own
/// policies read it.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Gives a path its one normal form (RFC 3986 section 6.2.2), so that no spelling of it escapes a
/// policy or a cache key.
///
/// `raw` is the path of the request target without its query. Escapes are decoded once: what was
/// escaped twice stays escaped once. Repeated slashes merge, then dot segments are resolved, also
/// those that were escaped. A trailing slash stays. `;` and what follows it is part of its
/// segment.
///
/// # Errors
/// Refuses what backends are known to read in several ways: see [`PathError`].
pub fn normalize(raw: &str) -> Result<NormalPath, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(raw) {
        return Ok(NormalPath { decoded: raw.to_owned(), encoded: raw.to_owned() });
    }
    let decoded = resolve(&decode(raw)?)?;
    let encoded = utf8_percent_encode(&decoded, ESCAPED).to_string();
    Ok(NormalPath { decoded, encoded })
}

/// Whether a path reads the same decoded, resolved and escaped again: nearly all do.
fn is_normal(raw: &str) -> bool {
    let Some(segments) = raw.strip_prefix('/') else { return false };
    if !raw.bytes().all(stands_bare) {
        return false;
    }
    let mut segments = segments.split('/');
    let last = segments.next_back().unwrap_or_default();
    !matches!(last, "." | "..") && !segments.any(|segment| matches!(segment, "" | "." | ".."))
}

const fn stands_bare(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

fn decode(raw: &str) -> Result<String, PathError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = match byte {
            b'%' => (escape(bytes.next(), bytes.next())?, true),
            plain => (plain, false),
        };
        match byte {
            b'\\' => return Err(PathError::AmbiguousSeparator),
            b'/' if escaped => return Err(PathError::AmbiguousSeparator),
            _ => decoded.push(byte),
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| PathError::NotUtf8)?;
    // After decoding, so that the two-byte controls U+0080 to U+009F are seen as well.
    if decoded.chars().any(char::is_control) {
        return Err(PathError::ControlCharacter);
    }
    Ok(decoded)
}

fn escape(high: Option<u8>, low: Option<u8>) -> Result<u8, PathError> {
    let digit = |byte: Option<u8>| {
        byte.and_then(|byte| char::from(byte).to_digit(16))
            .and_then(|digit| u8::try_from(digit).ok())
    };
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(PathError::BrokenEscape),
    }
}

/// Merges slashes and resolves dot segments, in this order: `/a//../b` is `/b`, as it is for the
/// web servers that merge. Only raw slashes part segments here: escaped ones were refused.
fn resolve(decoded: &str) -> Result<String, PathError> {
    let mut resolved = String::with_capacity(decoded.len());
    let mut ends_open = false;
    for segment in decoded.split('/').skip(1) {
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => resolved.truncate(resolved.rfind('/').ok_or(PathError::AboveRoot)?),
            segment => {
                resolved.push('/');
                resolved.push_str(segment);
            }
        }
    }
    if ends_open {
        resolved.push('/');
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use PathError::*;

    type Expected = Result<(&'static str, &'static str), PathError>;

    fn same(path: &'static str) -> Expected {
        Ok((path, path))
    }

    /// Spelling, and its decoded and encoded normal form or why there is none.
    fn spellings() -> Vec<(&'static str, Expected)> {
        vec![
            // Already normal.
            ("/", same("/")),
            ("/accounts/123", same("/accounts/123")),
            ("/accounts/123/", same("/accounts/123/")),
            ("/a-b_c.d~e", same("/a-b_c.d~e")),
            ("/!$&'()*+,=:@", same("/!$&'()*+,=:@")),
            ("/...", same("/...")),
            ("/.hidden/..x/x..", same("/.hidden/..x/x..")),
            ("/CaSe", same("/CaSe")),
            // Escapes that need none.
            ("/%61ccounts", same("/accounts")),
            ("/%41", same("/A")),
            ("/%2D%2E%5F%7E", same("/-._~")),
            ("/%2d", same("/-")),
            ("/%40%3a", same("/@:")),
            // Escapes that stay, in upper case.
            ("/a%20b", Ok(("/a b", "/a%20b"))),
            ("/%c3%a9", Ok(("/é", "/%C3%A9"))),
            ("/é", Ok(("/é", "/%C3%A9"))),
            ("/a%3fb", Ok(("/a?b", "/a%3Fb"))),
            ("/a%23b", Ok(("/a#b", "/a%23b"))),
            ("/a#b", Ok(("/a#b", "/a%23b"))),
            ("/%22%3C%3E%5E%60%7B%7C%7D", Ok(("/\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D"))),
            // Escaped twice: decoded once.
            ("/%2541", Ok(("/%41", "/%2541"))),
            ("/%252e%252e/admin", Ok(("/%2e%2e/admin", "/%252e%252e/admin"))),
            ("/%252f", Ok(("/%2f", "/%252f"))),
            ("/%25", Ok(("/%", "/%25"))),
            // Slashes.
            ("//", same("/")),
            ("//a", same("/a")),
            ("/a//b", same("/a/b")),
            ("/a///", same("/a/")),
            // Dot segments.
            ("/.", same("/")),
            ("/./", same("/")),
            ("/a/.", same("/a/")),
            ("/a/./b", same("/a/b")),
            ("/a/..", same("/")),
            ("/a/../b", same("/b")),
            ("/a/b/..", same("/a/")),
            ("/a/b/../", same("/a/")),
            ("/a/b/../../c", same("/c")),
            ("/a//../b", same("/b")),
            ("/public/../admin", same("/admin")),
            ("/public/%2e%2e/admin", same("/admin")),
            ("/public/.%2E/admin", same("/admin")),
            ("/public/%2e./admin", same("/admin")),
            ("/public/%2e/x", same("/public/x")),
            // Parameters are text of their segment, and leave escaped.
            ("/a;v=1/b", Ok(("/a;v=1/b", "/a%3Bv=1/b"))),
            ("/a%3Bv=1", Ok(("/a;v=1", "/a%3Bv=1"))),
            ("/..;/admin", Ok(("/..;/admin", "/..%3B/admin"))),
            ("/.;x/", Ok(("/.;x/", "/.%3Bx/"))),
            // Letters that only look like dots or slashes.
            ("/\u{ff0e}\u{ff0e}/a", Ok(("/．．/a", "/%EF%BC%8E%EF%BC%8E/a"))),
            ("/a\u{2215}b", Ok(("/a∕b", "/a%E2%88%95b"))),
            // Above the root.
            ("/..", Err(AboveRoot)),
            ("/../admin", Err(AboveRoot)),
            ("/a/../../b", Err(AboveRoot)),
            ("/%2e%2e/admin", Err(AboveRoot)),
            ("//../a", Err(AboveRoot)),
            ("/./..", Err(AboveRoot)),
            // Separators of doubtful meaning.
            ("/a%2fb", Err(AmbiguousSeparator)),
            ("/a%2Fb", Err(AmbiguousSeparator)),
            ("/..%2fadmin", Err(AmbiguousSeparator)),
            ("/a\\b", Err(AmbiguousSeparator)),
            ("/a%5cb", Err(AmbiguousSeparator)),
            ("/..%5Cadmin", Err(AmbiguousSeparator)),
            // Control characters.
            ("/a%00", Err(ControlCharacter)),
            ("/a%00.png", Err(ControlCharacter)),
            ("/a%0d%0aSet-Cookie:x", Err(ControlCharacter)),
            ("/a%0Ab", Err(ControlCharacter)),
            ("/a%7f", Err(ControlCharacter)),
            ("/a\tb", Err(ControlCharacter)),
            ("/a%c2%85b", Err(ControlCharacter)),
            // Not UTF-8.
            ("/%ff", Err(NotUtf8)),
            ("/%c0%ae%c0%ae/admin", Err(NotUtf8)),
            ("/%e0%80%af", Err(NotUtf8)),
            ("/%ed%a0%80", Err(NotUtf8)),
            // Broken escapes.
            ("/%", Err(BrokenEscape)),
            ("/a%2", Err(BrokenEscape)),
            ("/%zz", Err(BrokenEscape)),
            ("/%u002e", Err(BrokenEscape)),
            ("/%+1", Err(BrokenEscape)),
            ("/%é", Err(BrokenEscape)),
            // Not a path.
            ("", Err(NotAbsolute)),
            ("*", Err(NotAbsolute)),
            ("accounts", Err(NotAbsolute)),
            ("%2Faccounts", Err(NotAbsolute)),
            ("../admin", Err(NotAbsolute)),
            ("http://bank.example/a", Err(NotAbsolute)),
        ]
    }

    #[test]
    fn every_odd_spelling_has_one_normal_form_or_none() {
        let spellings = spellings();
        assert!(spellings.len() >= 40, "only {} spellings", spellings.len());
        for (raw, expected) in spellings {
            let expected = expected.map(|(decoded, encoded)| NormalPath {
                decoded: decoded.to_owned(),
                encoded: encoded.to_owned(),
            });
            assert_eq!(normalize(raw), expected, "{raw:?}");
        }
    }

    /// Text with more than its share of what matters in paths.
    fn odd_path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/".to_owned()),
            Just(".".to_owned()),
            Just("..".to_owned()),
            Just("%2e".to_owned()),
            Just("%2E".to_owned()),
            Just("%25".to_owned()),
            Just(";".to_owned()),
            Just("%2f".to_owned()),
            Just("\\".to_owned()),
            Just("%".to_owned()),
            Just("%c3%a9".to_owned()),
            Just("%00".to_owned()),
            "[a-z0-9]{1,3}",
            "\\PC",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn normalizing_twice_changes_nothing(raw in odd_path()) {
            if let Ok(once) = normalize(&raw) {
                prop_assert_eq!(normalize(&once.encoded), Ok(once));
            }
        }

        #[test]
        fn the_decoded_form_has_no_empty_or_dot_segments(raw in odd_path()) {
            if let Ok(path) = normalize(&raw) {
                prop_assert!(path.decoded.starts_with('/'));
                prop_assert!(!path.decoded.contains("//"));
                let segments: Vec<&str> = path.decoded.split('/').collect();
                prop_assert!(!segments.contains(&".") && !segments.contains(&".."));
            }
        }

        #[test]
        fn the_encoded_form_decodes_to_the_decoded_one(raw in odd_path()) {
            if let Ok(path) = normalize(&raw) {
                let decoded = percent_encoding::percent_decode_str(&path.encoded);
                prop_assert_eq!(decoded.decode_utf8().unwrap(), path.decoded.as_str());
                prop_assert!(path.encoded.bytes().all(|byte| byte == b'%' || stands_bare(byte)));
            }
        }

        #[test]
        fn the_fast_way_agrees_with_the_thorough_one(raw in "/[a-z./]{0,8}") {
            if is_normal(&raw) {
                prop_assert_eq!(resolve(&decode(&raw).unwrap()), Ok(raw));
            }
        }
    }
}
