//! Backends that fail, and what the caller is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::json;
use tokio::time::Instant;

use super::backend::{Backend, json as answer, nobody, text};
use super::inputs::inputs;
use super::{Ran, cluster, plan, run_with, until};
use crate::compose::PartState;
use crate::observe::Metrics;
use crate::request::Refusal;

fn failed(part: &str, timed_out: bool) -> Refusal {
    Refusal::PartFailed { part: part.into(), timed_out }
}

#[tokio::test]
async fn a_required_parts_failure_ends_the_rest_at_once() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/bad" => text(503, "sorry"),
            _ => std::future::pending().await,
        }
    })
    .await;
    let ran = plan(backend.address)
        .part("slow", "/slow")
        .part("slower", "/slower")
        .part("bad", "/bad")
        .run()
        .await;
    assert_eq!(ran.answer.status, 502);
    assert!(ran.answer.body.is_empty());
    assert_eq!(ran.report.refusal(), Some(failed("bad", false)));
    assert!(matches!(ran.report.parts[0].state, PartState::Abandoned));
    assert!(matches!(ran.report.parts[2].state, PartState::Missing(_)));
    let reached = backend.paths().len() - 1;
    until("the calls in progress are broken off", || backend.broken_off() == reached).await;
}

#[tokio::test]
async fn an_answer_without_optional_parts_says_so_in_its_head_and_body() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/cards" => text(500, ""),
            "/loans" => std::future::pending().await,
            other => answer(&json!(other)),
        }
    })
    .await;
    let ran = plan(backend.address)
        .part("cards", "/cards")
        .optional()
        .part("checking", "/checking")
        .part("loans", "/loans")
        .optional()
        .but(|part| part.deadline = Duration::from_millis(50))
        .part("rates", "/rates/{part.cards./id}")
        .optional()
        .run()
        .await;
    assert_eq!(
        ran.text(),
        concat!(
            r#"{"checking":"/checking","partial":[{"part":"cards","reason":"failed"},"#,
            r#"{"part":"loans","reason":"timeout"},{"part":"rates","reason":"unavailable"}]}"#
        )
    );
    let partial = "cards;reason=failed, loans;reason=timeout, rates;reason=unavailable";
    assert_eq!(ran.partial(), Some(partial));
    assert!(ran.report.parts[2].elapsed >= Duration::from_millis(50));
    assert_eq!(ran.report.refusal(), None);
    until("the slow call is broken off", || backend.broken_off() == 1).await;
}

#[tokio::test]
async fn a_backends_own_member_can_not_pass_for_the_mark_of_a_partial_answer() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/bad" => text(500, ""),
            _ => answer(&json!({"partial": "no", "a": 1})),
        }
    })
    .await;
    let ran = plan(backend.address).part("a", "/a").into("").part("bad", "/bad").optional();
    let marked = r#"{"a":1,"partial":[{"part":"bad","reason":"failed"}]}"#;
    assert_eq!(ran.run().await.text(), marked);
    // Nor make a whole answer look partial; below the top it is a member like any other.
    let whole = plan(backend.address).part("a", "/a").into("").part("b", "/b").run().await;
    assert_eq!(whole.text(), r#"{"a":1,"b":{"partial":"no","a":1}}"#);
    assert_eq!(whole.partial(), None);
}

#[tokio::test]
async fn an_answer_that_is_a_list_says_it_in_its_head_alone() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/bad" => text(500, ""),
            _ => answer(&json!([1])),
        }
    })
    .await;
    let mut plan = plan(backend.address);
    plan.conflict = crate::config::model::Conflict::Concat;
    let plan = plan.part("a", "/a").into("").part("bad", "/bad").into("").optional();
    let ran = plan.part("b", "/b").into("").run().await;
    assert_eq!(ran.text(), "[1,1]");
    assert_eq!(ran.partial(), Some("bad;reason=failed"));
}

#[tokio::test]
async fn when_every_part_is_missing_the_first_ones_failure_is_the_requests() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/bad" => text(500, ""),
            _ => std::future::pending().await,
        }
    })
    .await;
    let ran = plan(backend.address)
        .part("never", "/never")
        .optional()
        .but(|part| part.deadline = Duration::from_millis(50))
        .part("bad", "/bad")
        .optional()
        .run()
        .await;
    assert_eq!(ran.answer.status, 504);
    assert_eq!(ran.report.refusal(), Some(failed("never", true)));
}

#[tokio::test]
async fn a_required_part_that_is_late_is_a_gateway_time_out() {
    let backend = Backend::new(|_| std::future::pending()).await;
    let plan = plan(backend.address).part("a", "/a");
    let ran = plan.but(|part| part.deadline = Duration::from_millis(30)).run().await;
    assert_eq!(ran.answer.status, 504);
    assert_eq!(ran.report.refusal(), Some(failed("a", true)));
}

#[tokio::test]
async fn at_the_requests_deadline_what_is_there_is_answered() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/slow" => std::future::pending().await,
            other => answer(&json!(other)),
        }
    })
    .await;
    let composer = plan(backend.address)
        .part("a", "/a")
        .part("slow", "/slow")
        .optional()
        .part("after", "/after/{part.slow./x}")
        .optional()
        .build();
    let mut inputs = inputs("4711");
    inputs.deadline = Some(Instant::now() + Duration::from_millis(300));
    let ran = run_with(&composer, &inputs, &HeaderMap::new()).await;
    assert_eq!(ran.json()["a"], "/a");
    assert_eq!(ran.partial(), Some("slow;reason=timeout, after;reason=unavailable"));
    inputs.deadline = Some(Instant::now());
    let late = run_with(&composer, &inputs, &HeaderMap::new()).await;
    assert_eq!(late.report.refusal(), Some(failed("a", true)));
}

async fn asked(address: SocketAddr) -> Ran {
    plan(address).part("a", "/a").but(|part| part.max_body = 1000).run().await
}

#[tokio::test]
async fn what_is_no_json_answer_fails_the_part_and_says_why_to_the_operator() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let large = format!("\"{}\"", "x".repeat(1000));
    let bodies = [
        ("{\"a\":", "not JSON at line 1"),
        ("{} {}", "not JSON at line 1"),
        ("<html>", "not JSON at line 1"),
        ("", "not JSON at line"),
        (r#"{"owner":"1","owner":"2"}"#, "the same member twice"),
        (deep.as_str(), "nested too deeply"),
        (large.as_str(), "larger than 1000 bytes"),
    ];
    for (body, why) in bodies {
        let body = body.to_owned();
        let backend = Backend::new(move |_| {
            let body = body.clone();
            async move { text(200, &body) }
        })
        .await;
        let ran = asked(backend.address).await;
        assert_eq!(ran.answer.status, 502);
        let told = ran.report.failure.unwrap().fault.to_string();
        assert!(told.contains(why), "{told} / {why}");
    }
}

#[tokio::test]
async fn a_backend_that_breaks_http_fails_the_part() {
    let answers: [(&'static [u8], &str); 9] = [
        (b"", "broke"),
        (b"\x00\x01garbage\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\"", "broke off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\"\xff\"", "not JSON"),
        (b"HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 2\r\n\r\n{}", "302"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", "404"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
            "content encoding",
        ),
    ];
    for (bytes, why) in answers {
        let backend = Backend::raw(bytes).await;
        let ran = asked(backend.address).await;
        assert_eq!(ran.answer.status, 502, "{why}");
        assert_eq!(ran.report.refusal(), Some(failed("a", false)));
        let told = ran.report.failure.unwrap().fault.to_string();
        assert!(told.contains(why), "{told} / {why}");
    }
}

#[tokio::test]
async fn a_backend_that_is_down_is_unavailable() {
    let backend = Backend::telling(|path| json!(path)).await;
    let ran = plan(backend.address)
        .part("a", "/a")
        .part_of(cluster("down", nobody().await), "down", "/down")
        .optional()
        .run()
        .await;
    assert_eq!(ran.partial(), Some("down;reason=unavailable"));
}

#[tokio::test]
async fn dropping_the_composition_breaks_all_calls_off() {
    let backend = Backend::new(|_| std::future::pending()).await;
    let composer = plan(backend.address).part("a", "/a").part("b", "/b").build();
    let task = tokio::spawn(async move {
        run_with(&composer, &inputs("4711"), &HeaderMap::new()).await.answer.status
    });
    until("both parts are asked", || backend.running() == 2).await;
    task.abort();
    until("both calls are broken off", || backend.broken_off() == 2).await;
}

#[tokio::test]
async fn ends_of_parts_are_counted_by_name() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/bad" => text(500, ""),
            other => answer(&json!(other)),
        }
    })
    .await;
    let metrics = Arc::new(Metrics::default());
    let mut plan = plan(backend.address);
    plan.metrics = Arc::clone(&metrics);
    plan.part("a", "/a").part("bad", "/bad").optional().run().await;
    let text = metrics.exposition();
    let lines: Vec<&str> =
        text.lines().filter(|line| line.contains("part=\"") && line.contains("route=\"")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines.iter().all(|line| line.contains("route=\"summary\"") && line.ends_with(" 1")));
}
