use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use uuid::Uuid;

use super::fields::{single, single_value};

/// The number of a request in all logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The number of an interaction (FAPI 1.0 part 1, section 6.2.1): echoed in the answer.
pub const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");

/// Longest request id that is taken from a client; it stands in every log line.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The request's id: the client's, if it is one field of at most 128 letters, digits, dots,
/// underscores and hyphens, so that it can't forge a log line; else `fresh`.
pub fn request_id(headers: &HeaderMap, fresh: impl FnOnce() -> Uuid) -> String {
    single(headers, &REQUEST_ID)
        .filter(|id| is_safe_id(id))
        .map_or_else(|| text(fresh(), &mut Uuid::encode_buffer()).to_owned(), str::to_owned)
}

fn is_safe_id(id: &str) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The interaction's id: the client's, if it is one UUID in its 36-character form (RFC 9562
/// section 4), as it was spelt; else `fresh`.
pub fn interaction_id(headers: &HeaderMap, fresh: impl FnOnce() -> Uuid) -> HeaderValue {
    let is_id =
        |value: &&HeaderValue| value.len() == 36 && Uuid::try_parse_ascii(value.as_bytes()).is_ok();
    if let Some(given) = single_value(headers, &INTERACTION_ID).filter(is_id) {
        return given.clone();
    }
    // A UUID's text has nothing that a value can't have.
    HeaderValue::from_str(text(fresh(), &mut Uuid::encode_buffer()))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// As `Display` has it, in a third of the time.
fn text(id: Uuid, buffer: &mut [u8]) -> &str {
    id.hyphenated().encode_lower(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Uuid = Uuid::from_u128(7);

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        values.iter().map(|text| (name.clone(), value(text))).collect()
    }

    #[test]
    fn a_safe_request_id_is_kept() {
        for id in ["1", "a.B_c-9", &"x".repeat(128)] {
            assert_eq!(request_id(&with(REQUEST_ID, &[id]), || FRESH), id);
        }
    }

    #[test]
    fn an_unsafe_request_id_is_replaced() {
        let fresh = FRESH.to_string();
        for ids in
            [&[] as &[&str], &[""], &["a b"], &["a\"b"], &["ä"], &["a", "b"], &[&"x".repeat(129)]]
        {
            assert_eq!(request_id(&with(REQUEST_ID, ids), || FRESH), fresh, "{ids:?}");
        }
    }

    #[test]
    fn an_interaction_id_is_echoed_as_it_was_spelt_if_it_is_a_uuid() {
        let id = "93BAC548-d2de-4546-b106-880a5018460d";
        assert_eq!(interaction_id(&with(INTERACTION_ID, &[id]), || FRESH), id);
        for bad in
            ["93bac548d2de4546b106880a5018460d", "{93bac548-d2de-4546-b106-880a5018460d}", "x"]
        {
            let echoed = interaction_id(&with(INTERACTION_ID, &[bad]), || FRESH);
            assert_eq!(echoed, FRESH.to_string(), "{bad}");
        }
    }
}
