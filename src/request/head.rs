use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method};

/// Why a request target can't be given one unambiguous meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not an absolute path (RFC 9112 section 3.2.1).
    #[error("the path does not start with '/'")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken percent escape")]
    BrokenEscape,
    /// Decodes to bytes that are not UTF-8.
    #[error("the path does not decode to UTF-8")]
    NotUtf8,
    /// An escaped or raw NUL or other control character.
    #[error("the path has a control character")]
    ControlCharacter,
    /// An escaped slash or any backslash: backends disagree on what they mean.
    #[error("the path has an encoded slash or a backslash")]
    AmbiguousSeparator,
    /// More `..` than segments before it.
    #[error("the path leaves its root")]
    AboveRoot,
}

/// A path in its one normal form: every spelling of it reads the same for route matching, for
/// policies, for cache keys and for the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NormalPath {
    /// Decoded once; single slashes; no dot segments.
    pub decoded: String,
    /// The same path, escaped again for the wire.
    pub encoded: String,
}

/// What a request says of itself in its first lines, normalised once.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// `https` on a TLS listener, else `http`.
    pub https: bool,
    /// Host without port, lower case, without a trailing dot.
    pub host: String,
    /// The path.
    pub path: NormalPath,
    /// The query without `?`, as it came.
    pub query: Option<String>,
    /// The caller's address: the peer's, or what a trusted proxy says.
    pub address: IpAddr,
    /// SHA-256 of the client certificate that TLS verified.
    pub certificate_thumbprint: Option<[u8; 32]>,
    /// Number of this request in all logs: `x-request-id`.
    pub request_id: String,
}

impl Default for RequestHead {
    /// Of a request whose head was not read yet: it matches no route.
    fn default() -> Self {
        Self {
            method: Method::GET,
            https: false,
            host: String::new(),
            path: NormalPath { decoded: String::new(), encoded: String::new() },
            query: None,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            certificate_thumbprint: None,
            request_id: String::new(),
        }
    }
}

impl RequestHead {
    /// The first value of a query parameter, decoded (application/x-www-form-urlencoded).
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All values of a query parameter in order, decoded.
    pub fn query_values(&self, name: &str) -> impl Iterator<Item = String> {
        self.query_pairs().filter(move |(key, _)| key == name).map(|(_, value)| value)
    }

    /// All query parameters in order, decoded; bytes that are not UTF-8 become U+FFFD.
    pub fn query_pairs(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let query = self.query.as_deref().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).map(|(key, value)| (key.into(), value.into()))
    }
}

/// The first value of a header as text; `None` if absent or not visible ASCII.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a field value has a character that ends or splits it for some reader (RFC 9110
/// section 5.5). Looks at all of it: without a way out, compilers take many bytes at a time.
pub fn has_control(value: &[u8]) -> bool {
    value.iter().fold(false, |found, byte| found | (byte.is_ascii_control() & (*byte != b'\t')))
}

#[cfg(test)]
mod tests {
    use super::has_control;

    #[test]
    fn control_characters_in_values_are_seen() {
        for bad in [&b"a\0"[..], b"a\rb", b"a\nb", b"\x7f", b"\x1b[0m"] {
            assert!(has_control(bad), "{}", bad.escape_ascii());
        }
        for good in [&b""[..], b"a b\tc", "é".as_bytes(), b"\xff"] {
            assert!(!has_control(good), "{}", good.escape_ascii());
        }
    }
}
