use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use pingora::http::RequestHeader;
use pingora::protocols::http::conditional_filter::not_modified_filter;
use proptest::prelude::*;

use super::*;
use crate::vault::testing::{HOUR, NOW, ok, policy};

type Fields<'f> = &'f [(&'static str, &'f str)];

/// How long an answer with these fields is fresh; `None` if it is not kept.
fn fresh_for(fields: Fields<'_>) -> Option<Duration> {
    kept(&policy(), fields).map(|meta| meta.fresh_until().duration_since(now()).unwrap())
}

fn kept(policy: &CachePolicy, fields: Fields<'_>) -> Option<CacheMeta> {
    match judge(policy, &ok(fields), false, NOW) {
        RespCacheable::Cacheable(meta) => Some(meta),
        RespCacheable::Uncacheable(_) => None,
    }
}

fn now() -> SystemTime {
    system_time(NOW)
}

fn headers(fields: Fields<'_>) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// NOW is 2027-01-15T08:00:00Z.
const DATE_NOW: &str = "Fri, 15 Jan 2027 08:00:00 GMT";
const TEN_MINUTES_AGO: &str = "Fri, 15 Jan 2027 07:50:00 GMT";
const IN_TEN_MINUTES: &str = "Fri, 15 Jan 2027 08:10:00 GMT";

#[test]
fn the_route_says_how_long_and_the_backend_may_say_less() {
    let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
    let cases: [(Fields<'_>, Option<Duration>); 27] = [
        (&[], Some(HOUR)),
        (&[("Cache-Control", "public")], Some(HOUR)),
        (&[("Cache-Control", "max-age=600")], minutes(10)),
        (&[("Cache-Control", "max-age=7200")], Some(HOUR)),
        (&[("Cache-Control", "max-age=600, s-maxage=1200")], minutes(20)),
        (&[("Cache-Control", "s-maxage=600, max-age=1200")], minutes(10)),
        (&[("Cache-Control", "max-age=0")], None),
        (&[("Cache-Control", "max-age=soon")], None),
        (&[("Cache-Control", "no-store")], None),
        (&[("Cache-Control", "no-store, max-age=600")], None),
        (&[("Cache-Control", "private")], None),
        (&[("Cache-Control", "PRIVATE, max-age=600")], None),
        (&[("Cache-Control", "no-cache")], None),
        (&[("Cache-Control", "private=\"x-a\"")], Some(HOUR)),
        (&[("Cache-Control", "max-age=600"), ("Age", "60")], minutes(9)),
        (&[("Cache-Control", "max-age=600"), ("Age", "600")], None),
        (&[("Age", "600")], minutes(50)),
        (&[("Age", "never")], Some(HOUR)),
        (&[("Age", "99999999999999999999")], Some(HOUR)),
        (&[("Date", TEN_MINUTES_AGO)], minutes(50)),
        (&[("Date", TEN_MINUTES_AGO), ("Age", "1200")], minutes(40)),
        (&[("Date", IN_TEN_MINUTES)], Some(HOUR)),
        (&[("Expires", IN_TEN_MINUTES), ("Date", DATE_NOW)], minutes(10)),
        (&[("Expires", IN_TEN_MINUTES), ("Cache-Control", "max-age=60")], minutes(1)),
        (&[("Expires", "0")], None),
        (&[("Expires", TEN_MINUTES_AGO)], None),
        (&[("Set-Cookie", "a=b")], None),
    ];
    for (fields, expected) in cases {
        assert_eq!(fresh_for(fields), expected, "{fields:?}");
    }
}

#[test]
fn only_complete_answers_with_200_are_kept() {
    for status in [201, 204, 206, 301, 304, 400, 404, 429, 500, 503] {
        let header = ResponseHeader::build(status, None).unwrap();
        assert!(!judge(&policy(), &header, false, NOW).is_cacheable(), "{status}");
    }
    assert!(!judge(&policy(), &ok(&[]), true, NOW).is_cacheable());
    let partial_too = CachePolicy { keep_partial: true, ..policy() };
    assert!(judge(&partial_too, &ok(&[]), true, NOW).is_cacheable());
}

#[test]
fn an_answer_that_varies_by_everything_is_not_kept() {
    assert_eq!(fresh_for(&[("Vary", "*")]), None);
    assert_eq!(fresh_for(&[("Vary", "Accept"), ("Vary", "Accept-Language, *")]), None);
    assert_eq!(fresh_for(&[("Vary", "Accept")]), Some(HOUR));
}

#[test]
fn age_counts_from_when_the_answer_was_made() {
    let meta = kept(&policy(), &[("Age", "60")]).unwrap();
    assert_eq!(now().duration_since(meta.epoch()).unwrap(), Duration::from_secs(60));
    assert!(meta.headers().get(AGE).is_none(), "the proxy counts it anew");
    assert_eq!(kept(&policy(), &[]).unwrap().epoch(), now());
}

#[test]
fn a_confirmed_answer_is_as_young_as_its_confirmation() {
    let old = ok(&[("Date", TEN_MINUTES_AGO), ("ETag", "\"1\""), ("Content-Type", "text/plain")]);
    let fresh_after = |fields: Fields<'_>| {
        let RespCacheable::Cacheable(meta) =
            judge(&policy(), &confirmed(&old, &headers(fields)), false, NOW)
        else {
            return None;
        };
        assert_eq!(meta.headers()["content-type"], "text/plain");
        Some(meta.fresh_until().duration_since(now()).unwrap())
    };
    assert_eq!(fresh_after(&[("Date", DATE_NOW), ("Content-Type", "text/html")]), Some(HOUR));
    assert_eq!(fresh_after(&[]), Some(HOUR), "one without a date is of now");
    let minute = Some(Duration::from_secs(60));
    assert_eq!(fresh_after(&[("Cache-Control", "max-age=60")]), minute);
    assert_eq!(fresh_after(&[("Cache-Control", "no-store")]), None);
}

#[test]
fn stale_answers_stand_in_for_errors_as_the_route_says_unless_the_backend_forbids_it() {
    let policy = CachePolicy { stale_if_error: Duration::from_secs(300), ..policy() };
    let stale =
        |control: &str| kept(&policy, &[("Cache-Control", control)]).unwrap().stale_if_error_sec();
    assert_eq!(kept(&policy, &[]).unwrap().stale_if_error_sec(), 300);
    assert_eq!(stale("max-age=60"), 300);
    assert_eq!(stale("max-age=60, must-revalidate"), 0);
    assert_eq!(stale("max-age=60, proxy-revalidate"), 0);
    assert_eq!(stale("s-maxage=60"), 0);
    assert_eq!(kept(&policy, &[]).unwrap().stale_while_revalidate_sec(), 0);
}

#[test]
fn fields_of_one_exchange_or_connection_are_not_told_to_the_next_caller() {
    let meta = kept(
        &policy(),
        &[
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Keep-Alive", "timeout=5"),
            ("X-Request-Id", "1"),
            ("X-FAPI-Interaction-Id", "1"),
            ("RateLimit", "\"a\";r=1"),
            ("Cache-Control", "no-cache=\"x-secret\""),
            ("X-Secret", "1"),
            ("Content-Type", "application/json"),
            ("ETag", "\"v1\""),
        ],
    )
    .unwrap();
    let mut names: Vec<_> = meta.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-type", "etag"]);
}

#[test]
fn variants_are_told_apart_by_the_fields_in_vary_that_the_key_lacks() {
    let meta = kept(&policy(), &[("Vary", "Accept-Encoding, Accept-Language")]).unwrap();
    let of = |policy: &CachePolicy, fields: Fields<'_>| variance(policy, &meta, &headers(fields));
    let plain = of(&policy(), &[]);
    let german = of(&policy(), &[("accept-language", "de")]);
    assert!(plain.is_some());
    assert_ne!(plain, german);
    assert_eq!(german, of(&policy(), &[("accept-language", "de"), ("accept", "x")]));
    let two = of(&policy(), &[("accept-language", "d"), ("accept-language", "e")]);
    assert_ne!(two, german);

    let in_key = CachePolicy { headers: vec![ACCEPT_LANGUAGE, ACCEPT_ENCODING], ..policy() };
    assert_eq!(of(&in_key, &[("accept-language", "de")]), None);
    let unvaried = kept(&policy(), &[]).unwrap();
    assert_eq!(variance(&policy(), &unvaried, &headers(&[])), None);
}

#[test]
fn only_safe_requests_without_a_body_are_looked_up() {
    let bypasses =
        |method: Method, fields: Fields<'_>| request_bypasses(&policy(), &method, &headers(fields));
    assert!(!bypasses(Method::GET, &[]));
    assert!(!bypasses(Method::HEAD, &[]));
    assert!(!bypasses(Method::GET, &[("content-length", "0")]));
    assert!(!bypasses(Method::GET, &[("cache-control", "no-store")]), "not obeyed");
    assert!(bypasses(Method::GET, &[("content-length", "2")]));
    assert!(bypasses(Method::GET, &[("transfer-encoding", "chunked")]));
    assert!(bypasses(Method::GET, &[("upgrade", "websocket")]));
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        assert!(bypasses(method, &[]));
    }
}

#[test]
fn the_caller_s_cache_control_counts_where_the_route_obeys_it() {
    let obeys = CachePolicy { obey_request: true, ..policy() };
    let get = |policy: &CachePolicy, control: &str| {
        let headers = headers(&[("cache-control", control)]);
        request_bypasses(policy, &Method::GET, &headers)
    };
    assert!(get(&obeys, "no-store"));
    assert!(!get(&obeys, "no-cache"));
    assert!(only_if_cached(&obeys, &headers(&[("cache-control", "only-if-cached")])));
    assert!(!only_if_cached(&policy(), &headers(&[("cache-control", "only-if-cached")])));

    let meta = kept(&obeys, &[]).unwrap();
    let later = NOW.plus(Duration::from_secs(600));
    let refused = |policy: &CachePolicy, fields: Fields<'_>| {
        hit_refused(policy, &headers(fields), &meta, later).is_some()
    };
    for (fields, expected) in [
        (&[("cache-control", "no-cache")], true),
        (&[("cache-control", "max-age=0")], true),
        (&[("cache-control", "max-age=599")], true),
        (&[("cache-control", "max-age=600")], false),
        (&[("cache-control", "min-fresh=3001")], true),
        (&[("cache-control", "min-fresh=3000")], false),
        (&[("cache-control", "max-stale")], false),
        (&[("pragma", "no-cache")], true),
        (&[("accept", "*/*")], false),
    ] {
        assert_eq!(refused(&obeys, fields), expected, "{fields:?}");
        assert!(!refused(&policy(), fields), "{fields:?}");
    }
    let contradiction = [("pragma", "no-cache"), ("cache-control", "max-age=9999")];
    assert!(!refused(&obeys, &contradiction), "Cache-Control speaks for itself");
}

#[test]
fn a_stale_answer_stands_in_for_the_backend_s_failures_only() {
    let error = |kind, source| Error::create(kind, source, None, None);
    let timeout = error(ErrorType::ConnectTimedout, ErrorSource::Upstream);
    assert!(serves_stale(Some(&timeout)));
    assert!(serves_stale(Some(&error(ErrorType::HTTPStatus(503), ErrorSource::Internal))));
    assert!(!serves_stale(Some(&error(ErrorType::HTTPStatus(404), ErrorSource::Internal))));
    assert!(!serves_stale(Some(&error(ErrorType::ConnectionClosed, ErrorSource::Downstream))));
    assert!(!serves_stale(Some(&error(ErrorType::InternalError, ErrorSource::Internal))));
    assert!(!serves_stale(None));
}

/// The proxy's own filter does this; these are the cases that RFC 9110 section 13.1.2 asks for.
#[test]
fn if_none_match_takes_lists_weak_tags_and_a_star() {
    let not_modified = |asked: &[&str], tag: &str| {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        asked.iter().for_each(|value| {
            request.append_header("If-None-Match", *value).unwrap();
        });
        not_modified_filter(&request, &ok(&[("ETag", tag)]))
    };
    assert!(not_modified(&["\"a\""], "\"a\""));
    assert!(not_modified(&["W/\"a\""], "\"a\""));
    assert!(not_modified(&["\"a\""], "W/\"a\""));
    assert!(not_modified(&["\"x\", W/\"y\" , \"a\""], "\"a\""));
    assert!(not_modified(&["\"x\"", "\"a\""], "\"a\""));
    assert!(not_modified(&["*"], "\"a\""));
    assert!(!not_modified(&["\"b\""], "\"a\""));
    assert!(!not_modified(&["\"aa\""], "\"a\""));
}

proptest! {
    #[test]
    fn no_field_of_a_backend_makes_an_answer_fresh_for_longer_than_the_route_says(
        control in "[ -~]{0,40}", seconds in any::<u64>(), age in "[0-9a-z -]{0,25}",
        date in "[ -~]{0,30}", fresh in any::<u64>(),
    ) {
        let policy = CachePolicy { fresh: Duration::from_secs(fresh), ..policy() };
        let stated = format!("max-age={seconds}, {control}");
        for control in [control.as_str(), stated.as_str()] {
            let fields = [("Cache-Control", control), ("Age", &age), ("Date", &date), ("Expires", &date)];
            if let Some(meta) = kept(&policy, &fields) {
                let left = meta.fresh_until().duration_since(now()).unwrap();
                prop_assert!(left <= policy.fresh);
                prop_assert!(meta.epoch() <= now());
            }
        }
    }
}
