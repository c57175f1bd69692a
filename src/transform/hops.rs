use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

use super::Fields;
use super::fields::{list, single};
use super::forwarded::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// Names that gateways use among themselves start so.
const INTERNAL_PREFIX: &str = "x-tollgate-";

/// Says that a use was not counted.
pub const UNACCOUNTED: HeaderName = HeaderName::from_static("x-quota-unaccounted");
/// The limits that applied, and where the caller stands against them
/// (draft-ietf-httpapi-ratelimit-headers-10).
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// See [`RATE_LIMIT_POLICY`].
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Fields of one connection, besides `Connection`, `TE`, `Upgrade` and `Transfer-Encoding`, which
/// need more thought. `Proxy` is none, but backends that run CGI scripts take it for their proxy
/// setting (CVE-2016-5385).
static HOP_BY_HOP: [HeaderName; 7] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("proxy"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
];

/// Fields that a `Connection` option can't take away: they frame or route the message, or are the
/// word of a proxy in front, which its client must not be able to erase.
static NOT_NOMINATED: [HeaderName; 7] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

/// Removes a request's fields that are meant for one connection (RFC 9110 section 7.6.1):
/// `Connection` and what it lists, `Keep-Alive`, the `Proxy-` family, `TE` except `trailers`,
/// and `Upgrade`, unless it is `websocket` and that is allowed.
///
/// `Transfer-Encoding` is left to the proxy, which frames the message anew.
pub fn strip_request(head: &mut impl Fields, websocket: bool) {
    let upgrade = websocket
        && single(head.fields(), &UPGRADE)
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    let trailers = list(head.fields(), &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    strip_connection(head);
    if trailers {
        head.put(&TE, HeaderValue::from_static("trailers"));
    }
    if upgrade {
        head.put(&CONNECTION, HeaderValue::from_static("Upgrade"));
        head.put(&UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// Removes a response's fields that are meant for one connection. `switching` says that its status
/// is 101, whose `Connection` and `Upgrade` are the message itself.
pub fn strip_response(head: &mut impl Fields, switching: bool) {
    if switching {
        return;
    }
    strip_connection(head);
}

/// Removes the fields of a backend's answer in which only a gateway speaks. A backend's own limits
/// are the gateway's to keep to, and say nothing of where the caller stands.
pub fn strip_own_words(head: &mut impl Fields) {
    let own = [&UNACCOUNTED, &RATE_LIMIT_POLICY, &RATE_LIMIT];
    remove_where(head, |name| is_internal(name) || own.contains(&name));
}

/// Removes the fields by which gateways talk to each other from what comes from outside, so that
/// nobody else speaks in their name.
pub fn strip_internal(head: &mut impl Fields) {
    remove_where(head, is_internal);
}

fn is_internal(name: &HeaderName) -> bool {
    name.as_str().starts_with(INTERNAL_PREFIX)
}

/// Removes the fields that a request's `Connection` lists, before anything is decided by one of
/// them: no backend will get it. How the connection itself goes on is left as it is.
pub fn strip_nominated(head: &mut impl Fields) {
    for name in nominated(head).iter().filter(|name| ![UPGRADE, TE].contains(name)) {
        head.remove(name);
    }
}

fn strip_connection(head: &mut impl Fields) {
    let (listed, own) = (nominated(head), [&CONNECTION, &TE, &UPGRADE]);
    remove_where(head, |name| {
        listed.contains(name) || HOP_BY_HOP.contains(name) || own.contains(&name)
    });
}

fn nominated(head: &impl Fields) -> Vec<HeaderName> {
    list(head.fields(), &CONNECTION)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !NOT_NOMINATED.contains(name))
        .collect()
}

/// One look at the fields that are there, rather than one for each that might be.
pub(super) fn remove_where(head: &mut impl Fields, matches: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> =
        head.fields().keys().filter(|name| matches(name)).cloned().collect();
    for name in &names {
        head.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use pingora::http::RequestHeader;

    use super::*;

    fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    /// In alphabetical order: a map has none of its own once something was removed.
    fn names(head: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = head.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn fields_of_one_connection_do_not_pass() {
        let mut head = head(&[
            ("connection", "close, X-Hop ,, x-other"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("proxy", "http://evil.example"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ]);
        strip_request(&mut head, true);
        assert_eq!(names(&head), ["accept", "transfer-encoding"]);
    }

    #[test]
    fn a_client_can_not_have_the_gateway_drop_host_framing_or_a_proxys_word() {
        let mut head = head(&[
            ("connection", "host, content-length, x-forwarded-for, a b, authorization"),
            ("host", "a"),
            ("content-length", "3"),
            ("x-forwarded-for", "192.0.2.1"),
        ]);
        strip_request(&mut head, false);
        for name in ["host", "content-length", "x-forwarded-for"] {
            assert!(head.contains_key(name), "{name}");
        }
        assert_eq!(head.len(), 3);
    }

    #[test]
    fn what_goes_with_the_connection_is_gone_before_anybody_reads_it() {
        let mut head = head(&[
            ("connection", "upgrade, te, x-class, host"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("x-class", "1"),
            ("host", "a"),
        ]);
        strip_nominated(&mut head);
        assert_eq!(names(&head), ["connection", "host", "te", "upgrade"]);
    }

    #[test]
    fn te_keeps_trailers_and_nothing_else() {
        let mut head = head(&[("te", "gzip;q=1, Trailers")]);
        strip_request(&mut head, false);
        assert_eq!(head["te"], "trailers");
    }

    #[test]
    fn a_websocket_handshake_passes_only_where_it_is_allowed() {
        let handshake =
            [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), ("host", "a")];
        let mut allowed = head(&handshake);
        strip_request(&mut allowed, true);
        assert_eq!(allowed["connection"], "Upgrade");
        assert_eq!(allowed["upgrade"], "websocket");
        let mut refused = head(&handshake);
        strip_request(&mut refused, false);
        assert_eq!(names(&refused), ["host"]);
    }

    #[test]
    fn a_response_loses_its_connection_fields_but_not_its_switch_of_protocols() {
        let fields = [("connection", "upgrade"), ("upgrade", "websocket"), ("server", "x")];
        let mut ordinary = head(&fields);
        strip_response(&mut ordinary, false);
        assert_eq!(names(&ordinary), ["server"]);
        let mut switching = head(&fields);
        strip_response(&mut switching, true);
        assert_eq!(names(&switching), ["connection", "server", "upgrade"]);
    }

    #[test]
    fn a_backend_does_not_speak_in_the_gateways_name() {
        let mut answer = head(&[
            ("x-tollgate-owner", "10.0.0.1:8443"),
            ("x-quota-unaccounted", "true"),
            ("ratelimit", "\"theirs\";r=0;t=1"),
            ("ratelimit-policy", "\"theirs\";q=1;w=1"),
            ("te", "trailers"),
            ("cache-status", "core; hit"),
            ("retry-after", "1"),
        ]);
        strip_response(&mut answer, false);
        strip_own_words(&mut answer);
        assert_eq!(names(&answer), ["cache-status", "retry-after"]);
    }

    #[test]
    fn nobody_outside_speaks_in_a_gateways_name() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for name in ["X-Tollgate-Caller", "x-tollgate-", "X-TOLLGATE-Hop", "x-tollgat"] {
            head.append_header(name, "1").unwrap();
        }
        strip_internal(&mut head);
        assert_eq!(names(&head.headers), ["x-tollgat"]);
    }
}
