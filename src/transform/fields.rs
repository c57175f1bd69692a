use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

/// A head whose fields can be edited. Pingora's heads keep the spelling of names beside the map
/// and must be edited through their own methods; this is the one word for both of them, and for
/// a plain map.
pub trait Fields {
    /// The fields as they stand.
    fn fields(&self) -> &HeaderMap;

    /// One field of this name instead of any.
    fn put(&mut self, name: &HeaderName, value: HeaderValue);

    /// One field more of this name. A head that has as many fields as a map can hold (2^15) stays
    /// as it is.
    fn append(&mut self, name: &HeaderName, value: HeaderValue);

    /// No field of this name.
    fn remove(&mut self, name: &HeaderName);
}

impl Fields for RequestHeader {
    fn fields(&self) -> &HeaderMap {
        &self.headers
    }

    fn put(&mut self, name: &HeaderName, value: HeaderValue) {
        // Fails only for names and values that are not checked yet; these are.
        let _ = self.insert_header(name, value);
    }

    fn append(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.append_header(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

impl Fields for ResponseHeader {
    fn fields(&self) -> &HeaderMap {
        &self.headers
    }

    fn put(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.insert_header(name, value);
    }

    fn append(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.append_header(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

impl Fields for HeaderMap {
    fn fields(&self) -> &HeaderMap {
        self
    }

    fn put(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.try_insert(name, value);
    }

    fn append(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.try_append(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        HeaderMap::remove(self, name);
    }
}

/// Makes one `Cookie` of those into which HTTP/2 may split it. HTTP/1.1 has only one, and nothing
/// but HTTP/2 knows what several mean (RFC 9113 section 8.2.3).
pub fn join_cookies(head: &mut impl Fields) {
    let crumbs: Vec<&[u8]> =
        head.fields().get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    // Joined from values, it is one.
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        head.put(&COOKIE, whole);
    }
}

/// The only field of this name as text; `None` if there is none, more than one, or bytes that are
/// not visible ASCII. Two values for something that has one leave nothing to believe.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    single_value(headers, name)?.to_str().ok()
}

/// The same as it came.
pub(super) fn single_value<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The members of a comma-separated list (RFC 9110 section 5.6.1), over all fields of this name.
pub(super) fn list<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}
