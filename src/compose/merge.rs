use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::model::Conflict;

/// Two parts wrote the same member and the rule does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clash;

/// The answer while parts are put into it, in the order of the configuration and never in the
/// order in which they answered.
///
/// - An object that only exists because a part wrote below it (`accounts`, for `accounts.cards`)
///   was written by nobody: another part's object is merged into it without a conflict, member
///   by member. So is a part's object at the very top.
/// - Null says "nothing there": anything may stand in its place, and it stands in nobody's.
pub(super) struct Merge<'p> {
    rule: &'p Conflict,
    root: Value,
    made: Made,
}

/// Which objects were only made on the way to a member.
#[derive(Default)]
struct Made {
    on_the_way: bool,
    below: HashMap<String, Made>,
}

impl<'p> Merge<'p> {
    pub(super) fn new(rule: &'p Conflict) -> Self {
        Self { rule, root: Value::Null, made: Made { on_the_way: true, ..Made::default() } }
    }

    /// Puts a part's value where it belongs.
    ///
    /// # Errors
    /// Another part's value stands there, or in the way, and the rule says that this is an error.
    pub(super) fn place(&mut self, into: &[Arc<str>], value: Value) -> Result<(), Clash> {
        let (mut target, mut made) = (&mut self.root, &mut self.made);
        for name in into {
            if target.is_null() {
                *target = Value::Object(Map::new());
                made.on_the_way = true;
            }
            if !target.is_object() {
                if value.is_null() || !self.rule.replaces_what_is_in_the_way()? {
                    return Ok(());
                }
                *target = Value::Object(Map::new());
                *made = Made { on_the_way: true, ..Made::default() };
            }
            let Value::Object(members) = target else { return Err(Clash) };
            target = members.entry(&**name).or_insert(Value::Null);
            made = made.below.entry(name.to_string()).or_default();
        }
        write(self.rule, target, Some(made), value)?;
        // Members at the top are written one by one: nobody writes the top as a whole.
        self.made.on_the_way = self.root.is_object() || self.root.is_null();
        Ok(())
    }

    /// The whole answer: an empty object if no part had anything.
    pub(super) fn finish(self) -> Value {
        match self.root {
            Value::Null => Value::Object(Map::new()),
            root => root,
        }
    }
}

impl Conflict {
    /// Whether a part that writes below something that is no object replaces it.
    fn replaces_what_is_in_the_way(&self) -> Result<bool, Clash> {
        match self {
            Self::First => Ok(false),
            Self::Last | Self::Merge => Ok(true),
            Self::Error | Self::Concat | Self::Join(_) => Err(Clash),
        }
    }
}

fn write(
    rule: &Conflict,
    target: &mut Value,
    made: Option<&mut Made>,
    value: Value,
) -> Result<(), Clash> {
    if value.is_null() {
        return Ok(());
    }
    if target.is_null() {
        *target = value;
        return Ok(());
    }
    match (made, target, value) {
        (Some(made), Value::Object(members), Value::Object(new)) if made.on_the_way => {
            made.on_the_way = false;
            for (name, value) in new {
                match members.get_mut(&name) {
                    Some(existing) => write(rule, existing, made.below.get_mut(&name), value)?,
                    None => {
                        members.insert(name, value);
                    }
                }
            }
            Ok(())
        }
        (made, target, value) => {
            if let (Some(made), Conflict::Last | Conflict::Merge) = (made, rule) {
                made.on_the_way = false;
            }
            combine(rule, target, value)
        }
    }
}

fn combine(rule: &Conflict, target: &mut Value, value: Value) -> Result<(), Clash> {
    match (rule, target, value) {
        (Conflict::Error, ..) => Err(Clash),
        (Conflict::First, ..) => Ok(()),
        (Conflict::Last, target, value) => {
            *target = value;
            Ok(())
        }
        (Conflict::Merge, target, value) => {
            merge(target, value);
            Ok(())
        }
        (Conflict::Concat, Value::Array(items), Value::Array(new)) => {
            items.extend(new);
            Ok(())
        }
        (Conflict::Join(key), Value::Array(items), Value::Array(new)) => join(key, items, new),
        (Conflict::Concat | Conflict::Join(_), ..) => Err(Clash),
    }
}

/// Objects member by member, deeply; for anything else the last stands. As deep as bodies are,
/// which is bounded.
fn merge(target: &mut Value, value: Value) {
    match (target, value) {
        (Value::Object(members), Value::Object(new)) => {
            for (name, value) in new {
                match members.get_mut(&name) {
                    Some(existing) => merge(existing, value),
                    None => {
                        members.insert(name, value);
                    }
                }
            }
        }
        (target, value) => *target = value,
    }
}

/// Objects with the same value of `key` become one, at the place of the first. An object without
/// it matches none and stands for itself; an item that is no object is a clash.
fn join(key: &str, items: &mut Vec<Value>, new: Vec<Value>) -> Result<(), Clash> {
    let mut joined: Vec<Value> = Vec::with_capacity(items.len() + new.len());
    let mut places: HashMap<String, usize> = HashMap::new();
    for item in std::mem::take(items).into_iter().chain(new) {
        let Value::Object(members) = &item else { return Err(Clash) };
        // Written as JSON, so that 1 and "1" stay two values.
        let id = members.get(key).filter(|id| !id.is_null()).map(Value::to_string);
        let place = id.as_ref().and_then(|id| places.get(id)).copied();
        match place.and_then(|place| joined.get_mut(place)) {
            Some(existing) => merge(existing, item),
            None => {
                if let Some(id) = id {
                    places.insert(id, joined.len());
                }
                joined.push(item);
            }
        }
    }
    *items = joined;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(dotted: &str) -> Vec<Arc<str>> {
        dotted.split('.').filter(|name| !name.is_empty()).map(Arc::from).collect()
    }

    fn merged(rule: &Conflict, parts: &[(&str, Value)]) -> Result<String, Clash> {
        let mut merge = Merge::new(rule);
        for (into, value) in parts {
            merge.place(&path(into), value.clone())?;
        }
        Ok(merge.finish().to_string())
    }

    const RULES: [fn() -> Conflict; 6] = [
        || Conflict::Error,
        || Conflict::First,
        || Conflict::Last,
        || Conflict::Merge,
        || Conflict::Concat,
        || Conflict::Join("id".into()),
    ];

    #[test]
    fn parts_with_places_of_their_own_never_conflict() {
        for rule in RULES {
            let parts = [
                ("a.checking", json!([1])),
                ("a", json!({"owner": "x"})),
                ("", json!({"top": 1})),
                ("a.cards", json!({"n": 2})),
            ];
            assert_eq!(
                merged(&rule(), &parts).unwrap(),
                r#"{"a":{"checking":[1],"owner":"x","cards":{"n":2}},"top":1}"#
            );
        }
    }

    #[test]
    fn an_empty_part_is_null_and_gives_way_to_everything() {
        for rule in RULES {
            let empty_first = [("a", Value::Null), ("a", json!([1])), ("b", Value::Null)];
            assert_eq!(merged(&rule(), &empty_first).unwrap(), r#"{"a":[1],"b":null}"#);
            let empty_last = [("a", json!([1])), ("a", Value::Null), ("a.b", Value::Null)];
            assert_eq!(merged(&rule(), &empty_last).unwrap(), r#"{"a":[1]}"#);
            let below_empty = [("a", Value::Null), ("a.b", json!(1)), ("", Value::Null)];
            assert_eq!(merged(&rule(), &below_empty).unwrap(), r#"{"a":{"b":1}}"#);
        }
        assert_eq!(merged(&Conflict::Error, &[]).unwrap(), "{}");
    }

    #[test]
    fn error_refuses_whatever_is_written_twice() {
        let clash = |parts: &[(&str, Value)]| merged(&Conflict::Error, parts) == Err(Clash);
        assert!(clash(&[("a", json!({"x": 1})), ("a", json!({"y": 2}))]));
        assert!(clash(&[("", json!({"x": 1})), ("", json!({"x": 1}))]));
        assert!(clash(&[("", json!({"x": 1})), ("x", json!(1))]));
        assert!(clash(&[("a", json!({"x": 1})), ("a.x", json!(2))]));
        assert!(clash(&[("a.x", json!(2)), ("a", json!({"x": 1}))]));
        assert!(clash(&[("a", json!([1])), ("a.x", json!(2))]));
        assert!(clash(&[("a.x", json!(2)), ("a", json!([1]))]));
        assert!(clash(&[("a.b.c", json!(1)), ("a", json!({"b": {"d": 1}})), ("a.b", json!({}))]));
    }

    #[test]
    fn first_and_last_go_by_the_configurations_order() {
        let parts =
            [("a", json!({"x": 1})), ("a", json!({"y": 2})), ("b", json!(1)), ("b.c", json!(2))];
        assert_eq!(merged(&Conflict::First, &parts).unwrap(), r#"{"a":{"x":1},"b":1}"#);
        assert_eq!(merged(&Conflict::Last, &parts).unwrap(), r#"{"a":{"y":2},"b":{"c":2}}"#);
        let over = [("a.b", json!(1)), ("a", json!("text")), ("a.b", json!(2))];
        assert_eq!(merged(&Conflict::First, &over).unwrap(), r#"{"a":{"b":1}}"#);
        assert_eq!(merged(&Conflict::Last, &over).unwrap(), r#"{"a":{"b":2}}"#);
    }

    #[test]
    fn merge_goes_deep_and_the_last_stands_elsewhere() {
        let parts = [
            ("a", json!({"x": {"p": 1, "q": 1}, "l": [1], "n": 1})),
            ("a", json!({"x": {"q": 2, "r": 2}, "l": [2], "n": null})),
        ];
        assert_eq!(
            merged(&Conflict::Merge, &parts).unwrap(),
            r#"{"a":{"x":{"p":1,"q":2,"r":2},"l":[2],"n":null}}"#
        );
    }

    #[test]
    fn concat_joins_lists_and_nothing_else() {
        let lists = [("", json!([1])), ("", json!([2, 3])), ("", json!([]))];
        assert_eq!(merged(&Conflict::Concat, &lists).unwrap(), "[1,2,3]");
        assert_eq!(merged(&Conflict::Concat, &[("a", json!([1])), ("a", json!({}))]), Err(Clash));
        assert_eq!(merged(&Conflict::Concat, &[("a", json!(1)), ("a", json!([1]))]), Err(Clash));
        assert_eq!(merged(&Conflict::Concat, &[("", json!([1])), ("a", json!([1]))]), Err(Clash));
    }

    #[test]
    fn join_makes_one_object_of_those_with_the_same_key() {
        let rule = Conflict::Join("id".into());
        let parts = [
            ("l", json!([{"id": 1, "name": "x"}, {"id": "1"}, {"free": true}])),
            (
                "l",
                json!([{"id": 1, "balance": 5}, {"id": 2}, {"free": false}, {"id": "1", "s": 1}]),
            ),
        ];
        assert_eq!(
            merged(&rule, &parts).unwrap(),
            concat!(
                r#"{"l":[{"id":1,"name":"x","balance":5},{"id":"1","s":1},{"free":true},"#,
                r#"{"id":2},{"free":false}]}"#
            )
        );
        assert_eq!(merged(&rule, &[("l", json!([{"id": 1}])), ("l", json!([1]))]), Err(Clash));
        assert_eq!(merged(&rule, &[("l", json!([])), ("l", json!({}))]), Err(Clash));
    }

    fn part() -> impl Strategy<Value = (String, Value)> {
        let into = prop::collection::vec("[ab]", 0..3).prop_map(|names| names.join("."));
        let leaf = prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from)];
        let value = leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::vec(("[ab]|id", inner), 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        });
        (into, value)
    }

    proptest! {
        #[test]
        fn merging_never_panics_and_first_and_last_never_clash(
            parts in prop::collection::vec(part(), 0..5)
        ) {
            let parts: Vec<(&str, Value)> =
                parts.iter().map(|(into, value)| (into.as_str(), value.clone())).collect();
            for rule in RULES {
                let outcome = merged(&rule(), &parts);
                if matches!(rule(), Conflict::First | Conflict::Last | Conflict::Merge) {
                    prop_assert!(outcome.is_ok());
                }
            }
        }

        #[test]
        fn where_error_finds_no_conflict_no_rule_matters(
            parts in prop::collection::vec(part(), 0..5)
        ) {
            let parts: Vec<(&str, Value)> =
                parts.iter().map(|(into, value)| (into.as_str(), value.clone())).collect();
            if let Ok(answer) = merged(&Conflict::Error, &parts) {
                for rule in RULES {
                    prop_assert_eq!(merged(&rule(), &parts), Ok(answer.clone()));
                }
            }
        }
    }
}
