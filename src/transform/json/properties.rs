use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::edit::pointer;
use super::{apply, edit_body};
use crate::config::model::JsonEdit;
use crate::request::{JsonPointer, MAX_JSON_DEPTH, parse_json};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[abc]", Just("*".to_owned()), Just("~/".to_owned()), Just(String::new())]
}

/// Steps that often lead somewhere in such values, and sometimes nowhere.
fn any_pointer() -> impl Strategy<Value = JsonPointer> {
    let step = prop_oneof![
        4 => "[abc]",
        3 => Just("*".to_owned()),
        2 => "[0-3]",
        1 => Just("-".to_owned()),
        1 => Just("~0~1".to_owned()),
        1 => Just(String::new()),
    ];
    prop::collection::vec(step, 0..5)
        .prop_map(|steps| pointer(&steps.iter().map(|step| format!("/{step}")).collect::<String>()))
}

fn any_edit() -> impl Strategy<Value = JsonEdit> {
    prop_oneof![
        (any_pointer(), prop::collection::vec(name(), 0..3))
            .prop_map(|(at, members)| JsonEdit::Pick(at, members)),
        any_pointer().prop_map(JsonEdit::Drop),
        (any_pointer(), name()).prop_map(|(at, to)| JsonEdit::Rename(at, to)),
        (any_pointer(), any_pointer()).prop_map(|(from, to)| JsonEdit::Move(from, to)),
        (any_pointer(), value()).prop_map(|(at, new)| JsonEdit::Set(at, new)),
        (any_pointer(), 0..6_usize).prop_map(|(at, keep)| JsonEdit::Mask(at, keep)),
    ]
}

/// All scalars in a value, as text.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => members.values().for_each(|member| leaves(member, found)),
        Value::String(text) => found.push(text.clone()),
        other => found.push(other.to_string()),
    }
}

fn longest_common_end(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b).count()
}

proptest! {
    #[test]
    fn edits_never_panic_and_the_same_edits_give_the_same_bytes(
        edits in prop::collection::vec(any_edit(), 0..6),
        value in value(),
    ) {
        let (mut one, mut other) = (value.clone(), value);
        apply(&edits, &mut one);
        apply(&edits, &mut other);
        prop_assert_eq!(one.to_string(), other.to_string());
    }

    /// Except by index: what was the second item is the first when the first is gone.
    #[test]
    fn dropping_twice_is_dropping_once(at in any_pointer(), mut value in value()) {
        let last = at.as_str().rsplit('/').next().unwrap_or_default();
        prop_assume!(last.is_empty() || last.contains(|step: char| !step.is_ascii_digit()));
        let edits = [JsonEdit::Drop(at)];
        apply(&edits, &mut value);
        let once = value.clone();
        apply(&edits, &mut value);
        prop_assert_eq!(value, once);
    }

    #[test]
    fn a_mask_never_shows_more_than_it_keeps(keep in 0..6_usize, value in value()) {
        let mut masked = value.clone();
        apply(&[JsonEdit::Mask(pointer(""), keep)], &mut masked);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        leaves(&value, &mut before);
        leaves(&masked, &mut after);
        prop_assert_eq!(before.len(), after.len());
        for (clear, shown) in before.iter().zip(&after).filter(|(clear, _)| *clear != "null") {
            let stars = shown.chars().filter(|character| *character == '*').count();
            prop_assert!(shown.chars().count() - stars <= keep, "{} of {}", shown, clear);
            // Stars that were in the clear text are no leak, nor is a text that is all kept.
            let own_stars = clear.chars().filter(|character| *character == '*').count();
            prop_assert!(longest_common_end(clear, shown) <= keep + own_stars, "{} of {}", shown, clear);
        }
    }

    #[test]
    fn a_move_loses_no_value(from in any_pointer(), to in any_pointer(), value in value()) {
        // The destination's old value is meant to go; here it has none.
        prop_assume!(JsonPointer::find(&to, &value).is_none() && !to.as_str().contains('*'));
        let mut moved = value.clone();
        apply(&[JsonEdit::Move(from, to)], &mut moved);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        leaves(&value, &mut before);
        leaves(&moved, &mut after);
        before.retain(|leaf| leaf != "null");
        after.retain(|leaf| leaf != "null");
        before.sort();
        after.sort();
        prop_assert_eq!(before, after);
    }

    #[test]
    fn reading_never_panics_and_what_was_read_is_written_back(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = parse_json(&bytes, MAX_JSON_DEPTH) {
            let written = edit_body(&[], &bytes).unwrap();
            prop_assert_eq!(parse_json(&written, MAX_JSON_DEPTH).unwrap(), value);
        }
    }

    #[test]
    fn what_is_written_can_be_read(value in value()) {
        let written = value.to_string();
        prop_assert_eq!(parse_json(written.as_bytes(), MAX_JSON_DEPTH).unwrap().to_string(), written);
    }
}

#[test]
fn the_masks_property_would_see_a_leak() {
    assert_eq!(longest_common_end("12345678", "****5678"), 4);
    let mut found = Vec::new();
    leaves(&json!({"a": ["x", 1]}), &mut found);
    assert_eq!(found, ["x", "1"]);
}
