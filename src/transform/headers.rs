use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::Fields;
use crate::config::model::HeaderEdits;
use crate::request::{Facts, Template};

/// Applies edits to a request's or response's head, in the order remove, rename, set, add.
///
/// - `rename` adds to fields that already have the second name.
/// - `set` takes away what stands there even if the request lacks the value: otherwise a client
///   could fill in, with a field of its own, what the gateway had nothing to say about.
/// - A value that can't stand in a field (a line break, another control character) counts as
///   absent, so that no value splits a head.
/// - Fields that frame the message or belong to one connection are left alone whatever the edits
///   say: a value from a request in one of them is request smuggling.
pub fn apply(edits: &HeaderEdits, head: &mut impl Fields, facts: &Facts<'_>) {
    for name in edits.remove.iter().filter(|name| is_editable(name)) {
        head.remove(name);
    }
    for (from, to) in edits.rename.iter().filter(|(from, to)| is_editable(from) && is_editable(to))
    {
        rename(head, from, to);
    }
    for (name, template) in edits.set.iter().filter(|(name, _)| is_editable(name)) {
        match render(template, facts) {
            Some(value) => head.put(name, value),
            None => head.remove(name),
        }
    }
    for (name, template) in edits.add.iter().filter(|(name, _)| is_editable(name)) {
        if let Some(value) = render(template, facts) {
            head.append(name, value);
        }
    }
}

fn rename(head: &mut impl Fields, from: &HeaderName, to: &HeaderName) {
    let values: Vec<HeaderValue> = head.fields().get_all(from).iter().cloned().collect();
    head.remove(from);
    for value in values {
        head.append(to, value);
    }
}

fn render(template: &Template, facts: &Facts<'_>) -> Option<HeaderValue> {
    let text = template.render(facts)?;
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

fn is_editable(name: &HeaderName) -> bool {
    const FRAMING: [HeaderName; 6] =
        [CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    !FRAMING.contains(name)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::{HeaderMap, Method};
    use pingora::http::{RequestHeader, ResponseHeader};

    use super::*;
    use crate::request::{Captures, NormalPath, RequestHead, RouteId};

    struct Request {
        head: RequestHead,
        headers: HeaderMap,
        route: RouteId,
        captures: Captures,
    }

    fn request(query: &str) -> Request {
        Request {
            head: RequestHead {
                method: Method::GET,
                https: true,
                host: "bank.example".into(),
                path: NormalPath { decoded: "/".into(), encoded: "/".into() },
                query: Some(query.into()),
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                certificate_thumbprint: None,
                request_id: "r-1".into(),
            },
            headers: HeaderMap::new(),
            route: RouteId::new("summary"),
            captures: Captures::default(),
        }
    }

    impl Request {
        fn facts(&self) -> Facts<'_> {
            Facts {
                head: &self.head,
                headers: &self.headers,
                route: &self.route,
                captures: &self.captures,
                caller: None,
                account: None,
                body: None,
            }
        }
    }

    fn name(text: &'static str) -> HeaderName {
        HeaderName::from_static(text)
    }

    fn template(text: &str) -> Template {
        Template::parse(text, &[]).unwrap()
    }

    /// The lines that a backend gets, by name; those of one name in their order.
    fn wire(head: &RequestHeader) -> Vec<String> {
        let mut bytes = Vec::new();
        head.header_to_h1_wire(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_by_key(|line| line.split_once(':').map(|(name, _)| name.to_lowercase()));
        lines
    }

    #[test]
    fn edits_run_in_the_order_remove_rename_set_add() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.append_header("X-New", "stale").unwrap();
        head.append_header("X-Old", "1").unwrap();
        head.append_header("X-Old", "2").unwrap();
        head.append_header("X-Mine", "spoofed").unwrap();
        let edits = HeaderEdits {
            remove: vec![name("x-new")],
            rename: vec![(name("x-old"), name("x-new"))],
            set: vec![(name("x-mine"), template("{route} of {host}"))],
            add: vec![(name("x-mine"), template("more"))],
        };
        apply(&edits, &mut head, &request("").facts());
        assert_eq!(
            wire(&head),
            ["x-mine: summary of bank.example", "x-mine: more", "x-new: 1", "x-new: 2"]
        );
    }

    #[test]
    fn the_spelling_of_untouched_names_is_kept_on_the_wire() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.append_header("X-FAPI-Auth-Date", "today").unwrap();
        head.append_header("X-Gone", "1").unwrap();
        let edits = HeaderEdits { remove: vec![name("x-gone")], ..HeaderEdits::default() };
        apply(&edits, &mut head, &request("").facts());
        assert_eq!(wire(&head), ["X-FAPI-Auth-Date: today"]);
    }

    #[test]
    fn a_value_that_the_request_lacks_leaves_no_field_of_the_clients() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.append_header("x-client", "spoofed").unwrap();
        let edits = HeaderEdits {
            set: vec![(name("x-client"), template("{client}"))],
            add: vec![(name("x-more"), template("{query.absent}"))],
            ..HeaderEdits::default()
        };
        apply(&edits, &mut head, &request("").facts());
        assert!(head.headers.is_empty());
    }

    #[test]
    fn a_line_break_in_a_value_never_reaches_the_head() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        let edits = HeaderEdits {
            set: vec![(name("x-echo"), template("{query.q}"))],
            add: vec![(name("x-echo"), template("a{query.q}"))],
            ..HeaderEdits::default()
        };
        for query in ["q=a%0d%0aset-cookie:x=1", "q=a%0ab", "q=%00", "q=%7f"] {
            apply(&edits, &mut head, &request(query).facts());
            assert!(head.headers.is_empty(), "{query}");
        }
        apply(&edits, &mut head, &request("q=J%C3%B6rg").facts());
        assert_eq!(head.headers["x-echo"].as_bytes(), "Jörg".as_bytes());
    }

    #[test]
    fn framing_fields_can_not_be_edited() {
        let mut head = RequestHeader::build("POST", b"/", None).unwrap();
        head.append_header("content-length", "5").unwrap();
        head.append_header("x-trick", "chunked").unwrap();
        let edits = HeaderEdits {
            remove: vec![CONTENT_LENGTH],
            rename: vec![(name("x-trick"), TRANSFER_ENCODING)],
            set: vec![(CONTENT_LENGTH, template("0"))],
            add: vec![(CONNECTION, template("close"))],
        };
        apply(&edits, &mut head, &request("").facts());
        assert_eq!(wire(&head), ["content-length: 5", "x-trick: chunked"]);
    }
}
