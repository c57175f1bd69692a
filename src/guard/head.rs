use http::request::Parts;
use http::{HeaderMap, Method, Version, header};

use super::body::content_length;
use crate::config::model::ListenerLimits;
use crate::request::{Refusal, has_control};

/// Checks of a request's head that a proxy must make before it passes anything on: sizes, and
/// what would let two parsers see two different requests (RFC 9112 section 11).
///
/// `target` is the request target as it came. On HTTP/1 the listener has made the checks that
/// need the raw text: by the time a head is parsed, a Content-Length beside a Transfer-Encoding
/// is gone from it.
///
/// # Errors
/// [`Refusal::UriTooLong`], [`Refusal::HeadersTooLarge`], [`Refusal::MethodNotAllowed`] for
/// CONNECT, else [`Refusal::BadRequest`].
pub fn check_head(head: &Parts, target: &[u8], limits: &ListenerLimits) -> Result<(), Refusal> {
    check_sizes(target, &head.headers, limits)?;
    check_values(&head.headers)?;
    check_method(&head.method)?;
    check_host(head)?;
    check_framing(head.version, &head.headers)?;
    check_connection(&head.headers)?;
    check_expectation(&head.headers)
}

fn check_sizes(target: &[u8], headers: &HeaderMap, limits: &ListenerLimits) -> Result<(), Refusal> {
    if target.len() > limits.max_uri_bytes {
        return Err(Refusal::UriTooLong);
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > limits.max_headers || bytes > limits.max_header_bytes {
        return Err(Refusal::HeadersTooLarge);
    }
    Ok(())
}

/// Values reach here unchecked: the proxy takes over what its parser saw.
fn check_values(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.values().any(|value| has_control(value.as_bytes())) {
        return Err(Refusal::BadRequest("a header value has a control character"));
    }
    Ok(())
}

/// CONNECT asks for a tunnel, not for anything at an address that a route could have.
fn check_method(method: &Method) -> Result<(), Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::MethodNotAllowed { allow: Vec::new() });
    }
    Ok(())
}

/// RFC 9112 section 3.2 and RFC 9113 section 8.3.1. HTTP/1.0 need not send a host, but it would go
/// to the backend as HTTP/1.1 without one.
fn check_host(head: &Parts) -> Result<(), Refusal> {
    let fields = head.headers.get_all(header::HOST).iter().count();
    match (fields, head.uri.authority()) {
        (0, None) => Err(Refusal::BadRequest("there is no Host field")),
        (0, Some(_)) if head.version < Version::HTTP_2 => {
            Err(Refusal::BadRequest("there is no Host field"))
        }
        (0 | 1, _) => Ok(()),
        (_, _) => Err(Refusal::BadRequest("there are several Host fields")),
    }
}

/// RFC 9112 section 6: where the body ends must be said once and in one way.
fn check_framing(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let length = content_length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let (first, second) = (codings.next(), codings.next());
    let Some(coding) = first else { return Ok(()) };
    if length.is_some() {
        return Err(Refusal::BadRequest("Content-Length and Transfer-Encoding exclude each other"));
    }
    if version != Version::HTTP_11 {
        return Err(Refusal::BadRequest("only HTTP/1.1 has Transfer-Encoding"));
    }
    if second.is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::BadRequest("Transfer-Encoding is other than chunked"));
    }
    Ok(())
}

/// Fields that a `Connection` option must not take away: they say which request it is and where it
/// came from.
const NOT_OF_THE_CONNECTION: [&str; 4] =
    ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
/// Options of one request, at most.
const MOST_OPTIONS: usize = 9;

/// The options of `Connection` (RFC 9110 section 7.6.1). The proxy refuses the same when it calls a
/// backend; here the request has cost its account nothing yet.
fn check_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    let fields = headers.get_all(header::CONNECTION).iter();
    let options = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let options = options.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty());
    for (nth, option) in options.enumerate() {
        if nth >= MOST_OPTIONS {
            return Err(Refusal::BadRequest("Connection has too many options"));
        }
        if header::HeaderName::from_bytes(option).is_err() {
            return Err(Refusal::BadRequest("Connection has an option that is no token"));
        }
        if NOT_OF_THE_CONNECTION.iter().any(|name| option.eq_ignore_ascii_case(name.as_bytes())) {
            return Err(Refusal::BadRequest("Connection names a field that is not its own"));
        }
    }
    Ok(())
}

/// RFC 9110 section 10.1.1: there is only one expectation.
fn check_expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_continue =
        |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().all(is_continue) {
        Ok(())
    } else {
        Err(Refusal::BadRequest("Expect is other than 100-continue"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderName, HeaderValue, Request};

    use super::*;

    const LIMITS: ListenerLimits = ListenerLimits {
        max_connections: 1,
        max_connections_per_address: 1,
        header_timeout: Duration::ZERO,
        body_timeout: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        max_header_bytes: 100,
        max_headers: 4,
        max_uri_bytes: 20,
    };

    fn head(fields: &[(&'static str, &str)]) -> Parts {
        let mut head = Request::get("/a").body(()).unwrap().into_parts().0;
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            head.headers.append(HeaderName::from_static(name), value);
        }
        head
    }

    fn check(head: &Parts) -> Result<(), Refusal> {
        check_head(head, head.uri.path().as_bytes(), &LIMITS)
    }

    fn is_bad(head: &Parts) -> bool {
        matches!(check(head), Err(Refusal::BadRequest(_)))
    }

    const HOST: (&str, &str) = ("host", "a");

    #[test]
    fn an_ordinary_head_passes() {
        assert_eq!(check(&head(&[HOST, ("accept", "*/*"), ("x-tab", "a\tb")])), Ok(()));
        assert_eq!(
            check(&head(&[HOST, ("content-length", "5"), ("expect", "100-Continue")])),
            Ok(())
        );
        assert_eq!(check(&head(&[HOST, ("transfer-encoding", "Chunked")])), Ok(()));
    }

    #[test]
    fn a_target_too_long_is_414() {
        let head = head(&[HOST]);
        assert_eq!(check_head(&head, &[b'a'; 20], &LIMITS), Ok(()));
        assert_eq!(check_head(&head, &[b'a'; 21], &LIMITS), Err(Refusal::UriTooLong));
    }

    #[test]
    fn too_many_or_too_large_headers_are_431() {
        let many = [HOST, ("x-a", "1"), ("x-a", "2"), ("x-a", "3"), ("x-a", "4")];
        assert_eq!(check(&head(&many[..4])), Ok(()));
        assert_eq!(check(&head(&many)), Err(Refusal::HeadersTooLarge));
        let (fits, large) = ("v".repeat(92), "v".repeat(93));
        assert_eq!(check(&head(&[HOST, ("x-a", &fits)])), Ok(()));
        assert_eq!(check(&head(&[HOST, ("x-a", &large)])), Err(Refusal::HeadersTooLarge));
    }

    #[test]
    fn connect_is_405() {
        let mut head = head(&[HOST]);
        head.method = Method::CONNECT;
        assert_eq!(check(&head), Err(Refusal::MethodNotAllowed { allow: Vec::new() }));
    }

    #[test]
    fn connection_options_are_few_tokens_and_name_nothing_that_says_which_request_it_is() {
        for good in
            ["close", "keep-alive, X-Hop", "Upgrade", "a,b,c,,d,e,f,g,h,i", "content-length"]
        {
            assert_eq!(check(&head(&[HOST, ("connection", good)])), Ok(()), "{good}");
        }
        for bad in [
            "Host",
            "close, x-forwarded-for",
            "X-Forwarded-Proto",
            ":authority",
            "a b",
            "\"host\"",
            "a,b,c,d,e,f,g,h,i,j",
        ] {
            assert!(is_bad(&head(&[HOST, ("connection", bad)])), "{bad}");
        }
        assert!(is_bad(&head(&[HOST, ("connection", "close"), ("connection", "host")])));
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(is_bad(&head(&[])));
        assert!(is_bad(&head(&[HOST, HOST])));
        let mut old = head(&[]);
        old.version = Version::HTTP_10;
        assert!(is_bad(&old), "HTTP/1.0 without Host");
        let mut new = head(&[]);
        new.version = Version::HTTP_2;
        new.uri = "https://a/a".parse().unwrap();
        assert_eq!(check(&new), Ok(()));
    }

    #[test]
    fn a_body_whose_end_is_said_in_two_ways_is_refused() {
        let chunked = ("transfer-encoding", "chunked");
        assert!(is_bad(&head(&[HOST, ("content-length", "5"), chunked])));
        assert!(is_bad(&head(&[HOST, ("content-length", "5"), ("content-length", "6")])));
        assert!(is_bad(&head(&[HOST, chunked, chunked])));
        for coding in ["gzip, chunked", "chunked, gzip", "identity", "xchunked", "chunked;q=1", ""]
        {
            assert!(is_bad(&head(&[HOST, ("transfer-encoding", coding)])), "{coding:?}");
        }
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut head = head(&[HOST, chunked]);
            head.version = version;
            assert!(is_bad(&head), "{version:?}");
        }
    }

    #[test]
    fn an_unknown_expectation_is_refused() {
        assert!(is_bad(&head(&[HOST, ("expect", "200-ok")])));
        assert!(is_bad(&head(&[HOST, ("expect", "100-continue, x")])));
    }
}
