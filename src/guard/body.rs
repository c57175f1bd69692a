use http::{HeaderMap, header};

use crate::request::Refusal;

/// What is left of the bytes that a request's body may have.
///
/// The length announced is checked at once; what really comes is counted besides, since a chunked
/// body announces nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyBudget {
    limit: u64,
    left: u64,
}

impl BodyBudget {
    /// A budget of `limit` bytes for a body that announces `content_length`.
    ///
    /// # Errors
    /// [`Refusal::BodyTooLarge`] if the announced length is above it.
    pub fn new(limit: u64, content_length: Option<u64>) -> Result<Self, Refusal> {
        match content_length {
            Some(length) if length > limit => Err(Refusal::BodyTooLarge { limit }),
            Some(_) | None => Ok(Self { limit, left: limit }),
        }
    }

    /// Counts a piece of the body.
    ///
    /// # Errors
    /// [`Refusal::BodyTooLarge`] from the piece on that goes beyond the limit.
    pub fn take(&mut self, length: usize) -> Result<(), Refusal> {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        match self.left.checked_sub(length) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Refusal::BodyTooLarge { limit: self.limit })
            }
        }
    }
}

/// The length that a request's head announces (RFC 9110 section 8.6); `None` if it has none.
///
/// # Errors
/// [`Refusal::BadRequest`] for a length that isn't one number, written in digits alone.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let read = digits(value.as_bytes())
            .ok_or(Refusal::BadRequest("Content-Length is not a number"))?;
        if length.is_some_and(|other| other != read) {
            return Err(Refusal::BadRequest("several Content-Length fields disagree"));
        }
        length = Some(read);
    }
    Ok(length)
}

/// A number in digits alone: `u64::from_str` would take a sign as well.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether a request says that its body is JSON which the gateway can read.
///
/// # Errors
/// [`Refusal::UnsupportedMediaType`] without exactly one JSON `Content-Type`, or with a
/// `Content-Encoding`: a body that one reader unpacks and another doesn't would pass unseen.
pub fn check_json_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (types.next(), types.next());
    let is_json = first.and_then(|value| value.to_str().ok()).is_some_and(is_json_media_type);
    let is_plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_json && second.is_none() && is_plain {
        Ok(())
    } else {
        Err(Refusal::UnsupportedMediaType)
    }
}

/// Whether a media type is `application/json` or `application/….+json` (RFC 6839 section 3.1),
/// without another charset than UTF-8.
pub fn is_json_media_type(text: &str) -> bool {
    let mut parts = text.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|subtype| {
            subtype.strip_suffix("+json").is_some_and(|kind| !kind.is_empty())
        });
    is_json && parts.all(is_harmless_parameter)
}

fn is_harmless_parameter(parameter: &str) -> bool {
    match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_body_announced_too_large_is_refused_before_it_comes() {
        assert_eq!(BodyBudget::new(10, Some(11)), Err(Refusal::BodyTooLarge { limit: 10 }));
        assert!(BodyBudget::new(10, Some(10)).is_ok());
    }

    #[test]
    fn a_body_that_grows_too_large_is_refused_at_the_byte_too_many() {
        let mut budget = BodyBudget::new(10, None).unwrap();
        assert_eq!(budget.take(6), Ok(()));
        assert_eq!(budget.take(4), Ok(()));
        assert_eq!(budget.take(0), Ok(()));
        assert_eq!(budget.take(1), Err(Refusal::BodyTooLarge { limit: 10 }));
    }

    #[test]
    fn after_a_piece_too_many_no_smaller_one_slips_in() {
        let mut budget = BodyBudget::new(10, None).unwrap();
        assert!(budget.take(usize::MAX).is_err());
        assert!(budget.take(1).is_err());
    }

    #[test]
    fn a_content_length_is_digits_and_says_one_thing() {
        let length = |fields: &[_]| content_length(&headers(fields));
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&[("content-length", "12")]), Ok(Some(12)));
        assert_eq!(length(&[("content-length", "12"), ("content-length", "12")]), Ok(Some(12)));
        assert!(length(&[("content-length", "12"), ("content-length", "13")]).is_err());
        for bad in ["", "+1", "-1", "0x10", "1 2", "1,1", "99999999999999999999", "１"] {
            let mut map = HeaderMap::new();
            map.insert("content-length", HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert!(content_length(&map).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_plain_json_is_taken_for_json() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/fdx+json",
            "application/merge-patch+json ; v=1",
        ] {
            assert!(is_json_media_type(good), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/x-www-form-urlencoded",
            "application/json5",
            "json",
            "application/+json",
            "text/plain+json",
            "application/json; charset=utf-16",
        ] {
            assert!(!is_json_media_type(bad), "{bad}");
        }
    }

    #[test]
    fn a_json_body_needs_one_type_and_no_coding() {
        let check = |fields: &[_]| check_json_media_type(&headers(fields));
        let json = ("content-type", "application/json");
        assert_eq!(check(&[json]), Ok(()));
        assert_eq!(check(&[json, ("content-encoding", "identity")]), Ok(()));
        assert_eq!(check(&[]), Err(Refusal::UnsupportedMediaType));
        assert_eq!(
            check(&[json, ("content-encoding", "gzip")]),
            Err(Refusal::UnsupportedMediaType)
        );
        assert_eq!(
            check(&[json, ("content-type", "text/plain")]),
            Err(Refusal::UnsupportedMediaType)
        );
        assert_eq!(check(&[json, json]), Err(Refusal::UnsupportedMediaType));
    }
}
