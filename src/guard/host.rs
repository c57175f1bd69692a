use std::net::Ipv6Addr;

use http::{HeaderMap, Uri, header};

use crate::request::Refusal;

/// Longest host name (RFC 1035 section 2.3.4, as text).
const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// The host that a request is for, in one form: lower case, without port and trailing dot; an
/// IPv6 address in brackets and in its canonical spelling (RFC 5952).
///
/// It is read from `:authority` (or an absolute target) in `uri`, else from `Host`.
///
/// # Errors
/// [`Refusal::BadRequest`] if there is none, if several are stated and differ, or if it isn't a
/// host name or address with at most a port: user information and characters that parsers read
/// differently are refused.
pub fn host_of(headers: &HeaderMap, uri: &Uri) -> Result<String, Refusal> {
    let mut stated = headers.get_all(header::HOST).iter();
    let (first, second) = (stated.next(), stated.next());
    if second.is_some() {
        return Err(Refusal::BadRequest("there are several Host fields"));
    }
    let field =
        first.map(|value| value.to_str().map_err(|_| BAD)).transpose()?.map(parse).transpose()?;
    let authority = uri.authority().map(|authority| parse(authority.as_str())).transpose()?;
    match (authority, field) {
        (Some(authority), Some(field)) if authority != field => {
            Err(Refusal::BadRequest("Host and the target's authority differ"))
        }
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(Refusal::BadRequest("there is no Host field")),
    }
}

const BAD: Refusal = Refusal::BadRequest("Host is not a host name with at most a port");

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2).
fn parse(text: &str) -> Result<String, Refusal> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, after) = bracketed.split_once(']').ok_or(BAD)?;
            let address: Ipv6Addr = address.parse().map_err(|_| BAD)?;
            (format!("[{address}]"), after)
        }
        None => {
            let at = text.find(':').unwrap_or(text.len());
            let (name, port) = text.split_at_checked(at).ok_or(BAD)?;
            (host_name(name)?, port)
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(host),
        // An empty port is allowed and means the default one (RFC 3986 section 3.2.3).
        Some("") => Ok(host),
        Some(digits) if is_port(digits) => Ok(host),
        Some(_) | None => Err(BAD),
    }
}

/// Letters, digits, hyphens and, since they are in use, underscores, in labels parted by dots.
fn host_name(text: &str) -> Result<String, Refusal> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() <= MAX_HOST_BYTES && name.split('.').all(is_label) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(BAD)
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn host(field: &str) -> Result<String, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        host_of(&headers, &Uri::from_static("/"))
    }

    #[test]
    fn every_spelling_of_a_host_is_one_host() {
        for (field, expected) in [
            ("bank.example", "bank.example"),
            ("Bank.EXAMPLE", "bank.example"),
            ("bank.example:8443", "bank.example"),
            ("bank.example:", "bank.example"),
            ("bank.example.", "bank.example"),
            ("bank.example.:443", "bank.example"),
            ("localhost", "localhost"),
            ("my_service", "my_service"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:DB8:0:0::1]", "[2001:db8::1]"),
            ("[::1]:8080", "[::1]"),
        ] {
            assert_eq!(host(field), Ok(expected.to_owned()), "{field}");
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(130);
        for field in [
            "",
            ".",
            "..",
            ":80",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "user@a",
            "user:pw@a",
            "a:b",
            "a:80:90",
            "a:+80",
            "a:99999",
            "a:-1",
            "a%2eb",
            "a,b",
            "b\u{e4}nk",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "::1",
            "a;b",
            "*",
            &long_label,
            &long_name,
        ] {
            assert_eq!(host(field), Err(BAD), "{field:?}");
        }
    }

    #[test]
    fn the_authority_of_http2_counts_and_a_host_field_must_agree() {
        let uri: Uri = "https://bank.example:443/a".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(host_of(&headers, &uri), Ok("bank.example".to_owned()));
        headers.insert(header::HOST, HeaderValue::from_static("BANK.example"));
        assert_eq!(host_of(&headers, &uri), Ok("bank.example".to_owned()));
        headers.insert(header::HOST, HeaderValue::from_static("other.example"));
        assert!(host_of(&headers, &uri).is_err());
    }

    #[test]
    fn no_host_and_two_hosts_are_refused() {
        let uri = Uri::from_static("/");
        let mut headers = HeaderMap::new();
        assert_eq!(host_of(&headers, &uri), Err(Refusal::BadRequest("there is no Host field")));
        headers.append(header::HOST, HeaderValue::from_static("a"));
        headers.append(header::HOST, HeaderValue::from_static("a"));
        assert_eq!(
            host_of(&headers, &uri),
            Err(Refusal::BadRequest("there are several Host fields"))
        );
    }

    proptest! {
        #[test]
        fn a_host_reads_the_same_when_read_again(field in "[a-zA-Z0-9:._\\[\\]-]{0,30}") {
            if let Ok(read) = host(&field) {
                prop_assert_eq!(host(&read), Ok(read));
            }
        }
    }
}
