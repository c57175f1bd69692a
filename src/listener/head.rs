use http::Method;

use super::body::Body;
use crate::config::model::ListenerLimits;
use crate::request::Refusal;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Empty lines that may stand before a request (RFC 9112 section 2.2 asks for at least one).
const MAX_BLANK_LINES: usize = 4;
/// Method, version and what stands between them and the target.
const REQUEST_LINE_SPARE: usize = 64;

/// Reads the raw head of an HTTP/1 request line by line as it comes, to know where it ends, what
/// body follows, and whether it may be passed on at all.
///
/// It is stricter than RFC 9112 requires where leniency lets two parsers see two requests: lines
/// end in CRLF, names touch their colon, nothing is folded, and a body's end is said once.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Bytes that were read.
    at: usize,
    blank_lines: usize,
    request_line: Option<Version>,
    fields: usize,
    field_bytes: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// A head that has come whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// Its bytes.
    pub length: usize,
    /// What follows it.
    pub body: Body,
}

impl Head {
    /// Reads on in `buffer`, which begins with the request and keeps what it had the last time.
    /// `None` as long as the head isn't whole.
    ///
    /// # Errors
    /// [`Refusal::UriTooLong`], [`Refusal::HeadersTooLarge`], [`Refusal::MethodNotAllowed`] for
    /// CONNECT, else [`Refusal::BadRequest`]: at the first byte too many, not at the end.
    pub fn read(
        &mut self,
        buffer: &[u8],
        limits: &ListenerLimits,
    ) -> Result<Option<Whole>, Refusal> {
        loop {
            let rest = buffer.get(self.at..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return self.check_unfinished(rest.len(), limits).map(|()| None);
            };
            self.at += end + 1;
            let line = rest
                .get(..end)
                .and_then(|line| line.strip_suffix(b"\r"))
                .ok_or(Refusal::BadRequest("a line of the head does not end in CRLF"))?;
            match self.request_line {
                None if line.is_empty() => self.skip_blank_line()?,
                None => self.request_line = Some(read_request_line(line, limits)?),
                Some(version) if line.is_empty() => {
                    let body = self.body(version)?;
                    return Ok(Some(Whole { length: self.at, body }));
                }
                Some(_) => self.read_field(line, limits)?,
            }
        }
    }

    fn skip_blank_line(&mut self) -> Result<(), Refusal> {
        self.blank_lines += 1;
        if self.blank_lines > MAX_BLANK_LINES {
            return Err(Refusal::BadRequest("there are empty lines before the request"));
        }
        Ok(())
    }

    /// A line that never ends must not be kept for ever.
    fn check_unfinished(&self, length: usize, limits: &ListenerLimits) -> Result<(), Refusal> {
        match self.request_line {
            None if length > limits.max_uri_bytes.saturating_add(REQUEST_LINE_SPARE) => {
                Err(Refusal::UriTooLong)
            }
            Some(_) if self.field_bytes.saturating_add(length) > limits.max_header_bytes => {
                Err(Refusal::HeadersTooLarge)
            }
            None | Some(_) => Ok(()),
        }
    }

    fn read_field(&mut self, line: &[u8], limits: &ListenerLimits) -> Result<(), Refusal> {
        let malformed = Refusal::BadRequest("a header field is malformed");
        let colon = line.iter().position(|byte| *byte == b':').ok_or(malformed.clone())?;
        let (name, value) = line.split_at_checked(colon).ok_or(malformed.clone())?;
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(malformed);
        }
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Refusal::BadRequest("a header value has a control character"));
        }
        self.fields += 1;
        self.field_bytes += name.len() + value.len();
        if self.fields > limits.max_headers || self.field_bytes > limits.max_header_bytes {
            return Err(Refusal::HeadersTooLarge);
        }
        self.note(name, value)
    }

    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length =
                number(value).ok_or(Refusal::BadRequest("Content-Length is not a number"))?;
            if self.length.is_some_and(|other| other != length) {
                return Err(Refusal::BadRequest("several Content-Length fields disagree"));
            }
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::BadRequest("Transfer-Encoding is other than chunked"));
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn body(&self, version: Version) -> Result<Body, Refusal> {
        match self.hosts {
            0 => return Err(Refusal::BadRequest("there is no Host field")),
            1 => {}
            _ => return Err(Refusal::BadRequest("there are several Host fields")),
        }
        match (self.length, self.chunked, version) {
            (None, false, _) => Ok(Body::NONE),
            (Some(length), false, _) => Ok(Body::Length(length)),
            (None, true, Version::Http11) => Ok(Body::CHUNKED),
            (None, true, Version::Http10) => {
                Err(Refusal::BadRequest("only HTTP/1.1 has Transfer-Encoding"))
            }
            (Some(_), true, _) => Err(Refusal::BadRequest(
                "Content-Length and Transfer-Encoding exclude each other",
            )),
        }
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 section 3).
fn read_request_line(line: &[u8], limits: &ListenerLimits) -> Result<Version, Refusal> {
    let malformed = Refusal::BadRequest("the request line is malformed");
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed);
    };
    let is_target = !target.is_empty() && !target.iter().any(u8::is_ascii_control);
    if method.is_empty() || !method.iter().copied().all(is_token) || !is_target {
        return Err(malformed);
    }
    if target.len() > limits.max_uri_bytes {
        return Err(Refusal::UriTooLong);
    }
    if method == Method::CONNECT.as_str().as_bytes() {
        return Err(Refusal::MethodNotAllowed { allow: Vec::new() });
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Refusal::BadRequest("the HTTP version is not 1.0, 1.1 or 2")),
    }
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'
        | b'_' | b'`' | b'|' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: ListenerLimits = ListenerLimits {
        max_connections: 1,
        max_connections_per_address: 1,
        header_timeout: Duration::ZERO,
        body_timeout: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        max_header_bytes: 200,
        max_headers: 6,
        max_uri_bytes: 40,
    };

    fn read(text: &str) -> Result<Option<Whole>, Refusal> {
        Head::default().read(text.as_bytes(), &LIMITS)
    }

    fn body(fields: &str) -> Result<Body, Refusal> {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        read(&text).map(|whole| whole.expect("a whole head").body)
    }

    fn why(fields: &str) -> &'static str {
        match body(fields) {
            Err(Refusal::BadRequest(why)) => why,
            other => panic!("{fields:?}: {other:?}"),
        }
    }

    #[test]
    fn a_head_ends_with_its_empty_line_and_says_what_body_follows() {
        let text = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        let whole = Whole { length: text.len(), body: Body::NONE };
        assert_eq!(read(&format!("{text}GET /b HT")), Ok(Some(whole)));
        assert_eq!(body("Content-Length: 12\r\n"), Ok(Body::Length(12)));
        assert_eq!(body("content-length:12\r\nContent-Length: 12 \r\n"), Ok(Body::Length(12)));
        assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Ok(Body::CHUNKED));
        assert_eq!(read("\r\nGET / HTTP/1.0\r\nhost:\r\n\r\n").map(|one| one.is_some()), Ok(true));
    }

    #[test]
    fn a_body_whose_end_is_said_in_two_ways_is_refused() {
        assert!(why("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n").contains("exclude"));
        assert!(why("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n").contains("exclude"));
        assert!(why("Content-Length: 5\r\nContent-Length: 6\r\n").contains("disagree"));
        assert!(why("Content-Length: +5\r\n").contains("not a number"));
        assert!(why("Content-Length: 5, 5\r\n").contains("not a number"));
        assert!(why("Content-Length: \r\n").contains("not a number"));
        for coding in ["gzip, chunked", "identity", "\x0bchunked", "chunked, chunked", ""] {
            let fields = format!("Transfer-Encoding: {coding}\r\n");
            assert!(matches!(body(&fields), Err(Refusal::BadRequest(_))), "{coding:?}");
        }
        assert!(why("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n").contains("other"));
        let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(read(old), Err(Refusal::BadRequest(_))));
    }

    #[test]
    fn fields_that_parsers_read_differently_are_refused() {
        assert!(why("X-A : 1\r\n").contains("malformed"));
        assert!(why(" X-A: 1\r\n").contains("malformed"));
        assert!(why("X-A: 1\r\n folded\r\n").contains("malformed"));
        assert!(why("no colon\r\n").contains("malformed"));
        assert!(why(": no name\r\n").contains("malformed"));
        assert!(why("X(A): 1\r\n").contains("malformed"));
        assert!(why("X-A: 1\0\r\n").contains("control"));
        assert!(why("X-A: 1\rX-B: 2\r\n").contains("control"));
        assert!(why("X-A: 1\n").contains("CRLF"));
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(why("Host: a\r\n").contains("several"));
        assert_eq!(
            read("GET / HTTP/1.1\r\n\r\n"),
            Err(Refusal::BadRequest("there is no Host field"))
        );
    }

    #[test]
    fn request_lines_that_are_none_are_refused() {
        for line in [
            "GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET / b HTTP/1.1",
            "G(T / HTTP/1.1", "GET /\0 HTTP/1.1", "GET /\t HTTP/1.1", "GET / HTTP/0.9",
            "GET / HTTP/2.0", "GET / http/1.1", "PRI * HTTP/2.0", "\x16\x03\x01",
        ] {
            let read = read(&format!("{line}\r\nHost: a\r\n\r\n"));
            assert!(matches!(read, Err(Refusal::BadRequest(_))), "{line:?}: {read:?}");
        }
        assert!(matches!(read(&"\r\n".repeat(5)), Err(Refusal::BadRequest(_))));
        assert!(matches!(
            read("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(Refusal::MethodNotAllowed { .. })
        ));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_has_come_whole() {
        let (fits, long) = ("a".repeat(39), "a".repeat(40));
        assert!(read(&format!("GET /{fits} HTTP/1.1\r\n")).is_ok());
        assert_eq!(read(&format!("GET /{long} HTTP/1.1\r\n")), Err(Refusal::UriTooLong));
        assert_eq!(read(&"A".repeat(200)), Err(Refusal::UriTooLong));
        let start = "GET / HTTP/1.1\r\nHost: a\r\n";
        let large = "v".repeat(201);
        assert_eq!(read(&format!("{start}X-A: {large}")), Err(Refusal::HeadersTooLarge));
        assert_eq!(read(&format!("{start}X-A: {large}\r\n")), Err(Refusal::HeadersTooLarge));
        let many = "X-A: 1\r\n".repeat(6);
        assert_eq!(read(&format!("{start}{many}")), Err(Refusal::HeadersTooLarge));
    }

    proptest! {
        #[test]
        fn a_head_reads_the_same_however_it_is_cut(
            fields in prop::collection::vec("[A-Za-z-]{1,6}: ?[a-z0-9 ]{0,6}\r\n", 0..5),
            cuts in prop::collection::vec(0usize..120, 0..6),
        ) {
            let text = format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\nrest", fields.concat());
            let mut head = Head::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let whole = read(&text);
            let mut in_pieces = Ok(None);
            for cut in cuts {
                in_pieces = head.read(&text.as_bytes()[..cut], &LIMITS);
                if !matches!(in_pieces, Ok(None)) {
                    break;
                }
            }
            prop_assert_eq!(in_pieces, whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::default().read(&bytes, &LIMITS);
        }
    }
}
