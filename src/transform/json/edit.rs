use serde_json::Value;

use super::mask::mask;
use super::numbers::keeps_numbers;
use super::walk::{Step, each, put, put_back, steps, take};
use crate::config::model::JsonEdit;
use crate::request::{JsonError, MAX_JSON_DEPTH, parse_json};

/// Applies edits to a JSON value, one after the other. A pointer that finds nothing, or that has
/// more than [`MAX_JSON_DEPTH`] steps, edits nothing.
///
/// A `*` step means every item of an array or every member of an object. Members stay in their
/// order: a renamed one keeps its place, a new one comes last.
pub fn apply(edits: &[JsonEdit], value: &mut Value) {
    for edit in edits {
        // None: a pointer with too many steps.
        let _ = apply_one(edit, value);
    }
}

/// Why a body can't be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no JSON on which anything may be decided.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A number would come out as another one.
    #[error("the body has a number of more digits than can be kept")]
    Number,
}

/// Applies edits to a body and writes it again, without white space.
///
/// # Errors
/// As [`parse_json`] with [`MAX_JSON_DEPTH`], and for numbers that it could not write again.
pub fn edit_body(edits: &[JsonEdit], body: &[u8]) -> Result<Vec<u8>, EditError> {
    let mut value = parse_json(body, MAX_JSON_DEPTH)?;
    if !keeps_numbers(body) {
        return Err(EditError::Number);
    }
    apply(edits, &mut value);
    Ok(value.to_string().into_bytes())
}

fn apply_one(edit: &JsonEdit, value: &mut Value) -> Option<()> {
    match edit {
        JsonEdit::Pick(at, members) => {
            each(value, &steps(at)?, &mut |value| pick(value, members));
        }
        JsonEdit::Drop(at) => drop_at(value, &steps(at)?),
        JsonEdit::Rename(at, name) => rename(value, &steps(at)?, name),
        JsonEdit::Move(from, to) => move_to(value, &steps(from)?, &steps(to)?),
        JsonEdit::Set(at, new) => set(value, &steps(at)?, new),
        JsonEdit::Mask(at, keep) => {
            each(value, &steps(at)?, &mut |value| mask(value, *keep));
        }
    }
    Some(())
}

/// What is no object has no members of which any was picked, and must not come through for being of
/// another type than expected: nothing of it stays, of a list neither.
fn pick(value: &mut Value, members: &[String]) {
    match value {
        Value::Object(object) => object.retain(|name, _| members.contains(name)),
        other => *other = Value::Null,
    }
}

/// Dropping the whole body leaves null.
fn drop_at(value: &mut Value, steps: &[Step<'_>]) {
    let Some((last, way)) = steps.split_last() else {
        *value = Value::Null;
        return;
    };
    each(value, way, &mut |parent| match (last, parent) {
        (Step::Every, Value::Array(items)) => items.clear(),
        (Step::Every, Value::Object(members)) => members.clear(),
        (Step::Every, _) => {}
        (Step::Named(_), parent) => {
            take(parent, std::slice::from_ref(last));
        }
    });
}

/// A member that already has the name gives way. Every member at once (`*` at the end) can't have
/// one name, so that edits nothing.
fn rename(value: &mut Value, steps: &[Step<'_>], name: &str) {
    let Some((Step::Named(old), way)) = steps.split_last() else {
        return;
    };
    each(value, way, &mut |parent| {
        let Value::Object(members) = parent else { return };
        if **old == *name || !members.contains_key(&**old) {
            return;
        }
        members.shift_remove(name);
        let position = members.keys().position(|key| key == old);
        if let (Some(position), Some(value)) = (position, members.shift_remove(&**old)) {
            members.shift_insert(position, name.to_owned(), value);
        }
    });
}

/// Both pointers must be alike up to and including the last `*` of either: then each such item
/// has the move made within it (`/cards/*/number` to `/cards/*/ids/number`). Otherwise it is not
/// said which of many values goes where, and nothing is edited.
///
/// A value that can't be put at its new place stays at its old one.
fn move_to(value: &mut Value, from: &[Step<'_>], to: &[Step<'_>]) {
    let shared = from.iter().rposition(|step| *step == Step::Every).map_or(0, |last| last + 1);
    let (Some((common, from)), Some((common_too, to))) =
        (from.split_at_checked(shared), to.split_at_checked(shared))
    else {
        return;
    };
    if common != common_too || to.contains(&Step::Every) {
        return;
    }
    each(value, common, &mut |base| {
        let Some(mut taken) = take(base, from) else { return };
        if let Err(refused) = put(base, to, taken.value.take()) {
            taken.value = refused;
            put_back(base, from, taken);
        }
    });
}

/// `*` on the way or at the end sets the value everywhere that exists.
fn set(value: &mut Value, steps: &[Step<'_>], new: &Value) {
    let shared = steps.iter().rposition(|step| *step == Step::Every).map_or(0, |last| last + 1);
    let Some((common, rest)) = steps.split_at_checked(shared) else { return };
    each(value, common, &mut |base| {
        // Err: something that is no object stands in the way.
        let _ = put(base, rest, new.clone());
    });
}

/// A pointer from text that is known to be one; for tests beside this code.
#[cfg(test)]
pub(super) fn pointer(text: &str) -> crate::request::JsonPointer {
    crate::request::JsonPointer::parse(text).unwrap()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edited(edit: JsonEdit, mut value: Value) -> String {
        apply(&[edit], &mut value);
        value.to_string()
    }

    fn drop_it(at: &str, value: Value) -> String {
        edited(JsonEdit::Drop(pointer(at)), value)
    }

    fn move_it(from: &str, to: &str, value: Value) -> String {
        edited(JsonEdit::Move(pointer(from), pointer(to)), value)
    }

    fn set_it(at: &str, new: Value, value: Value) -> String {
        edited(JsonEdit::Set(pointer(at), new), value)
    }

    fn mask_it(at: &str, keep: usize, value: Value) -> String {
        edited(JsonEdit::Mask(pointer(at), keep), value)
    }

    #[test]
    fn pick_keeps_the_named_members_in_their_order() {
        let picked = |at: &str, value| {
            edited(JsonEdit::Pick(pointer(at), vec!["b".into(), "a".into()]), value)
        };
        assert_eq!(picked("", json!({"a": 1, "x": 2, "b": 3})), r#"{"a":1,"b":3}"#);
        assert_eq!(picked("/l/*", json!({"l": [{"x": 1, "a": 2}]})), r#"{"l":[{"a":2}]}"#);
    }

    #[test]
    fn pick_leaves_nothing_of_what_is_no_object() {
        let picked = |at: &str, value| edited(JsonEdit::Pick(pointer(at), vec!["a".into()]), value);
        for other in [json!([{"a": 1, "x": 2}]), json!("a"), json!(1), json!(true), json!(null)] {
            assert_eq!(picked("", other.clone()), "null", "{other}");
            let value = json!({"data": other, "b": 1});
            assert_eq!(picked("/data", value.clone()), r#"{"data":null,"b":1}"#, "{value}");
        }
        assert_eq!(picked("/*", json!([{"x": 1, "a": 2}, 7])), r#"[{"a":2},null]"#);
        assert_eq!(picked("/none", json!({"b": 1})), r#"{"b":1}"#);
    }

    #[test]
    fn drop_removes_members_items_and_all_of_them() {
        assert_eq!(drop_it("/a", json!({"z": 0, "a": 1, "b": 2})), r#"{"z":0,"b":2}"#);
        assert_eq!(drop_it("/l/1", json!({"l": [0, 1, 2]})), r#"{"l":[0,2]}"#);
        assert_eq!(
            drop_it("/l/*/x", json!({"l": [{"x": 1, "y": 2}, {"y": 3}]})),
            r#"{"l":[{"y":2},{"y":3}]}"#
        );
        assert_eq!(drop_it("/*", json!({"a": 1})), "{}");
        assert_eq!(drop_it("", json!({"a": 1})), "null");
        for nowhere in ["/b", "/a/b", "/l/01", "/l/+1", "/l/-", "/l/7", "/a/*"] {
            let value = json!({"a": 1, "l": [0, 1]});
            assert_eq!(drop_it(nowhere, value.clone()), value.to_string(), "{nowhere}");
        }
    }

    #[test]
    fn escaped_steps_name_members_with_slashes_and_tildes() {
        assert_eq!(drop_it("/a~1b", json!({"a/b": 1, "a": {"b": 2}})), r#"{"a":{"b":2}}"#);
        assert_eq!(drop_it("/m~01", json!({"m~1": 1, "m/": 2})), r#"{"m/":2}"#);
    }

    #[test]
    fn a_renamed_member_keeps_its_place_and_replaces_its_namesake() {
        let renamed = |at: &str, value| edited(JsonEdit::Rename(pointer(at), "n".into()), value);
        assert_eq!(
            renamed("/b", json!({"n": 0, "a": 1, "b": 2, "c": 3})),
            r#"{"a":1,"n":2,"c":3}"#
        );
        assert_eq!(renamed("/*/b", json!([{"b": 1}, {"c": 2}, 3])), r#"[{"n":1},{"c":2},3]"#);
        assert_eq!(renamed("/n", json!({"n": 1})), r#"{"n":1}"#);
        assert_eq!(renamed("/*", json!({"a": 1, "b": 2})), r#"{"a":1,"b":2}"#);
        assert_eq!(renamed("/0", json!([1])), "[1]");
        assert_eq!(renamed("", json!(1)), "1");
    }

    #[test]
    fn move_makes_objects_on_the_way_and_works_within_each_item() {
        assert_eq!(move_it("/a", "/x/y", json!({"a": 1, "b": 2})), r#"{"b":2,"x":{"y":1}}"#);
        assert_eq!(move_it("/a", "/a/b", json!({"a": 1})), r#"{"a":{"b":1}}"#);
        assert_eq!(move_it("", "/data", json!([1])), r#"{"data":[1]}"#);
        assert_eq!(move_it("/data", "", json!({"data": [1]})), "[1]");
        assert_eq!(
            move_it("/*/a", "/*/b/c", json!([{"a": 1}, {"z": 2}])),
            r#"[{"b":{"c":1}},{"z":2}]"#
        );
        assert_eq!(move_it("/*", "/*/v", json!([1, 2])), r#"[{"v":1},{"v":2}]"#);
        assert_eq!(move_it("/a", "/l/-", json!({"a": 1, "l": []})), r#"{"l":[1]}"#);
    }

    #[test]
    fn a_move_that_can_not_be_made_leaves_everything_where_it_was() {
        for (from, to) in [
            ("/a", "/b/c"),
            ("/a", "/l/9"),
            ("/l/0", "/b/c"),
            ("/l/*", "/x"),
            ("/a", "/l/*"),
            ("/*/a", "/x/*/a"),
            ("/no", "/b"),
        ] {
            let value = json!({"z": 0, "a": 1, "b": "text", "l": [{"a": 1}, 2]});
            assert_eq!(move_it(from, to, value.clone()), value.to_string(), "{from} {to}");
        }
    }

    #[test]
    fn set_replaces_or_makes_and_treats_null_as_missing() {
        assert_eq!(set_it("/a/b", json!(1), json!({})), r#"{"a":{"b":1}}"#);
        assert_eq!(set_it("/a/b", json!(1), json!({"a": null})), r#"{"a":{"b":1}}"#);
        assert_eq!(set_it("/a/b", json!(1), json!({"a": "text"})), r#"{"a":"text"}"#);
        assert_eq!(set_it("/*/b", json!(1), json!([{"b": 0}, {}, 3])), r#"[{"b":1},{"b":1},3]"#);
        assert_eq!(set_it("/*", json!(0), json!({"a": 1, "b": [2]})), r#"{"a":0,"b":0}"#);
        assert_eq!(set_it("", json!(0), json!({"a": 1})), "0");
    }

    #[test]
    fn a_pointer_deeper_than_any_body_makes_nothing() {
        let deep = "/a".repeat(65);
        assert_eq!(set_it(&deep, json!(1), json!({})), "{}");
        assert_eq!(move_it("/b", &deep, json!({"b": 1})), r#"{"b":1}"#);
    }

    #[test]
    fn mask_hides_all_but_the_last_characters() {
        assert_eq!(
            mask_it("/iban", 4, json!({"iban": "DE89370400440532013000"})),
            r#"{"iban":"******************3000"}"#
        );
        assert_eq!(mask_it("", 2, json!("äöü€")), "\"**ü€\"");
        assert_eq!(mask_it("", 9, json!("abc")), "\"abc\"");
        assert_eq!(mask_it("", 0, json!("abc")), "\"***\"");
    }

    #[test]
    fn mask_hides_values_of_every_type() {
        assert_eq!(mask_it("/n", 2, json!({"n": 12345})), r#"{"n":"***45"}"#);
        assert_eq!(
            mask_it("/n", 2, json!({"n": {"a": "xyz", "b": [true, 12345, null]}})),
            r#"{"n":{"a":"*yz","b":["*","***45",null]}}"#
        );
        assert_eq!(
            mask_it("/*/pan", 1, json!([{"pan": "123"}, {"pan": "45"}])),
            r#"[{"pan":"**3"},{"pan":"*5"}]"#
        );
    }

    #[test]
    fn edits_see_what_the_ones_before_them_left() {
        let edits = [
            JsonEdit::Rename(pointer("/acct"), "account".into()),
            JsonEdit::Mask(pointer("/account/number"), 4),
            JsonEdit::Set(pointer("/account/type"), json!("checking")),
            JsonEdit::Pick(pointer(""), vec!["account".into()]),
        ];
        let body = br#"{ "internal": 1, "acct": { "number": "12345678" } }"#;
        assert_eq!(
            String::from_utf8(edit_body(&edits, body).unwrap()).unwrap(),
            r#"{"account":{"number":"****5678","type":"checking"}}"#
        );
        assert!(matches!(edit_body(&edits, b"{"), Err(EditError::Json(_))));
        let long = br#"{"account":{"number":"1"},"amount":12345678901234567890.01}"#;
        assert_eq!(edit_body(&edits, long), Err(EditError::Number));
    }
}
