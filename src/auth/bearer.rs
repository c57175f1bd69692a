use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::request::Challenge;

/// Longest token accepted. The largest seen in the wild (group memberships of a directory) have
/// about 8 KiB.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The bearer token of a request, from its one Authorization field and nowhere else: a token in
/// the query would stand in logs and histories (RFC 6750 section 5.3). Not checked further.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&[u8], Challenge> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(Challenge::Missing)?;
    if fields.next().is_some() {
        return Err(Challenge::Malformed("more than one Authorization field"));
    }
    let credentials = field.as_bytes();
    let (scheme, rest) = match credentials.iter().position(|byte| *byte == b' ') {
        Some(at) => credentials.split_at(at),
        None => (credentials, &[][..]),
    };
    // Another scheme is no attempt at this one: RFC 6750 section 3.1 asks for a bare challenge.
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Challenge::Missing);
    }
    let token = rest.trim_ascii();
    if token.is_empty() {
        return Err(Challenge::Malformed("the bearer token is empty"));
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Challenge::Malformed("the bearer token is too long"));
    }
    Ok(token)
}

/// The token as text, if it has only the characters of RFC 6750's `b64token`. Left for the tokens
/// that are not in the cache, where it matters.
pub(super) fn token_text(token: &[u8]) -> Result<&str, Challenge> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    std::str::from_utf8(token)
        .ok()
        .filter(|text| text.as_bytes().iter().all(allowed))
        .ok_or(Challenge::Malformed("the bearer token has a character that none may have"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(fields: &[&str]) -> Result<String, Challenge> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_str(field).unwrap());
        }
        token_text(bearer(&headers)?).map(str::to_owned)
    }

    #[test]
    fn the_token_follows_the_scheme_in_any_case() {
        for field in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
            assert_eq!(read(&[field]).unwrap(), "a.b.c");
        }
    }

    #[test]
    fn no_field_and_other_schemes_are_no_credential() {
        assert_eq!(read(&[]), Err(Challenge::Missing));
        for field in ["Basic dXNlcjpwYXNz", "DPoP a.b.c", "Bearera.b.c", "a.b.c", "", "Digest"] {
            assert_eq!(read(&[field]), Err(Challenge::Missing), "{field:?}");
        }
    }

    #[test]
    fn several_fields_empty_long_and_strange_tokens_are_malformed() {
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1));
        for fields in [
            &["Bearer a.b.c", "Bearer a.b.c"][..],
            &["Basic eA==", "Bearer a.b.c"],
            &["Bearer"],
            &["Bearer   "],
            &[long.as_str()],
            &["Bearer a.b.c, Bearer d.e.f"],
            &["Bearer \"a.b.c\""],
            &["Bearer a.b.c d"],
        ] {
            assert!(matches!(read(fields), Err(Challenge::Malformed(_))), "{fields:?}");
        }
    }

    #[test]
    fn the_longest_token_is_read() {
        assert!(read(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES))]).is_ok());
    }

    #[test]
    fn bytes_beyond_ascii_are_malformed() {
        assert!(matches!(token_text(b"a.b.\xc3\xa9"), Err(Challenge::Malformed(_))));
        assert!(matches!(token_text(b"a.b.\xff"), Err(Challenge::Malformed(_))));
    }
}
