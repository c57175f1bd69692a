use http::Method;
use memchr::memchr;

use super::body::Body;
use super::target;
use crate::config::model::ListenerLimits;
use crate::request::{Refusal, has_control};

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
    /// The one that the target names.
    authority: Option<String>,
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
    /// CONNECT, else [`Refusal::BadPath`] or [`Refusal::BadRequest`]: at the first byte too many,
    /// not at the end.
    pub fn read(
        &mut self,
        buffer: &[u8],
        limits: &ListenerLimits,
    ) -> Result<Option<Whole>, Refusal> {
        loop {
            let rest = buffer.get(self.at..).unwrap_or_default();
            let Some(end) = memchr(b'\n', rest) else {
                return self.check_unfinished(rest.len(), limits).map(|()| None);
            };
            self.at += end + 1;
            let line = rest
                .get(..end)
                .and_then(|line| line.strip_suffix(b"\r"))
                .ok_or(Refusal::BadRequest("a line of the head does not end in CRLF"))?;
            match self.request_line {
                None if line.is_empty() => self.skip_blank_line()?,
                None => {
                    let (version, authority) = read_request_line(line, limits)?;
                    self.request_line = Some(version);
                    self.authority = authority.map(str::to_owned);
                }
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
        let colon = memchr(b':', line).unwrap_or_default();
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(Refusal::BadRequest("a header field is malformed"));
        }
        if has_control(value) {
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
            self.check_host(value)?;
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

    /// Two names in one request are one too many (RFC 9112 section 3.2.2), and one with a user in
    /// it is none.
    fn check_host(&self, host: &[u8]) -> Result<(), Refusal> {
        if host.contains(&b'@') {
            return Err(Refusal::BadRequest("Host is not a host name with at most a port"));
        }
        if self.authority.as_ref().is_some_and(|authority| authority.as_bytes() != host) {
            return Err(Refusal::BadRequest("Host and the target's authority differ"));
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
            (Some(_), true, _) => {
                Err(Refusal::BadRequest("Content-Length and Transfer-Encoding exclude each other"))
            }
        }
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 section 3): the version, and the authority
/// that the target names.
fn read_request_line<'l>(
    line: &'l [u8],
    limits: &ListenerLimits,
) -> Result<(Version, Option<&'l str>), Refusal> {
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
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Refusal::BadRequest("the HTTP version is not 1.0, 1.1 or 2")),
    };
    Ok((version, target::authority(target)?))
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
mod tests;
