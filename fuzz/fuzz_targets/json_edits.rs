//! Any edits on any body give a body or a refusal. The input is lines: a pointer, another, a name,
//! and the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate::config::model::JsonEdit;
use tollgate::guard::read_json;
use tollgate::request::{JsonPointer, MAX_JSON_DEPTH, parse_json};
use tollgate::transform::{apply_json, edit_body};

fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.splitn(4, '\n').collect();
    let [from, to, name, body] = lines[..] else { return };
    let (Ok(from), Ok(to)) = (JsonPointer::parse(from), JsonPointer::parse(to)) else { return };
    check_reading(body.as_bytes());
    let edits = [
        JsonEdit::Pick(from.clone(), vec![name.to_owned()]),
        JsonEdit::Drop(from.clone()),
        JsonEdit::Mask(from.clone(), name.len()),
        JsonEdit::Rename(from.clone(), name.to_owned()),
        JsonEdit::Set(to.clone(), Value::from(name)),
        JsonEdit::Move(from, to),
    ];
    // Without edits: the body without its white space.
    let plain = edit_body(&[], body.as_bytes());
    let depth = edits.len() * MAX_JSON_DEPTH + MAX_JSON_DEPTH;
    for edit in &edits {
        let edited = edit_body(std::slice::from_ref(edit), body.as_bytes());
        assert_eq!(edited.is_ok(), plain.is_ok());
        let (Ok(edited), Ok(plain)) = (edited, &plain) else { return };
        assert!(nesting(&edited) <= depth);
        assert!(edited.len() <= bound(edit, plain.len()), "{edit:?} {}", edited.len());
        if matches!(edit, JsonEdit::Drop(_)) {
            assert!(edited.len() <= plain.len() + "null".len());
        }
        let hides = matches!(edit, JsonEdit::Mask(..) | JsonEdit::Pick(..));
        if let (true, Ok(mut once)) = (hides, parse_json(&edited, MAX_JSON_DEPTH)) {
            let hidden = once.clone();
            apply_json(std::slice::from_ref(edit), &mut once);
            assert_eq!(once, hidden, "what is hidden twice is as hidden once");
        }
    }
    if let Ok(edited) = edit_body(&edits, body.as_bytes()) {
        assert!(nesting(&edited) <= depth);
    }
});

/// What decisions rest on is a part of what is JSON at all.
fn check_reading(body: &[u8]) {
    let usual = serde_json::from_slice::<Value>(body);
    match parse_json(body, MAX_JSON_DEPTH) {
        Ok(value) => assert_eq!(usual.ok(), Some(value)),
        Err(_) => assert!(read_json(body).is_err()),
    }
    if let Ok(value) = read_json(body) {
        assert_eq!(parse_json(body, MAX_JSON_DEPTH), Ok(value));
    }
}

/// Most bytes that an edit may make of so many.
fn bound(edit: &JsonEdit, plain: usize) -> usize {
    let added = match edit {
        JsonEdit::Set(at, value) => 4 * at.as_str().len() + value.to_string().len(),
        JsonEdit::Rename(_, name) => Value::from(name.as_str()).to_string().len(),
        JsonEdit::Move(_, to) => 6 * to.as_str().len() + 8,
        JsonEdit::Mask(..) => 2,
        JsonEdit::Pick(..) | JsonEdit::Drop(_) => 4,
    };
    // Every value may be concerned, and each takes two bytes at least with its comma.
    plain + (plain + 2) * (added + 8)
}

fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    assert_eq!((depth, in_text), (0, false));
    deepest
}
