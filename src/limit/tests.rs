use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::request::{
    Caller, Captures, ManualClock, RequestHead, RouteId, UnixMillis, ValueSource,
};

fn rate(name: &str, per: &[&str], requests: u32, burst: u32) -> Arc<Rate> {
    Arc::new(Rate {
        name: name.into(),
        per: per.iter().map(|text| ValueSource::parse(text).unwrap()).collect(),
        requests: NonZeroU32::new(requests).unwrap(),
        window: Duration::from_secs(1),
        burst: NonZeroU32::new(burst).unwrap(),
    })
}

fn bound(name: &str, per: &[&str], limit: u32) -> Arc<Concurrency> {
    let per = per.iter().map(|text| ValueSource::parse(text).unwrap()).collect();
    Arc::new(Concurrency { name: name.into(), per, limit })
}

/// A request, as far as limits look at it.
#[derive(Default)]
struct Asked {
    head: RequestHead,
    headers: HeaderMap,
    caller: Option<Caller>,
    captures: Captures,
}

impl Asked {
    fn by(client: &str) -> Self {
        let caller = Caller {
            provider: "bank".into(),
            client: client.into(),
            subject: None,
            scopes: Vec::new(),
            claims: serde_json::Map::new(),
            certificate_thumbprint: None,
            expires: None,
        };
        Self { caller: Some(caller), ..Self::default() }
    }

    fn from(address: &str) -> Self {
        let head = RequestHead { address: address.parse().unwrap(), ..RequestHead::default() };
        Self { head, ..Self::default() }
    }

    fn with_header(name: &'static str, value: &'static str) -> Self {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        Self { headers, ..Self::default() }
    }

    fn facts<R>(&self, read: impl FnOnce(&Facts<'_>) -> R) -> R {
        read(&Facts {
            head: &self.head,
            headers: &self.headers,
            route: &RouteId::new("r"),
            captures: &self.captures,
            caller: self.caller.as_ref(),
            account: None,
            body: None,
        })
    }
}

fn limits() -> (Arc<ManualClock>, Limits) {
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    (clock.clone(), Limits::new(clock))
}

/// How many of ten requests pass.
fn of_ten(limits: &Limits, rate: &Arc<Rate>, asked: &Asked) -> usize {
    (0..10).filter(|_| asked.facts(|facts| limits.check_rate(rate, facts).is_ok())).count()
}

#[test]
fn a_client_over_its_rate_is_told_when_to_come_back_and_others_are_served() {
    let (clock, limits) = limits();
    let rate = rate("per-client", &["client"], 2, 4);
    assert_eq!(of_ten(&limits, &rate, &Asked::by("one")), 4);
    assert_eq!(of_ten(&limits, &rate, &Asked::by("two")), 4);
    let refusal = Asked::by("one").facts(|facts| limits.check_rate(&rate, facts).unwrap_err());
    assert_eq!(
        refusal,
        Refusal::RateLimited(LimitState {
            policy: "per-client".into(),
            // What may come at once, and in what time all of it is there again.
            limit: 4,
            window: Duration::from_secs(2),
            remaining: 0,
            reset: Duration::from_millis(500),
            account: None,
        })
    );
    clock.advance(Duration::from_millis(500));
    assert_eq!(of_ten(&limits, &rate, &Asked::by("one")), 1);
}

#[test]
fn a_rate_without_key_has_one_count_for_all() {
    let (_, limits) = limits();
    let rate = rate("all", &[], 1, 5);
    assert_eq!(of_ten(&limits, &rate, &Asked::by("one")), 5);
    assert_eq!(of_ten(&limits, &rate, &Asked::by("two")), 0);
}

#[test]
fn requests_that_lack_the_value_share_a_count_apart_from_those_with_an_empty_one() {
    let (_, limits) = limits();
    let rate = rate("by-header", &["header.x-app"], 1, 3);
    assert_eq!(of_ten(&limits, &rate, &Asked::by("one")), 3);
    assert_eq!(of_ten(&limits, &rate, &Asked::by("two")), 0);
    assert_eq!(of_ten(&limits, &rate, &Asked::with_header("x-app", "")), 3);
}

#[test]
fn values_that_look_alike_when_joined_are_told_apart() {
    let (_, limits) = limits();
    let rate = rate("two", &["header.x-a", "header.x-b"], 1, 1);
    let pair = |a, b| {
        let mut asked = Asked::with_header("x-a", a);
        asked.headers.insert("x-b", HeaderValue::from_static(b));
        asked
    };
    assert_eq!(of_ten(&limits, &rate, &pair("ab", "c")), 1);
    assert_eq!(of_ten(&limits, &rate, &pair("a", "bc")), 1);
}

#[test]
fn addresses_of_one_ipv6_network_share_a_count() {
    let (_, limits) = limits();
    let rate = rate("by-address", &["address"], 1, 3);
    assert_eq!(of_ten(&limits, &rate, &Asked::from("2001:db8:1:2::1")), 3);
    assert_eq!(of_ten(&limits, &rate, &Asked::from("2001:db8:1:2:ffff::9")), 0);
    assert_eq!(of_ten(&limits, &rate, &Asked::from("2001:db8:1:3::1")), 3);
    assert_eq!(of_ten(&limits, &rate, &Asked::from("192.0.2.1")), 3);
    assert_eq!(of_ten(&limits, &rate, &Asked::from("192.0.2.2")), 3);
    assert_eq!(of_ten(&limits, &rate, &Asked::from("::ffff:192.0.2.2")), 0);
}

#[test]
fn a_client_over_its_own_rate_does_not_use_up_the_rate_it_shares() {
    let (_, limits) = limits();
    let rates = [rate("shared", &[], 1, 6), rate("own", &["client"], 1, 2)];
    let passed = |client: &str| {
        let asked = Asked::by(client);
        (0..10).filter(|_| asked.facts(|facts| limits.admit(&rates, &[], facts).is_ok())).count()
    };
    assert_eq!(passed("greedy"), 2);
    assert_eq!(passed("modest"), 2);
    assert_eq!(passed("third"), 2);
    assert_eq!(passed("fourth"), 0, "the shared rate still holds");
}

#[test]
fn counts_survive_a_reload_that_leaves_the_rate_as_it_was() {
    let (_, limits) = limits();
    assert_eq!(of_ten(&limits, &rate("r", &["client"], 1, 3), &Asked::by("one")), 3);
    assert_eq!(of_ten(&limits, &rate("r", &["client"], 1, 3), &Asked::by("one")), 0);
    assert_eq!(of_ten(&limits, &rate("other", &["client"], 1, 3), &Asked::by("one")), 3);
}

#[test]
fn a_rate_with_new_parameters_starts_anew_while_requests_of_the_old_one_keep_theirs() {
    let (_, limits) = limits();
    let (old, new) = (rate("r", &["client"], 1, 3), rate("r", &["client"], 1, 5));
    assert_eq!(of_ten(&limits, &old, &Asked::by("one")), 3);
    assert_eq!(of_ten(&limits, &new, &Asked::by("one")), 5);
    assert_eq!(of_ten(&limits, &old, &Asked::by("one")), 0);
    assert_eq!(of_ten(&limits, &new, &Asked::by("one")), 0);
}

#[test]
fn threads_together_pass_no_more_than_the_burst() {
    for per in [&[][..], &["client"][..]] {
        let (_, limits) = limits();
        let rate = rate("r", per, 1, 100);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10).map(|_| of_ten(&limits, &rate, &Asked::by("one"))).sum::<usize>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 100, "per {per:?}");
    }
}

#[test]
fn as_many_requests_as_the_bound_allows_are_in_progress_and_an_end_frees_a_place() {
    for per in [&[][..], &["client"][..]] {
        let (_, limits) = limits();
        let bound = bound("slots", per, 2);
        let one = Asked::by("one");
        let enter = || one.facts(|facts| limits.enter(&bound, facts));
        let (first, _second) = (enter().unwrap(), enter().unwrap());
        assert_eq!(enter().unwrap_err(), Refusal::TooManyInProgress { limit: "slots".into() });
        drop(first);
        enter().unwrap();
    }
}

#[test]
fn a_bound_of_zero_lets_nobody_in() {
    let (_, limits) = limits();
    for per in [&[][..], &["client"][..]] {
        let bound = bound("closed", per, 0);
        assert!(Asked::by("one").facts(|facts| limits.enter(&bound, facts)).is_err());
    }
}

#[test]
fn a_key_with_nothing_in_progress_takes_no_memory() {
    let (_, limits) = limits();
    let bound = bound("slots", &["client"], 5);
    let enter =
        |client: &str| Asked::by(client).facts(|facts| limits.enter(&bound, facts)).unwrap();
    let kept = enter("kept");
    for number in 0..1_000 {
        drop(enter(&number.to_string()));
    }
    assert_eq!(kept.keys_in_bound(), 1);
}

#[test]
fn a_request_that_finds_no_place_leaves_no_place_taken() {
    let (_, limits) = limits();
    let bounds = [bound("wide", &[], 5), bound("narrow", &[], 1)];
    let one = Asked::by("one");
    let admit = || one.facts(|facts| limits.admit(&[], &bounds, facts));
    let held = admit().unwrap();
    for _ in 0..10 {
        assert!(admit().is_err());
    }
    drop(held);
    assert!(admit().is_ok(), "refused requests held places in the wide bound");
}
