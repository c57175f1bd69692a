use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

use super::plan::FetchPlan;
use crate::request::UnixMillis;

/// First wait after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A number from 0 to 1 that keeps the gateways of a fleet from asking all at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(f64);

impl Jitter {
    /// A fresh one. The standard library's hash seeds are random enough for spreading load.
    pub(super) fn draw() -> Self {
        let bits = RandomState::new().hash_one(0_u8);
        Self(f64::from(bits as u32) / f64::from(u32::MAX))
    }

    #[cfg(test)]
    pub(super) fn of(fraction: f64) -> Self {
        Self(fraction)
    }
}

/// When keys that came now are fetched again: when the answer's own lifetime ends, up to a tenth
/// sooner, within the plan's bounds and never at once.
pub(super) fn after_success(
    plan: &FetchPlan,
    headers: &HeaderMap,
    now: UnixMillis,
    Jitter(fraction): Jitter,
) -> UnixMillis {
    let lifetime = lifetime(headers).unwrap_or(plan.refresh_max).min(plan.refresh_max);
    let soonest = plan.refresh_min.max(FIRST_RETRY);
    now.plus(lifetime.mul_f64(1.0 - fraction / 10.0).max(soonest))
}

/// When to try again after the given number of failures in a row (1 or more): a wait that doubles,
/// of which a random half is left out.
pub(super) fn after_failure(
    plan: &FetchPlan,
    failures: u32,
    now: UnixMillis,
    Jitter(fraction): Jitter,
) -> UnixMillis {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = LAST_RETRY.min(plan.refresh_max).max(FIRST_RETRY);
    let wait = FIRST_RETRY.saturating_mul(1 << doublings).min(longest);
    now.plus(wait.mul_f64(1.0 - fraction / 2.0))
}

/// How long an answer says it is fresh (RFC 9111 section 4.2); `None` if it doesn't say.
fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|field| field.to_str().ok());
    let mut longest = None;
    for directive in fields.flat_map(|field| field.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => longest = value.trim().trim_matches('"').parse().ok().or(longest),
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    longest.map(|seconds: u64| Duration::from_secs(seconds.saturating_sub(age)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn plan() -> FetchPlan {
        FetchPlan {
            refresh_min: Duration::from_secs(60),
            refresh_max: Duration::from_secs(3600),
            ..FetchPlan::for_tests("http://127.0.0.1:1/")
        }
    }

    fn seconds_until_next(cache_control: Option<&str>, age: Option<&str>, jitter: f64) -> u64 {
        let mut headers = HeaderMap::new();
        if let Some(text) = cache_control {
            headers.insert(CACHE_CONTROL, HeaderValue::from_str(text).unwrap());
        }
        if let Some(text) = age {
            headers.insert(AGE, HeaderValue::from_str(text).unwrap());
        }
        after_success(&plan(), &headers, NOW, Jitter::of(jitter)).since(NOW).as_secs()
    }

    #[test]
    fn keys_live_as_long_as_cache_control_says_within_the_bounds() {
        for (cache_control, age, expected) in [
            (Some("public, max-age=600"), None, 600),
            (Some("MAX-AGE=\"600\" , must-revalidate"), None, 600),
            (Some("max-age=600"), Some("100"), 500),
            (Some("max-age=600"), Some("700"), 60),
            (Some("max-age=5"), None, 60),
            (Some("max-age=99999999999"), None, 3600),
            (Some("max-age=99999999999999999999999"), None, 3600),
            (Some("max-age=-1"), None, 3600),
            (Some("max-age=600, no-store"), None, 60),
            (Some("no-cache"), None, 60),
            (Some("private"), None, 3600),
            (None, None, 3600),
        ] {
            assert_eq!(seconds_until_next(cache_control, age, 0.0), expected, "{cache_control:?}");
        }
    }

    #[test]
    fn a_fleet_spreads_its_fetches_over_a_tenth_of_the_lifetime() {
        assert_eq!(seconds_until_next(Some("max-age=600"), None, 1.0), 540);
        assert_eq!(seconds_until_next(Some("max-age=60"), None, 1.0), 60);
    }

    #[test]
    fn failures_wait_twice_as_long_each_time_up_to_a_minute() {
        let wait = |failures, jitter| {
            after_failure(&plan(), failures, NOW, Jitter::of(jitter)).since(NOW).as_millis()
        };
        assert_eq!(
            [1, 2, 3, 6, 7, 40, u32::MAX].map(|n| wait(n, 0.0)),
            [1000, 2000, 4000, 32_000, 60_000, 60_000, 60_000]
        );
        assert_eq!(wait(1, 1.0), 500);
    }

    #[test]
    fn bounds_of_zero_are_no_reason_to_fetch_without_a_pause() {
        let plan = FetchPlan { refresh_min: Duration::ZERO, refresh_max: Duration::ZERO, ..plan() };
        let soon = after_success(&plan, &HeaderMap::new(), NOW, Jitter::of(1.0));
        assert_eq!(soon.since(NOW), FIRST_RETRY);
        assert_eq!(after_failure(&plan, 9, NOW, Jitter::of(0.0)).since(NOW), FIRST_RETRY);
    }

    #[test]
    fn jitter_differs_from_draw_to_draw() {
        let draws: Vec<f64> = (0..20).map(|_| Jitter::draw().0).collect();
        assert!(draws.iter().all(|fraction| (0.0..=1.0).contains(fraction)));
        assert!(draws.windows(2).any(|pair| pair[0] != pair[1]));
    }

    proptest! {
        #[test]
        fn whatever_the_answer_says_the_bounds_hold(text in "[ -~]{0,40}", jitter in 0.0..1.0) {
            let seconds = seconds_until_next(Some(&text), None, jitter);
            prop_assert!((60..=3600).contains(&seconds));
        }
    }
}
