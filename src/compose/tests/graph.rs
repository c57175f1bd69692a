//! Order, values and merging.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{Barrier, watch};

use super::backend::{Backend, json as answer, text};
use super::inputs::inputs;
use super::{HeaderMap, plan, run, run_with};
use crate::compose::PartState;
use crate::config::model::{Conflict, JsonEdit, Need};
use crate::request::JsonPointer;

fn pointer(text: &str) -> JsonPointer {
    JsonPointer::parse(text).unwrap()
}

#[tokio::test]
async fn parts_that_need_nothing_are_asked_at_once() {
    // Nobody is answered before all three are there.
    let all = Arc::new(Barrier::new(3));
    let backend = Backend::new(move |path| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            answer(&json!(path))
        }
    })
    .await;
    let ran = plan(backend.address)
        .part("checking", "/checking/{account}")
        .part("cards", "/cards/{account}?limit=5")
        .into("accounts.cards")
        .part("loans", "/loans/{account}")
        .run()
        .await;
    assert_eq!(
        ran.text(),
        r#"{"checking":"/checking/4711","accounts":{"cards":"/cards/4711?limit=5"},"loans":"/loans/4711"}"#
    );
    assert_eq!(ran.answer.headers["content-type"], "application/json");
    assert_eq!(ran.partial(), None);
}

#[tokio::test]
async fn the_answer_does_not_depend_on_who_was_slowest() {
    let mut answers = Vec::new();
    for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"], ["c", "a", "b"]] {
        // Each waits until its predecessor in this order was answered.
        let (turn, turns) = watch::channel(0);
        let turn = Arc::new(turn);
        let backend = Backend::new(move |path| {
            let (turn, mut turns) = (Arc::clone(&turn), turns.clone());
            async move {
                let name = path.trim_start_matches('/').to_owned();
                let rank = order.iter().position(|it| *it == name).unwrap();
                turns.wait_for(|turn| *turn == rank).await.unwrap();
                turn.send_modify(|turn| *turn += 1);
                answer(&json!({ "list": [name], "same": name, name: true }))
            }
        })
        .await;
        let mut plan = plan(backend.address);
        plan.conflict = Conflict::Last;
        let ran = plan.part("a", "/a").into("").part("b", "/b").into("").part("c", "/c").into("");
        let ran = ran.run().await;
        answers.push((ran.text().to_owned(), ran.answer.headers["etag"].clone()));
    }
    assert_eq!(answers[0].0, r#"{"list":["c"],"same":"c","a":true,"b":true,"c":true}"#);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_part_reads_what_others_answered_before_their_edits() {
    let backend = Backend::telling(|path| match path {
        "/customers/4711" => json!({"id": "c 1", "name": "Ada", "secret": 1}),
        other => json!(other),
    })
    .await;
    let ran = plan(backend.address)
        .part("customer", "/customers/{account}")
        .but(|part| part.edits = vec![JsonEdit::Pick(pointer(""), vec!["name".into()])])
        .part("cards", "/cards?owner={part.customer./id}")
        .run()
        .await;
    assert_eq!(ran.text(), r#"{"customer":{"name":"Ada"},"cards":"/cards?owner=c%201"}"#);
    assert_eq!(backend.paths(), ["/customers/4711", "/cards?owner=c%201"]);
}

#[tokio::test]
async fn a_part_waits_for_those_it_needs_even_without_their_values() {
    let backend = Backend::telling(|path| json!(path)).await;
    let ran = plan(backend.address)
        .part("late", "/late")
        .but(|part| part.needs = vec![2])
        .part("middle", "/middle")
        .but(|part| part.needs = vec![])
        .part("early", "/early")
        .but(|part| part.needs = vec![1])
        .run()
        .await;
    assert_eq!(ran.text(), r#"{"late":"/late","middle":"/middle","early":"/early"}"#);
    assert_eq!(backend.paths(), ["/middle", "/early", "/late"]);
}

#[tokio::test]
async fn where_a_backend_has_nothing_the_part_is_null_and_so_is_what_needs_its_values() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/customer" => text(404, "no such customer"),
            "/nothing" => text(204, ""),
            "/null" => text(200, " null "),
            other => answer(&json!(other)),
        }
    })
    .await;
    let ran = plan(backend.address)
        .part("customer", "/customer")
        .but(|part| part.empty_on = vec![http::StatusCode::NOT_FOUND])
        .part("cards", "/cards/{part.customer./id}")
        .part("each", "/each/{item}")
        .for_each(0, "/cards", 2, 5)
        .part("after", "/after")
        .but(|part| part.needs = vec![0])
        .part("nothing", "/nothing")
        .part("null", "/null")
        .but(|part| part.edits = vec![JsonEdit::Set(pointer("/made"), json!(1))])
        .run()
        .await;
    assert_eq!(
        ran.text(),
        r#"{"customer":null,"cards":null,"each":[],"after":"/after","nothing":null,"null":null}"#
    );
    assert_eq!(ran.partial(), None);
    assert!(matches!(ran.report.parts[1].state, PartState::Empty));
    assert_eq!(ran.report.parts[1].calls, 0);
    assert!(!backend.paths().iter().any(|path| path.starts_with("/cards")));
}

#[tokio::test]
async fn a_conflict_rule_decides_where_two_parts_write_one_member() {
    let backend = Backend::telling(|path| match path {
        "/a" => json!([{"id": 1, "a": 1}]),
        _ => json!([{"id": 1, "b": 2}, {"id": 2}]),
    })
    .await;
    let merged = async |conflict: Conflict| {
        let mut plan = plan(backend.address);
        plan.conflict = conflict;
        plan.part("a", "/a").into("list").part("b", "/b").into("list").run().await
    };
    let of = async |conflict| merged(conflict).await.json()["list"].to_string();
    assert_eq!(of(Conflict::First).await, r#"[{"id":1,"a":1}]"#);
    assert_eq!(of(Conflict::Last).await, r#"[{"id":1,"b":2},{"id":2}]"#);
    assert_eq!(of(Conflict::Concat).await, r#"[{"id":1,"a":1},{"id":1,"b":2},{"id":2}]"#);
    assert_eq!(of(Conflict::Join("id".into())).await, r#"[{"id":1,"a":1,"b":2},{"id":2}]"#);
    let refused = merged(Conflict::Error).await;
    assert_eq!(refused.answer.status, 502);
    assert_eq!(
        refused.report.failure.unwrap().fault.to_string(),
        "another part wrote the same member"
    );
}

#[tokio::test]
async fn a_filter_that_the_caller_did_not_send_is_not_sent_on() {
    let backend = Backend::telling(|path| json!(path)).await;
    let composer =
        plan(backend.address).part("t", "/t/{account}?from={query.from}&to={query.to}").build();
    assert_eq!(run(&composer).await.text(), r#"{"t":"/t/4711"}"#);
    let mut inputs = inputs("4711");
    inputs.head.query = Some("to=2024-01-01%26x&other=1".into());
    let ran = run_with(&composer, &inputs, &HeaderMap::new()).await;
    assert_eq!(ran.text(), r#"{"t":"/t/4711?to=2024-01-01%26x"}"#);
}

#[tokio::test]
async fn a_default_stands_in_for_a_failed_part_and_others_read_it() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/customer" => text(500, "oh"),
            other => answer(&json!(other)),
        }
    })
    .await;
    let ran = plan(backend.address)
        .part("customer", "/customer")
        .but(|part| part.need = Need::Default(json!({"id": "unknown"})))
        .part("cards", "/cards/{part.customer./id}")
        .run()
        .await;
    assert_eq!(
        ran.text(),
        concat!(
            r#"{"customer":{"id":"unknown"},"cards":"/cards/unknown","#,
            r#""partial":[{"part":"customer","reason":"failed"}]}"#
        )
    );
    assert_eq!(ran.partial(), Some("customer;reason=failed"));
    assert!(ran.report.is_partial());
}
