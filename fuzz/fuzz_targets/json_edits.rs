//! Any edits on any body give a body or a refusal. The input is lines: a pointer, another, a name,
//! and the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::config::model::JsonEdit;
use tollgate::request::JsonPointer;
use tollgate::transform::edit_body;

fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.splitn(4, '\n').collect();
    let [from, to, name, body] = lines[..] else { return };
    let (Ok(from), Ok(to)) = (JsonPointer::parse(from), JsonPointer::parse(to)) else { return };
    let edits = [
        JsonEdit::Pick(from.clone(), vec![name.to_owned()]),
        JsonEdit::Rename(from.clone(), name.to_owned()),
        JsonEdit::Move(from.clone(), to.clone()),
        JsonEdit::Set(to.clone(), serde_json::Value::from(name)),
        JsonEdit::Mask(from.clone(), name.len()),
        JsonEdit::Drop(to),
    ];
    for edit in edits {
        if let Ok(edited) = edit_body(&[edit], body.as_bytes()) {
            assert!(serde_json::from_slice::<serde_json::Value>(&edited).is_ok());
        }
    }
});
