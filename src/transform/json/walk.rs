use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::request::{JsonPointer, MAX_JSON_DEPTH};

/// One step of a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<'p> {
    /// `*`: every item of an array, every member of an object.
    Every,
    /// A member by name, or an item by index.
    Named(Cow<'p, str>),
}

/// The steps of a pointer; `None` if there are more than a body may have levels: such a pointer
/// finds nothing, and must not make anything either.
pub(super) fn steps(pointer: &JsonPointer) -> Option<Vec<Step<'_>>> {
    let steps: Vec<Step<'_>> = pointer.as_str().split('/').skip(1).map(step).collect();
    (steps.len() <= MAX_JSON_DEPTH).then_some(steps)
}

fn step(text: &str) -> Step<'_> {
    match text {
        "*" => Step::Every,
        plain if !plain.contains('~') => Step::Named(Cow::Borrowed(plain)),
        // RFC 6901 section 4: in this order, so that `~01` is `~1` and not `/`.
        escaped => Step::Named(Cow::Owned(escaped.replace("~1", "/").replace("~0", "~"))),
    }
}

/// Calls `edit` on everything that the steps lead to.
pub(super) fn each(value: &mut Value, steps: &[Step<'_>], edit: &mut dyn FnMut(&mut Value)) {
    let Some((first, rest)) = steps.split_first() else {
        return edit(value);
    };
    match (first, value) {
        (Step::Every, Value::Array(items)) => {
            items.iter_mut().for_each(|item| each(item, rest, edit));
        }
        (Step::Every, Value::Object(members)) => {
            members.values_mut().for_each(|member| each(member, rest, edit));
        }
        (Step::Named(name), value) => {
            if let Some(child) = child(value, name) {
                each(child, rest, edit);
            }
        }
        (Step::Every, _) => {}
    }
}

/// A member of an object or an item of an array.
fn child<'v>(value: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(members) => members.get_mut(name),
        Value::Array(items) => items.get_mut(index(name)?),
        _ => None,
    }
}

/// An index as RFC 6901 section 4 writes it: no sign, no leading zeros.
fn index(name: &str) -> Option<usize> {
    let canonical = name == "0" || !name.starts_with(['0', '+']);
    canonical.then(|| name.parse().ok()).flatten()
}

/// A value taken out, and what is needed to put it back where it was.
pub(super) struct Taken {
    pub(super) value: Value,
    position: usize,
}

/// Takes the value at the steps out; those behind it in an array move up.
pub(super) fn take(root: &mut Value, steps: &[Step<'_>]) -> Option<Taken> {
    let Some((Step::Named(name), way)) = steps.split_last() else {
        return steps.is_empty().then(|| Taken { value: root.take(), position: 0 });
    };
    match find(root, way)? {
        Value::Object(members) => {
            let position = members.keys().position(|key| key == name)?;
            members.shift_remove(&**name).map(|value| Taken { value, position })
        }
        Value::Array(items) => {
            let position = index(name).filter(|position| *position < items.len())?;
            Some(Taken { value: items.remove(position), position })
        }
        _ => None,
    }
}

/// Undoes [`take`].
pub(super) fn put_back(root: &mut Value, steps: &[Step<'_>], taken: Taken) {
    let Some((Step::Named(name), way)) = steps.split_last() else {
        *root = taken.value;
        return;
    };
    match find(root, way) {
        Some(Value::Object(members)) => {
            members.shift_insert(taken.position.min(members.len()), name.to_string(), taken.value);
        }
        Some(Value::Array(items)) => items.insert(taken.position.min(items.len()), taken.value),
        _ => {}
    }
}

fn find<'v>(root: &'v mut Value, steps: &[Step<'_>]) -> Option<&'v mut Value> {
    steps.iter().try_fold(root, |value, step| match step {
        Step::Named(name) => child(value, name),
        Step::Every => None,
    })
}

/// Puts a value at the steps. Missing objects on the way are made, null counting as missing; `-`
/// is the place behind an array's last item (RFC 6901 section 4).
///
/// # Errors
/// Gives the value back, having changed nothing, where a text, number or flag stands in the way,
/// an array has no such item, or a `*` names no one place.
pub(super) fn put(root: &mut Value, steps: &[Step<'_>], value: Value) -> Result<(), Value> {
    if steps.contains(&Step::Every) {
        return Err(value);
    }
    let place = steps.iter().try_fold(root, |place, step| match step {
        Step::Named(name) => child_or_new(place, name),
        Step::Every => None,
    });
    match place {
        Some(place) => {
            *place = value;
            Ok(())
        }
        None => Err(value),
    }
}

/// Only existing values refuse, and they come before the first one that is made: so a refusal has
/// made nothing.
fn child_or_new<'v>(place: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    if place.is_null() {
        *place = Value::Object(Map::new());
    }
    match place {
        Value::Object(members) => Some(members.entry(name).or_insert(Value::Null)),
        Value::Array(items) => {
            let at = if name == "-" { items.len() } else { index(name)? };
            if name == "-" {
                items.push(Value::Null);
            }
            items.get_mut(at)
        }
        _ => None,
    }
}
