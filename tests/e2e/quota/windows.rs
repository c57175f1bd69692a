//! When uses come back, and what callers are told about it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use serde_json::json;

use super::{World, route, standing};
use crate::support::{PATIENCE, eventually};

fn unix_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

#[tokio::test]
async fn a_refusal_says_which_quota_is_used_up_and_until_when() {
    let rules = "  monthly: { per: [account], limit: 2, window: 30d, rolling: true }\n";
    let world = World::start(rules, &route("month", "monthly")).await;
    let first = world.get("/month/4711").await;
    let month = 30 * 86_400;
    assert_eq!(first.header("ratelimit-policy"), format!("\"monthly\";q=2;w={month}"));
    let (left, resets) = standing(&first, "monthly");
    assert_eq!(left, 1);
    assert!((month - 60..=month).contains(&resets), "{resets}");
    assert_eq!(first.header("retry-after"), "");
    assert_eq!(standing(&world.get("/month/4711").await, "monthly").0, 0);

    let refused = world.get("/month/4711").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.header("cache-control"), "no-store");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((month - 60..=month).contains(&wait), "{wait}");
    let (left, resets) = standing(&refused, "monthly");
    assert!(left == 0 && resets.abs_diff(wait) <= 1, "{refused:?}");
    assert_eq!(refused.header("ratelimit-policy"), format!("\"monthly\";q=2;w={month}"));
    let body = refused.json();
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(body["title"], "The account's quota is used up");
    assert_eq!(body["status"], 429);
    assert_eq!(body["violated-policies"], json!(["monthly"]));
    assert_eq!(
        (&body["limit"], &body["used"], &body["window"]),
        (&json!(2), &json!(2), &json!(month))
    );
    assert!(body["retry-after"].as_u64().unwrap().abs_diff(wait) <= 1, "{body}");
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("'monthly' allows 2 uses of this account in 30 days; 2 are used"),
        "{detail}"
    );
    let id = refused.header("x-request-id");
    assert!(!id.is_empty());
    assert_eq!(body["instance"], format!("urn:request:{id}"));
    let text = String::from_utf8(refused.body.clone()).unwrap();
    assert!(
        !text.contains("offset") && !text.contains("partition") && !text.contains("4711"),
        "{text}"
    );
}

#[tokio::test]
async fn a_fixed_window_gives_all_uses_back_when_it_ends_and_not_before() {
    let rules = "  short: { per: [account], limit: 2, window: 2s }\n";
    let world = World::start(rules, &route("short", "short")).await;
    let (asked, refused) = eventually("a window to be used up", async || {
        let asked = unix_millis();
        let answer = world.get("/short/4711").await;
        if answer.status == 429 { Ok((asked, answer)) } else { Err(answer.status) }
    })
    .await;
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit-policy"), "\"short\";q=2;w=2");
    assert!(standing(&refused, "short").1.abs_diff(wait) <= 1);
    assert!(refused.json()["detail"].as_str().unwrap().contains("in 2 seconds"));
    let served = eventually("the next window", async || {
        let answer = world.get("/short/4711").await;
        if answer.status == 200 { Ok(answer) } else { Err(answer.status) }
    })
    .await;
    let served_at = unix_millis();
    // The refusal was made after it was asked for; the window ends on the grid.
    assert!(served_at / 2000 > asked / 2000, "served at {served_at}, refused after {asked}");
    assert_eq!(standing(&served, "short").0, 1, "the whole window is free again");
}

#[tokio::test]
async fn a_rolling_window_never_has_more_uses_than_its_limit_in_any_span_of_its_length() {
    let rules = "  rolling: { per: [account], limit: 3, window: 1s, rolling: true }\n";
    let world = World::start(rules, &route("roll", "rolling")).await;
    let start = Instant::now();
    let mut served: Vec<(Instant, Instant)> = Vec::new();
    let mut refused = 0;
    let ask = async || (Instant::now(), world.get("/roll/4711").await, Instant::now());
    while served.len() < 9 || refused == 0 {
        assert!(start.elapsed() < PATIENCE, "{} were served, {refused} refused", served.len());
        for (sent, answer, answered) in join_all((0..5).map(|_| ask())).await {
            match answer.status.as_u16() {
                200 => served.push((sent, answered)),
                429 => {
                    refused += 1;
                    let wait: u64 = answer.header("retry-after").parse().unwrap();
                    assert!(wait <= 1, "{wait}");
                }
                other => panic!("{other}: {answer:?}"),
            }
        }
    }
    for four in served.windows(4) {
        // Admitted after it was sent and before it was answered.
        let last = four.iter().map(|(_, answered)| *answered).max().unwrap();
        let span = last - four.iter().map(|(sent, _)| *sent).min().unwrap();
        assert!(span >= Duration::from_millis(999), "four uses in {span:?}");
    }
}

#[tokio::test]
async fn an_offset_moves_the_start_of_fixed_windows() {
    let rules = "  plain: { per: [account], limit: 9, window: 1d }\n\
                 \x20 moved: { per: [account], limit: 9, window: 1d, offset: 6h }\n";
    let world = World::start(rules, &route("both", "plain, moved")).await;
    let answer = world.get("/both/4711").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (plain, moved) = (standing(&answer, "plain").1, standing(&answer, "moved").1);
    let (day, later) = (86_400, 6 * 3600);
    assert!((1..=day).contains(&plain) && (1..=day).contains(&moved), "{plain} {moved}");
    // Six hours later than the other, or eighteen before it if that one has just begun.
    let apart = (moved + day - plain) % day;
    assert!(apart.abs_diff(later) <= 1, "{plain} {moved}");
}
