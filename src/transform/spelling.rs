use http::{Request, Response};
use pingora::http::{RequestHeader, ResponseHeader};

/// Fields that the gateway adds to a request, about.
const ADDED: usize = 8;

/// Forgets how a request's field names were spelt: they go out in lower case, as over HTTP/2.
/// Pingora keeps the spelling in a second map, and each edit would be made in both. Makes room for
/// what is added.
///
/// The target goes too, where it is not what the URI says: set it anew afterwards.
pub fn forget_request_spelling(head: &mut RequestHeader) {
    let nothing = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(std::mem::replace(head, nothing));
    // Fails beyond 2^15 fields, and then there is room for none.
    let _ = parts.headers.try_reserve(ADDED);
    *head = RequestHeader::from(parts);
}

/// The same of an answer; its reason phrase stays.
pub fn forget_response_spelling(head: &mut ResponseHeader) -> pingora::Result<()> {
    let own =
        head.get_reason_phrase().filter(|phrase| Some(*phrase) != head.status.canonical_reason());
    let own = own.map(str::to_owned);
    let nothing = ResponseHeader::from(Response::new(()).into_parts().0);
    let parts = http::response::Parts::from(std::mem::replace(head, nothing));
    *head = ResponseHeader::from(parts);
    own.map_or(Ok(()), |phrase| head.set_reason_phrase(Some(&phrase)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_method_version_and_target_stay_and_names_are_lower_case() {
        let mut head = RequestHeader::build("POST", b"/a?b=c", None).unwrap();
        head.append_header("X-Two", "1").unwrap();
        head.append_header("X-Two", "2").unwrap();
        forget_request_spelling(&mut head);
        assert_eq!((head.method.as_str(), head.raw_path()), ("POST", &b"/a?b=c"[..]));
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        assert_eq!(String::from_utf8(wire).unwrap(), "x-two: 1\r\nx-two: 2\r\n");
    }

    #[test]
    fn an_answer_keeps_its_reason() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.append_header("X-One", "1").unwrap();
        head.set_reason_phrase(Some("Fine")).unwrap();
        forget_response_spelling(&mut head).unwrap();
        assert_eq!((head.status.as_u16(), head.get_reason_phrase()), (200, Some("Fine")));
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        assert_eq!(String::from_utf8(wire).unwrap(), "x-one: 1\r\n");
    }
}
