use http::uri::{Authority, PathAndQuery};

use crate::request::{PathError, Refusal};

/// Judges the target of an HTTP/1 request (RFC 9112 section 3.2) and gives the authority that one
/// in absolute form names, which must then be the Host field's.
///
/// Without this, Pingora would answer some of them in a form of its own that no log sees, and take
/// others (`x`, `a:443`, `ftp://a/x`) for a path that they are not.
///
/// # Errors
/// [`Refusal::BadPath`] or [`Refusal::BadRequest`].
pub(super) fn authority(target: &[u8]) -> Result<Option<&str>, Refusal> {
    let text = std::str::from_utf8(target).map_err(|_| Refusal::BadPath(PathError::NotUtf8))?;
    // Asterisk form is for OPTIONS to a server as a whole. No route has it, which is said later.
    if text == "*" {
        return Ok(None);
    }
    if text.starts_with('/') {
        return check_path(text).map(|()| None);
    }
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = text.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(Refusal::BadPath(PathError::NotAbsolute))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let is_sound = !authority.contains(['@', '\\']) && Authority::try_from(authority).is_ok();
    if !is_sound {
        return Err(Refusal::BadRequest("the target's authority is malformed"));
    }
    if !path.is_empty() {
        check_path(path)?;
    }
    Ok(Some(authority))
}

fn check_path(text: &str) -> Result<(), Refusal> {
    PathAndQuery::try_from(text)
        .map(|_| ())
        .map_err(|_| Refusal::BadRequest("the target has a character that must be escaped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_that_of_a_target_in_absolute_form() {
        for (target, expected) in [
            ("/a?b", None),
            ("/http://a/", None),
            ("*", None),
            ("http://a", Some("a")),
            ("HTTPS://a:8443/b?c", Some("a:8443")),
            ("http://a?b", Some("a")),
            ("http://[::1]/", Some("[::1]")),
        ] {
            assert_eq!(authority(target.as_bytes()), Ok(expected), "{target}");
        }
    }

    #[test]
    fn what_is_no_target_of_a_request_is_refused() {
        for target in
            ["x", "a:443", "?x", "", "ftp://a/b", "http:/a", "http:a", "://a", "%2fa", "\\a", "**"]
        {
            let refusal = authority(target.as_bytes()).unwrap_err();
            assert_eq!(refusal, Refusal::BadPath(PathError::NotAbsolute), "{target}");
        }
        for target in [
            "http://",
            "http:///a",
            "http://u@a/",
            "http://a\\b/",
            "http://a b/",
            "/<",
            "/a?\"",
            "http://a/`",
        ] {
            let refusal = authority(target.as_bytes()).unwrap_err();
            assert!(matches!(refusal, Refusal::BadRequest(_)), "{target}: {refusal:?}");
        }
        assert_eq!(authority(b"/\xff"), Err(Refusal::BadPath(PathError::NotUtf8)));
    }
}
