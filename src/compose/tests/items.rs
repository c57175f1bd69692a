//! One call for each item of a list.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::backend::{Backend, json as answer, text};
use super::{Plan, plan};
use crate::compose::Fault;
use crate::config::model::JsonEdit;
use crate::request::JsonPointer;

/// A list part `cards` of these ids, and a part `details` with a call for each.
fn details(plan: Plan, at_once: usize, max_items: usize) -> Plan {
    plan.part("cards", "/cards")
        .part("details", "/cards/{item./id}")
        .for_each(0, "/list", at_once, max_items)
}

fn cards(count: usize) -> serde_json::Value {
    json!({ "list": (1..=count).map(|id| json!({"id": id})).collect::<Vec<_>>() })
}

#[tokio::test]
async fn items_are_asked_for_as_many_at_once_as_allowed_and_stay_in_order() {
    let (open, opened) = watch::channel(false);
    let backend = Backend::new(move |path| {
        let mut opened = opened.clone();
        async move {
            if path == "/cards" {
                return answer(&cards(8));
            }
            opened.wait_for(|open| *open).await.unwrap();
            answer(&json!(path))
        }
    })
    .await;
    let composer = details(plan(backend.address), 2, 8).build();
    let running = tokio::spawn(async move { super::run(&composer).await });
    super::until("two items are asked for", || backend.running() == 2).await;
    // Nothing says that no third one is on its way: so it gets time to come.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(backend.running(), 2);
    open.send(true).unwrap();
    let ran = running.await.unwrap();
    let expected: Vec<String> = (1..=8).map(|id| format!("/cards/{id}")).collect();
    assert_eq!(ran.json()["details"], json!(expected));
    assert_eq!(backend.most_at_once(), 2);
    assert_eq!(ran.report.parts[1].calls, 8);
}

#[tokio::test]
async fn a_list_longer_than_allowed_makes_no_call() {
    let backend = Backend::new(|_| async { answer(&cards(4)) }).await;
    let ran = details(plan(backend.address), 2, 3).optional().run().await;
    assert_eq!(ran.partial(), Some("details;reason=failed"));
    assert_eq!(backend.paths(), ["/cards"]);
}

#[tokio::test]
async fn edits_are_made_on_each_items_answer_and_an_item_without_one_is_null() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/cards" => answer(&cards(3)),
            "/cards/2" => text(404, ""),
            other => answer(&json!({"pan": "4111111111111111", "path": other})),
        }
    })
    .await;
    let pan = JsonPointer::parse("/pan").unwrap();
    let ran = details(plan(backend.address), 3, 3)
        .but(|part| {
            part.edits = vec![JsonEdit::Mask(pan, 4)];
            part.empty_on = vec![http::StatusCode::NOT_FOUND];
        })
        .run()
        .await;
    assert_eq!(
        ran.json()["details"].to_string(),
        concat!(
            r#"[{"pan":"************1111","path":"/cards/1"},null,"#,
            r#"{"pan":"************1111","path":"/cards/3"}]"#
        )
    );
}

#[tokio::test]
async fn one_items_failure_is_the_parts_and_breaks_the_others_off() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/cards" => answer(&cards(3)),
            "/cards/3" => text(500, ""),
            _ => std::future::pending().await,
        }
    })
    .await;
    let ran = details(plan(backend.address), 3, 3).optional().run().await;
    assert_eq!(ran.partial(), Some("details;reason=failed"));
    assert_eq!(ran.json().get("details"), None);
    super::until("the other items are broken off", || backend.broken_off() == 2).await;
}

#[tokio::test]
async fn items_answers_together_are_bounded_by_the_parts_largest_body() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/cards" => answer(&cards(5)),
            _ => answer(&json!("x".repeat(100))),
        }
    })
    .await;
    let bounded = async |max_body| {
        details(plan(backend.address), 2, 5).but(|part| part.max_body = max_body).run().await
    };
    assert_eq!(bounded(510).await.answer.status, 200);
    let refused = bounded(509).await;
    assert_eq!(refused.answer.status, 502);
    assert!(matches!(refused.report.failure.unwrap().fault, Fault::TooLarge(509)));
}

#[tokio::test]
async fn what_is_no_list_fails_the_part_and_null_is_an_empty_one() {
    for (list, expected) in [
        (json!({"list": null}), None),
        (json!({"list": []}), None),
        (json!({"list": {}}), Some("details;reason=failed")),
        (json!({"other": []}), Some("details;reason=failed")),
        (json!({"list": [{"id": ""}]}), Some("details;reason=failed")),
        (json!({"list": [{"id": ".."}]}), Some("details;reason=failed")),
        (json!({"list": [{}]}), Some("details;reason=failed")),
    ] {
        let told = list.clone();
        let backend = Backend::new(move |_| {
            let told = told.clone();
            async move { answer(&told) }
        })
        .await;
        let ran = details(plan(backend.address), 1, 9).optional().run().await;
        assert_eq!(ran.partial(), expected, "{list}");
        assert_eq!(ran.json().get("details").is_some(), expected.is_none(), "{list}");
        assert_eq!(backend.paths(), ["/cards"], "{list}");
    }
}
